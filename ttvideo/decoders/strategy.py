"""Which decoder of an autoencoder a target runs: in TT-NN's own ops, compiled for tiles, or as a host is quickest."""

import torch
from diffusers import AutoencoderKLMochi
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.decoders.as_built import check_as_built
from ttvideo.decoders.families import for_tiles
from ttvideo.decoders.host import HostDecoder
from ttvideo.decoders.native import FAMILIES, native
from ttvideo.decoders.native_writer import Arithmetic
from ttvideo.media.parameters import AUTO, NATIVE, STRATEGIES
from ttvideo.targets.target import HOST, Target


def decoder_for(
    vae: nn.Module, target: Target, strategy: str = AUTO, dtype: torch.dtype | None = None
) -> nn.Module:
    """What streams the clips of an autoencoder on a target, its weights in `dtype`, by default in theirs.

    `strategy` is "native" (`native`), "tiles" (`for_tiles`), or "auto": native where TT-NN executes programs in
    bf16 and the family has it, on a host Mochi's own, else for tiles. Raises `Refused` for what it can't be.
    """
    if strategy not in STRATEGIES:
        raise Refused("strategy", repr(strategy), f"one of {', '.join(STRATEGIES)}")
    dtype = dtype or vae.dtype
    if strategy == NATIVE or (strategy == AUTO and why_not_native(vae, target, dtype) is None):
        if why := why_not_native(vae, target, dtype):
            raise Refused("strategy native", *why)
        return native(vae, arithmetic=Arithmetic(target.fidelity or Arithmetic().fidelity))
    if strategy == AUTO and target.lane == HOST and isinstance(vae, AutoencoderKLMochi):
        check_as_built(vae)
        return HostDecoder(vae.decoder).to(dtype)
    return for_tiles(vae).to(dtype)


def why_not_native(vae: nn.Module, target: Target, dtype: torch.dtype) -> tuple[str, str] | None:
    """What was got and what is needed, where a decoder can't be in TT-NN's own ops."""
    if not target.on_ttnn:
        return f"target {target.name!r}", "a target where TT-NN executes programs, such as p150-ttsim"
    if dtype != torch.bfloat16:
        return f"dtype {str(dtype).removeprefix('torch.')}", "bfloat16"
    if type(vae) not in FAMILIES:
        return type(vae).__name__, f"one of {', '.join(kind.__name__ for kind in FAMILIES)}"
    return None
