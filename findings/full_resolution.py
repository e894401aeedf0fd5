"""Stream the full-size decoder at 480×848 on mocked boards, step by step. Stores JSON in findings/results.

    python -m findings full_resolution [--targets p150-mock,n150-ttnn] [--latent-frames 28] [--size 60x106] [--out FILE]

28 latent frames are the 168 frames that a run of the pipeline makes. The weights are random, in bf16. On a mocked
chip every op is checked, every buffer allocated and every kernel built, in every step; kernels don't run. By default on
the p150 under the plugin's runtime, and on both boards op by op by TT-NN, whose allocator tells its peaks.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

from lib.stored import store
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.decoders.stream import Step, stream_decode
from ttvideo.media.models import load_vae

TARGETS = "p150-mock", "n150-ttnn", "p150-ttnn"


def row_of(step: Step, seconds: float) -> dict:
    verdict = step.verdict
    row = {"seconds": round(seconds, 1), "status": verdict.status, "stage": verdict.stage, "kind": verdict.kind}
    row |= {"compiled_programs": verdict.compiled_programs}
    if verdict.ttnn:
        row |= {"peak_dram_bytes": verdict.cost.peak_dram_bytes, "dram_bytes_moved": verdict.cost.dram_bytes_moved}
    if verdict.ran:
        row |= {"allocator_peak_dram_bytes": verdict.ran.peak_dram_bytes, "ops": verdict.ran.ops}
        row |= {"allocator_peak_preparing_bytes": verdict.ran.prepare_peak_dram_bytes}
        row |= {"allocator_peak_l1_bytes": verdict.ran.peak_l1_bytes, "host_memory_bytes": verdict.ran.memory_bytes}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--latent-frames", type=int, default=28)
    parser.add_argument("--size", default="60x106", help="latent height x width")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    shape = (1, 12, options.latent_frames, *map(int, options.size.split("x")))
    decoder = TileDecoder(load_vae("random").decoder).bfloat16()
    found = {target: [] for target in options.targets.split(",")}
    for target, steps in found.items():
        started = time.perf_counter()
        for step in stream_decode(decoder, torch.randn(shape).bfloat16(), target):
            now = time.perf_counter()
            steps.append(row_of(step, now - started))
            started = now
            print(f"{step.verdict}, {steps[-1]}", file=sys.stderr, flush=True)
            store("full_resolution", {"shape": shape, "steps": found}, options.out)


if __name__ == "__main__":
    main()
