"""How close is the demo clip, streamed on both simulated chips, to stock in float64?

    python -m findings silicon_frames

`make sim` sets up what this needs.
"""

import sys

import torch

from lib.silicon import CHIPS
from lib.silicon_frames import demo_clip
from ttvideo.basics.compare import compare, psnr_by_frame
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.decoders.stream import stream_decode
from ttvideo.media.models import load_vae

MADE_WITH = ("ttnn", "ttsim")
KEYS = [("rows", {"chip": chip}) for chip in CHIPS]


def on_chip(decoder, z: torch.Tensor, truth: torch.Tensor, chip: str) -> tuple[dict, torch.Tensor]:
    """The clip streamed on a chip, step by step: figures, and frames."""
    steps = []
    for step in stream_decode(decoder, z, chip):
        print(step.verdict, file=sys.stderr, flush=True)
        steps.append(step)
    frames = torch.cat([step.frames for step in steps], dim=2)
    return figures_of(chip, z, frames, truth, [step.verdict.ran for step in steps]), frames


def figures_of(chip: str, latents: torch.Tensor, frames: torch.Tensor, truth: torch.Tensor, runs) -> dict:
    """From frames on a chip, stock's in float64, and each step's `Ran`: PSNR a frame, and what the simulation
    took in all steps.

    "seconds" are TT-NN's, kernel builds included; "memory_bytes" is its process's largest resident size.
    """
    return {
        "chip": chip,
        "latents": list(latents.shape),
        "psnr_db": psnr_by_frame(frames, truth),
        "max_abs": compare(frames, truth).max_abs,
        "seconds": sum(ran.seconds for ran in runs),
        "memory_bytes": max(ran.memory_bytes for ran in runs),
        "peak_dram_bytes": max(ran.peak_dram_bytes for ran in runs),
        "ops": [ran.ops for ran in runs],
        "remarks": list(dict.fromkeys(remark for ran in runs for remark in ran.stand_ins + ran.workarounds)),
    }


def make(keys):
    z, truth = demo_clip()
    decoder = TileDecoder(load_vae("demo").decoder.bfloat16())
    for key in keys:
        figures, frames = on_chip(decoder, z, truth, key[-1]["chip"])
        yield key, (figures, {figures["chip"]: frames})
