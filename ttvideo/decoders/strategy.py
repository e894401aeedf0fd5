"""Which decoder of an autoencoder a target runs: in TT-NN's own ops, compiled for tiles, or as a host is
quickest."""

import torch
from diffusers import AutoencoderKLMochi
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.decoders.as_built import as_computed, check_as_built
from ttvideo.decoders.families import for_tiles
from ttvideo.decoders.host import HostDecoder
from ttvideo.decoders.native import FAMILIES, native
from ttvideo.decoders.native_writer import Arithmetic
from ttvideo.media.parameters import AUTO, NATIVE, STRATEGIES
from ttvideo.targets.target import HOST, Target


def decoder_for(
    vae: nn.Module,
    target: Target,
    strategy: str = AUTO,
    dtype: torch.dtype | None = None,
    eight_bits: bool = False,
) -> nn.Module:
    """What streams the clips of an autoencoder on a target, its weights in `dtype`, by default each in its
    own.

    `strategy` is "native" (`native`, whose frames may leave the chip in `eight_bits`), "tiles" (`for_tiles`),
    or "auto": native where TT-NN executes programs in bf16 and the family has it, on a host Mochi's own, else
    for tiles. Raises `Refused` for what it can't be.
    """
    if strategy not in STRATEGIES:
        raise Refused("strategy", repr(strategy), f"one of {', '.join(STRATEGIES)}")
    computes = dtype or vae.dtype
    if strategy == AUTO and target.on_ttnn and computes == torch.bfloat16 and type(vae) in FAMILIES:
        strategy = NATIVE
    if strategy == NATIVE:
        check_native(target, computes)
        return native(
            vae, arithmetic=Arithmetic(target.fidelity or Arithmetic().fidelity), eight_bits=eight_bits
        )
    if strategy == AUTO and target.lane == HOST and isinstance(vae, AutoencoderKLMochi):
        vae = as_computed(vae)
        check_as_built(vae)
        decoder = HostDecoder(vae.decoder)
    else:
        decoder = for_tiles(vae)
    return decoder.to(dtype) if dtype else decoder


def check_native(target: Target, dtype: torch.dtype) -> None:
    """Raise `Refused` where nothing in TT-NN's own ops can run."""
    if not target.on_ttnn:
        need = "a target where TT-NN executes programs, such as p150-ttsim"
        raise Refused("strategy native", f"target {target.name!r}", need)
    if dtype != torch.bfloat16:
        raise Refused("strategy native", f"dtype {str(dtype).removeprefix('torch.')}", "bfloat16")
