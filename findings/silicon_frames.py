"""The demo clip, streamed on both simulated chips: findings/results/silicon_frames.json and its frames.

    python -m findings silicon_frames [chip ...]

`make sim` sets up what this needs. 30 to 35 minutes a chip on a busy machine of two cores.
"""

import sys
from dataclasses import asdict

import torch
from safetensors.torch import save_file

from lib.silicon import CHIPS
from lib.silicon_frames import FRAMES, OnChip, between, demo_clip
from lib.stored import store
from ttvideo.basics.compare import compare, psnr_by_frame
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.decoders.stream import stream_decode
from ttvideo.media.models import load_vae
from ttvideo.targets.target import TARGETS
from ttvideo.ttnn.places import made_of


def on_chip(decoder, z: torch.Tensor, truth: torch.Tensor, chip: str) -> tuple[OnChip, torch.Tensor]:
    """The clip streamed on a chip, step by step: figures, and frames."""
    steps = []
    for step in stream_decode(decoder, z, chip):
        print(step.verdict, file=sys.stderr, flush=True)
        steps.append(step)
    frames = torch.cat([step.frames for step in steps], dim=2)
    return decoded(chip, z, frames, truth, [step.verdict.ran for step in steps]), frames


def decoded(chip: str, latents: torch.Tensor, frames: torch.Tensor, truth: torch.Tensor, runs) -> OnChip:
    """From frames on a chip, stock's in float64, and each step's `Ran`."""
    return OnChip(
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


def document(rows: list[OnChip], frames: dict[str, torch.Tensor]) -> dict:
    save_file({chip: tensor.contiguous() for chip, tensor in frames.items()}, FRAMES)
    return {"rows": [asdict(row) for row in rows], "between_chips": between(*frames.values())}


def main() -> None:
    z, truth = demo_clip()
    rows, frames = [], {}
    for chip in sys.argv[1:] or CHIPS:
        decoder = TileDecoder(load_vae("demo").decoder.bfloat16())
        figures, frames[chip] = on_chip(decoder, z, truth, chip)
        rows.append(figures)
    store("silicon_frames", document(rows, frames), **{chip: made_of(TARGETS[chip]) for chip in frames})


if __name__ == "__main__":
    main()
