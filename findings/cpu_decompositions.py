"""How long do the ways around Conv3d take on a CPU, beside torch's, and the streamed decoder, beside stock's?

    python -m findings cpu_decompositions [--repeats 7] [--dtype float32] [--threads N]

Prints JSON: it depends on the machine, and nothing is stored. The shapes are Mochi's, smaller in space; the
decoder is the small one. What is compared takes turns, so that whatever else the machine does meets all
alike; a ratio is that of the medians, under 1 where it is faster than torch's or stock's. `ratio` is of wall
time; `cpu_ratio`, of the process's own CPU time, is the steadier on a machine with other work.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable

import torch

from ttvideo.basics.errors import Refused
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.decoders.steps import decode_steps
from ttvideo.decompositions import DECOMPOSITIONS
from ttvideo.decompositions.convolutions import CONVOLUTIONS
from ttvideo.decompositions.decompose import decompose
from ttvideo.media.models import load_vae

LEAST_SECONDS = 2  # a case: calls of a few milliseconds need more turns than `--repeats`


def seconds(call: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU)"""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def in_turns(calls: dict[str, Callable[[], object]], repeats: int) -> dict:
    """Medians of each call's times over those of the first."""
    times = {name: [] for name in calls}
    first = [seconds(call)[0] for call in calls.values()]  # warms up
    for _ in range(max(repeats, int(LEAST_SECONDS / sum(first)))):
        for name, call in calls.items():
            times[name].append(seconds(call))
    beside, found = next(iter(calls)), {}
    for clock, ratio in enumerate(("ratio", "cpu_ratio")):
        medians = {name: statistics.median(pair[clock] for pair in pairs) for name, pairs in times.items()}
        found.setdefault(f"{beside}_seconds", round(medians[beside], 5))
        found[ratio] = {name: round(value / medians[beside], 3) for name, value in medians.items()}
    return found


def decompositions(make, shape, dtype: torch.dtype, repeats: int) -> dict:
    native = make().to(dtype).eval()
    x = torch.randn(shape).to(dtype)
    modules = {"conv3d": native}
    for name in DECOMPOSITIONS:
        try:
            modules[name] = decompose(native, name)[0]
        except Refused:
            pass  # the way does not take this form
    calls = {name: lambda module=module: module(x) for name, module in modules.items()}
    return {"shape": shape, "chosen": decompose(native)[1].rows[0].decomposition, **in_turns(calls, repeats)}


def decoder(dtype: torch.dtype, repeats: int) -> dict:
    stock, z = load_vae("small").decoder.to(dtype), torch.randn(1, 12, 3, 16, 16).to(dtype)
    tiles = TileDecoder(stock).to(dtype)
    calls = {"stock": lambda: stock(z), "streamed": lambda: list(decode_steps(tiles, z))}
    return {"shape": list(z.shape), **in_turns(calls, repeats)}


@torch.inference_mode()
def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    dtype, rows = getattr(torch, options.dtype), {}
    for name, kernel in CONVOLUTIONS.items():
        rows[name] = decompositions(kernel.make, kernel.shape, dtype, options.repeats)
        print(f"{name}: {rows[name]}", file=sys.stderr, flush=True)
    rows["small decoder"] = decoder(dtype, options.repeats)
    of = {"torch": torch.__version__, "dtype": options.dtype, "threads": torch.get_num_threads()}
    of |= {"machine": platform.machine(), "repeats": options.repeats, "cases": rows}
    print(json.dumps(of, indent=1, ensure_ascii=False))
