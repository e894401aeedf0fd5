"""The demo clip as the chips' own kernels decode it, simulated: frames and figures that `findings/silicon_frames.py` made."""

import sys
from dataclasses import dataclass

import torch
from safetensors.torch import load_file

from lib.stored import RESULTS, stored
from ttvideo.basics.compare import compare, psnr_by_frame
from ttvideo.decoders.stream import stream_decode
from ttvideo.media.latents import DROPPED_FRAMES, load_latents
from ttvideo.media.models import load_vae

FRAMES = RESULTS / "silicon_frames.safetensors"
LATENTS = (1, 12, 4, 8, 8)


@dataclass(frozen=True)
class Decoded:
    """The clip on one chip: PSNR against stock in float64 a frame, and what the simulation took in all its steps.

    `seconds` are TT-NN's, kernel builds included; `memory_bytes` is its process's largest resident size.
    """

    chip: str
    latents: list[int]
    psnr_db: list[float]
    max_abs: float
    seconds: float
    memory_bytes: int
    peak_dram_bytes: int
    ops: list[int]
    remarks: list[str]


def stored_frames() -> tuple[list[Decoded], dict[str, torch.Tensor], dict]:
    """Figures a chip, frames [1, 3, T, H, W] in bf16 a chip, and how the chips differ."""
    frames = load_file(FRAMES)
    return [Decoded(**row) for row in stored("silicon_frames")["rows"]], frames, between(*frames.values())


def demo_clip() -> tuple[torch.Tensor, torch.Tensor]:
    """The demo clip's latents in bf16, and its frames by the stock decoder in float64."""
    vae = load_vae("demo")
    z = load_latents("clip", vae, LATENTS).bfloat16()
    with torch.no_grad():
        return z, vae.decoder.double()(z.double())[0][:, :, DROPPED_FRAMES:]


def on_chip(decoder, z: torch.Tensor, truth: torch.Tensor, chip: str) -> tuple[Decoded, torch.Tensor]:
    """The clip streamed on a chip, step by step: figures, and frames."""
    steps = []
    for step in stream_decode(decoder, z, chip):
        print(step.verdict, file=sys.stderr, flush=True)
        steps.append(step)
    frames = torch.cat([step.frames for step in steps], dim=2)
    return decoded(chip, z, frames, truth, [step.verdict.ran for step in steps]), frames


def decoded(chip: str, latents: torch.Tensor, frames: torch.Tensor, truth: torch.Tensor, runs: list) -> Decoded:
    """From frames on a chip, stock's in float64, and each step's `Ran`."""
    return Decoded(
        chip,
        list(latents.shape),
        psnr_by_frame(frames, truth),
        compare(frames, truth).max_abs,
        sum(ran.seconds for ran in runs),
        max(ran.memory_bytes for ran in runs),
        max(ran.peak_dram_bytes for ran in runs),
        [ran.ops for ran in runs],
        list(dict.fromkeys(remark for ran in runs for remark in ran.stand_ins + ran.workarounds)),
    )


def between(a: torch.Tensor, b: torch.Tensor) -> dict:
    """How two chips' bf16 frames differ: values, bits, and the largest difference."""
    bits = (a.contiguous().view(torch.int16) ^ b.contiguous().view(torch.int16)).int() & 0xFFFF
    return {
        "values": a.numel(),
        "values_apart": int((a != b).sum()),
        "bits_apart": int(sum(((bits >> place) & 1).sum() for place in range(16))),
        "max_abs": (a.float() - b.float()).abs().max().item(),
    }
