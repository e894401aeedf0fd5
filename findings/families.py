"""A small decoder of each video model, put to the proof: equal in float64, in any steps, and as compiled."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import nn

from ttvideo.basics.compare import compare
from ttvideo.decoders.families import for_tiles
from ttvideo.decoders.steps import decode_steps
from ttvideo.decoders.stream import stream_decode
from ttvideo.media.small_autoencoders import SMALL, SMALL_IMAGES, InFloat64
from ttvideo.targets.target import resolve

SIDE = 4  # the latents' height and width
# Latent frames of a clip and of its steps; what comes late is decoded at once.
CLIPS = {"HunyuanVideo": (6, 3), "CogVideoX": (5, 2), "LTX-Video": (3, 3), "Mochi": (3, 2)}
CLIPS |= {"Stable Video Diffusion": (3, 3), "Allegro": (3, 3), "HunyuanImage refiner": (3, 3)}
CLIPS |= dict.fromkeys(SMALL_IMAGES, (1, 1)) | {"KVAE": (6, 4)}
OTHERS = (3, 2)


@dataclass(frozen=True)
class FamilyRow:
    """`max_abs` is the largest difference to diffusers' own in float64, `split_max_abs` between steps and
    whole clip.

    `pcc` compares bf16 frames, made by `outputs_from`, with float64 of the same weights; None where a step
    failed, of which `status` says how.
    """

    model: str
    target: str
    max_abs: float
    split_max_abs: float
    steps: tuple[int, ...]
    status: str
    outputs_from: str | None = None
    pcc: float | None = None
    psnr_db: float | None = None
    ops: int = 0

    def as_dict(self) -> dict:
        return asdict(self)


def latents(decoder: nn.Module, frames: int) -> torch.Tensor:
    """Seeded, [1, C, T, 4, 4], rounded to bf16, in float64."""
    shape = (1, decoder.latent_channels, frames, SIDE, SIDE)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).bfloat16().double()


@torch.no_grad()
def family_row(model: str, target: str, rewrite: Callable[[nn.Module], nn.Module] = for_tiles) -> FamilyRow:
    """The small decoder of `model`, a name of `SMALL` or `SMALL_IMAGES`: its exactness for tiles here, then
    its clip on `target` in steps, as `rewrite` has it, for tiles or in TT-NN's own ops (`native`).

    On a target without results it is compiled for that board, and the frames are the programs', evaluated on
    the host. Raises `Refused` for a target that isn't there.
    """
    target = resolve(target)
    target = target if target.outputs_are_real or target.fidelity else target.compiler
    target.plugin()
    frames, per_step = CLIPS.get(model, OTHERS)
    small = (SMALL | SMALL_IMAGES)[model]
    vae = small.make()
    decoder = for_tiles(vae.get_submodule(small.part))
    z = latents(decoder, frames)
    with InFloat64():
        whole = decoder(z)[0]
        max_abs = compare(whole[:, :, decoder.dropped_frames :], small.decode(vae, z)).max_abs
        in_steps = torch.cat([part for part, _ in decode_steps(decoder, z, per_step)], 2)
    low = rewrite(vae.bfloat16().get_submodule(small.part))
    want = for_tiles(vae.double().get_submodule(small.part))(z)[0][:, :, decoder.dropped_frames :]
    parts, ops, verdict = [], 0, None
    for step in stream_decode(low, z.bfloat16(), target.name, per_step, evaluate=not target.outputs_are_real):
        verdict = step.verdict
        ops += sum(verdict.op_counts.values()) if verdict.ttnn else getattr(verdict.ran, "ops", 0)
        parts.append(step.frames)
    row = FamilyRow(
        model,
        target.name,
        max_abs,
        compare(in_steps, whole).max_abs,
        tuple(decoder.steps(frames, per_step)),
        "pass" if verdict.passed else f"{verdict.stage}: {verdict.kind}: {verdict.op}: {verdict.message}",
        verdict.outputs_from,
        ops=ops,
    )
    if not verdict.passed or any(part is None for part in parts):
        return row
    close = compare(torch.cat(parts, 2), want)
    return FamilyRow(**row.as_dict() | {"pcc": close.pcc, "psnr_db": close.psnr_db})
