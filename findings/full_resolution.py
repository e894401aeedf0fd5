"""Does the full-size Mochi decoder, streamed at 480×848, fit mocked boards in every step, for tiles and in
TT-NN's own ops?

    python -m findings full_resolution [--size 60x106]

28 latent frames are the 168 frames that a run of the pipeline makes, in steps of as many as by default. The
weights are random, in bf16. On a mocked chip every op is checked, every buffer allocated and every kernel
built, in every step; kernels don't run. "mock" is under the plugin's runtime, "ttnn" op by op by TT-NN, whose
allocator tells its peaks.
"""

import sys
import time

import torch

from findings.unused import NATIVE, other_families
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.decoders.native import NativeDecoder
from ttvideo.decoders.stream import Step, stream_decode
from ttvideo.media.models import load_vae

TILES, NATIVELY = "for tiles", "natively"
LATENT_FRAMES = 28
MADE_WITH = ("ttnn",)
KEYS = [
    (TILES, "p150-mock"),
    *((case, f"{board}-ttnn") for case in (TILES, NATIVELY) for board in ("n150", "p150")),
]


def unused(key) -> set[str]:
    return other_families("AutoencoderKLMochi") | (NATIVE if key[0] == TILES else set())


def row_of(step: Step, seconds: float) -> dict:
    verdict, ran = step.verdict, step.verdict.ran
    row = {"seconds": round(seconds, 1), "status": verdict.status, "stage": verdict.stage}
    row |= {"kind": verdict.kind, "compiled_programs": verdict.compiled_programs}
    if verdict.program:
        cost = verdict.cost
        row |= {"peak_dram_bytes": cost.peak_dram_bytes, "dram_bytes_moved": cost.dram_bytes_moved}
    if ran:
        row |= {"allocator_peak_dram_bytes": ran.peak_dram_bytes, "ops": ran.ops}
        row |= {"allocator_peak_preparing_bytes": ran.prepare_peak_dram_bytes}
        row |= {"allocator_peak_l1_bytes": ran.peak_l1_bytes, "host_memory_bytes": ran.memory_bytes}
    return row


def make(keys, size: str = "60x106"):
    vae = load_vae("random").bfloat16()
    for key in keys:
        case, target = key
        decoder = TileDecoder(vae.decoder) if case == TILES else NativeDecoder(vae)
        z = torch.randn(1, 12, LATENT_FRAMES, *map(int, size.split("x"))).bfloat16()
        rows, started = [], time.perf_counter()
        for step in stream_decode(decoder, z, target):
            now = time.perf_counter()
            rows.append(row_of(step, now - started))
            started = now
            print(f"{step.verdict}, {rows[-1]}", file=sys.stderr, flush=True)
        yield key, rows
