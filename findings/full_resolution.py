"""Does the full-size decoder, streamed at 480×848, fit mocked boards in every step?

    python -m findings full_resolution [--latent-frames 28] [--size 60x106]

28 latent frames are the 168 frames that a run of the pipeline makes. The weights are random, in bf16. On a
mocked chip every op is checked, every buffer allocated and every kernel built, in every step; kernels don't
run. By default on the p150 under the plugin's runtime, and on both boards op by op by TT-NN, whose allocator
tells its peaks.
"""

import sys
import time

import torch

from ttvideo.decoders.mochi import TileDecoder
from ttvideo.decoders.stream import Step, stream_decode
from ttvideo.media.models import load_vae

MADE_WITH = ("ttnn",)
KEYS = [("steps", target) for target in ("p150-mock", "n150-ttnn", "p150-ttnn")]


def row_of(step: Step, seconds: float) -> dict:
    verdict = step.verdict
    row = {
        "seconds": round(seconds, 1),
        "status": verdict.status,
        "stage": verdict.stage,
        "kind": verdict.kind,
    }
    row |= {"compiled_programs": verdict.compiled_programs}
    if verdict.ttnn:
        row |= {
            "peak_dram_bytes": verdict.cost.peak_dram_bytes,
            "dram_bytes_moved": verdict.cost.dram_bytes_moved,
        }
    if verdict.ran:
        row |= {"allocator_peak_dram_bytes": verdict.ran.peak_dram_bytes, "ops": verdict.ran.ops}
        row |= {"allocator_peak_preparing_bytes": verdict.ran.prepare_peak_dram_bytes}
        row |= {
            "allocator_peak_l1_bytes": verdict.ran.peak_l1_bytes,
            "host_memory_bytes": verdict.ran.memory_bytes,
        }
    return row


def make(keys, latent_frames: int = 28, size: str = "60x106"):
    shape = (1, 12, latent_frames, *map(int, size.split("x")))
    decoder = TileDecoder(load_vae("random").decoder).bfloat16()
    for key in keys:
        rows, started = [], time.perf_counter()
        for step in stream_decode(decoder, torch.randn(shape).bfloat16(), key[-1]):
            now = time.perf_counter()
            rows.append(row_of(step, now - started))
            started = now
            print(f"{step.verdict}, {rows[-1]}", file=sys.stderr, flush=True)
        yield key, rows
