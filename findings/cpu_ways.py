"""CPU wall time of each way around Conv3d, relative to torch's own Conv3d in the same run. Prints JSON.

    python -m findings cpu_ways [--repeats 7] [--dtype float32] [--threads N] [--out FILE]

The shapes are Mochi's, smaller in space. Native and ways take turns, so that whatever else the machine does
meets them alike; a ratio is that of the medians, under 1 where the way is faster than Conv3d. `ratio` is of
wall time; `cpu_ratio`, of the process's own CPU time, is the steadier on a machine with other work.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.ways import WAYS
from ttvideo.ways.convolutions import CONVOLUTIONS
from ttvideo.ways.decompose import decompose

LEAST_SECONDS = 2  # a case: calls of a few milliseconds need more turns than `--repeats`


def seconds(module: nn.Module, x: torch.Tensor) -> tuple[float, float]:
    """(wall, CPU)"""
    wall, cpu = time.perf_counter(), time.process_time()
    module(x)
    return time.perf_counter() - wall, time.process_time() - cpu


@torch.inference_mode()
def measure(make, shape, dtype, repeats) -> dict:
    native = make().to(dtype).eval()
    x = torch.randn(shape).to(dtype)
    modules = {"conv3d": native}
    for way in WAYS:
        try:
            modules[way] = decompose(native, way)[0]
        except Refused:
            pass  # the way does not take this form
    chosen = decompose(native)[1].rows[0].way
    times = {name: [] for name in modules}
    first = [seconds(module, x)[0] for module in modules.values()]  # warms up
    for _ in range(max(repeats, int(LEAST_SECONDS / sum(first)))):
        for name, module in modules.items():
            times[name].append(seconds(module, x))
    wall, cpu = (
        {name: statistics.median(pair[clock] for pair in pairs) for name, pairs in times.items()} for clock in (0, 1)
    )
    return {
        "shape": shape,
        "chosen": chosen,
        "conv3d_seconds": round(wall["conv3d"], 5),
        "ratio": {name: round(value / wall["conv3d"], 3) for name, value in wall.items()},
        "cpu_ratio": {name: round(value / cpu["conv3d"], 3) for name, value in cpu.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows = {}
    for name, kernel in CONVOLUTIONS.items():
        rows[name] = measure(kernel.make, kernel.shape, getattr(torch, options.dtype), options.repeats)
        print(f"{name}: {rows[name]}", file=sys.stderr, flush=True)
    result = {
        "torch": torch.__version__,
        "dtype": options.dtype,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "repeats": options.repeats,
        "cases": rows,
    }
    text = json.dumps(result, indent=1, ensure_ascii=False)
    options.out.write_text(text + "\n") if options.out else print(text)


if __name__ == "__main__":
    main()
