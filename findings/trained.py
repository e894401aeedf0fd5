"""The demo clip by a small trained autoencoder of another family: by stock in float64, and by the decoder for
tiles."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from ttvideo.basics.compare import Closeness, compare, psnr_by_frame
from ttvideo.decoders.families import for_tiles
from ttvideo.decoders.stream import stream_decode
from ttvideo.media.clips import demo_clip
from ttvideo.media.latents import compression, frames_of, load_latents, pixels_of
from ttvideo.media.video_models import load_autoencoder
from ttvideo.probing.verdict import Verdict
from ttvideo.targets.target import resolve

LATENTS = (1, 16, 3, 8, 8)  # nine frames of 64 × 64


@dataclass(frozen=True)
class Trained:
    """`clip` is what was encoded, `stock` what diffusers decodes of it in float64, `frames` what the target's
    programs do.

    [1, 3, 9, 64, 64] each. `verdict` is the last step's, which has its reason where one failed.
    """

    clip: torch.Tensor
    stock: torch.Tensor
    frames: torch.Tensor
    verdict: Verdict

    @property
    def closeness(self) -> Closeness:
        return compare(self.frames, self.stock)

    @property
    def psnr_db(self) -> list[float]:
        """Of each frame against stock's."""
        return psnr_by_frame(self.frames, self.stock)


@torch.no_grad()
def encoded(model: str) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """The autoencoder, a name of `TRAINED`; the demo clip's latents in bf16, and stock's frames of them in
    float64."""
    vae = load_autoencoder(model)
    z = load_latents("clip", vae, LATENTS).bfloat16()
    return vae, z, deepcopy(vae).double().decode(z.double()).sample


@torch.no_grad()
def decoded(model: str, target: str, dtype: torch.dtype = torch.bfloat16) -> Trained:
    """The demo clip, `encoded` by `model`, decoded in this type, in the decoder's least steps.

    On a target without results, or one that takes hours for these, the decoder is compiled for that board,
    and the frames are the programs', evaluated on the host. Raises `Refused` for a target that isn't there.
    """
    target = resolve(target)
    target = target if target.outputs_are_real and not target.simulated else target.compiler
    target.plugin()
    vae, z, stock = encoded(model)
    frames, pixels = compression(vae)
    decoder = for_tiles(vae).to(dtype)
    steps = list(stream_decode(decoder, z.to(dtype), target.name, evaluate=not target.outputs_are_real))
    return Trained(
        demo_clip(frames_of(LATENTS, frames), *pixels_of(LATENTS, pixels))[None],
        stock,
        torch.cat([step.frames.cpu().float() for step in steps if step.frames is not None], dim=2),
        steps[-1].verdict,
    )
