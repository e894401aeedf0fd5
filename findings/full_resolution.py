"""Stream the full-size decoder at 480×848 on a target, step by step. Stores JSON in lib/notebook/results.

    python -m findings full_resolution [--latent-frames 28] [--target p150-mock] [--size 60x106] [--out FILE]

28 latent frames are the 168 frames that a run of the pipeline makes. The weights are random, in bf16. On the mocked
chip every op is checked, every buffer allocated and every kernel built, in every step; kernels don't run.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

from lib.decoders.mochi import TileDecoder
from lib.decoders.stream import stream_decode
from lib.media.models import load_vae
from lib.notebook.stored import store


def main(name: str = "full_resolution", target: str = "p150-mock") -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latent-frames", type=int, default=28)
    parser.add_argument("--target", default=target)
    parser.add_argument("--size", default="60x106", help="latent height x width")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    shape = (1, 12, options.latent_frames, *map(int, options.size.split("x")))
    decoder = TileDecoder(load_vae("random").decoder).bfloat16()
    steps, started = [], time.perf_counter()
    for step in stream_decode(decoder, torch.randn(shape).bfloat16(), options.target):
        verdict = step.verdict
        seconds, started = time.perf_counter() - started, time.perf_counter()
        row = {"seconds": round(seconds, 1), "status": verdict.status, "stage": verdict.stage, "kind": verdict.kind}
        if verdict.ttnn:
            row |= {"peak_dram_bytes": verdict.cost.peak_dram_bytes, "dram_bytes_moved": verdict.cost.dram_bytes_moved}
        if verdict.ran:
            row |= {"allocator_peak_dram_bytes": verdict.ran.peak_dram_bytes, "ops": verdict.ran.ops}
            row |= {"allocator_peak_preparing_bytes": verdict.ran.prepare_peak_dram_bytes}
            row |= {"allocator_peak_l1_bytes": verdict.ran.peak_l1_bytes, "host_memory_bytes": verdict.ran.memory_bytes}
        steps.append(row | {"compiled_programs": verdict.compiled_programs})
        print(f"{verdict}, {row}", file=sys.stderr, flush=True)
        store(name, {"target": options.target, "shape": shape, "steps": steps}, options.out)


if __name__ == "__main__":
    main()
