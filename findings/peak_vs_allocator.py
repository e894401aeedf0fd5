"""How far is the peak of live DRAM that ttvideo.programs.cost computes from what tt-metal's allocator sees?

    python -m findings peak_vs_allocator [NAME ...]

Each program is compiled and run on the mocked p150 in a process of its own, through jax: it runs programs
in the thread that opened the device, the only one that tt-metal's memory tracking watches (ttvideo.programs.allocator).
Prints one JSON list. Kernels are built with the real compiler on first use: seconds each, minutes in all.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

from lib.project import PROJECT
from ttvideo.probing.compiler_log import read_log
from ttvideo.probing.probe import probe
from ttvideo.programs.allocator import ENVIRONMENT, read_report
from ttvideo.programs.cost import cost
from ttvideo.programs.program import read
from ttvideo.targets import runtime_files
from ttvideo.targets.plugins import find_plugin
from ttvideo.targets.target import RUNTIME_FILES, resolve
from ttvideo.ways.decompose import decompose

TARGET = "p150-mock"


class Shuffle(nn.Module):
    """Depth to space as the Mochi decoder writes it, with a last dimension of 2."""

    def forward(self, x):
        b, c, t, h, w = x.shape
        x = x.view(b, c // 12, 3, 2, 2, t, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
        return x.reshape(b, c // 12, 3 * t, 2 * h, 2 * w)


class Residual(nn.Module):
    """A chain with a long-lived operand."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.first, self.second = (
            nn.GroupNorm(8, width),
            nn.Conv2d(width, width, 3, padding=1),
            nn.Linear(width, width),
        )

    def forward(self, x):
        y = self.first(nn.functional.silu(self.norm(x)))
        return x + self.second(y.movedim(1, -1)).movedim(-1, 1)


CASES = {
    "linear": lambda: (nn.Linear(512, 1024), (8, 1000, 512)),
    "conv2d": lambda: (nn.Conv2d(64, 128, 3, padding=1), (2, 64, 48, 48)),
    "group norm": lambda: (nn.GroupNorm(8, 64), (3, 64, 64, 64)),
    "residual": lambda: (Residual(64), (2, 64, 48, 48)),
    "pixel shuffle": lambda: (Shuffle(), (1, 96, 3, 24, 24)),
    "conv3d as tap sum": lambda: (
        decompose(nn.Sequential(nn.Conv3d(32, 64, 3, padding=1)), "sum")[0],
        (1, 32, 3, 24, 24),
    ),
}


def measure(name: str) -> dict:
    module, shape = CASES[name]()
    stablehlo = probe(module.bfloat16(), (torch.zeros(shape, dtype=torch.bfloat16),), "xla-cpu").stablehlo
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "module.mlir").write_text(stablehlo)
        (Path(folder) / "tmp").mkdir()
        target = resolve(TARGET)
        environment = os.environ | target.environment(Path(folder)) | ENVIRONMENT
        environment |= {"TMPDIR": f"{folder}/tmp", "JAX_PLATFORMS": "tt", "PYTHONPATH": str(PROJECT)}
        child = [sys.executable, "-m", "findings", "peak_vs_allocator", "--run", f"{folder}/module.mlir"]
        log = subprocess.run(
            child,
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ).stdout
    costs = cost(read(read_log(log).texts["TTNN"]))
    computed = costs.first_run_buffer_bytes
    found = {"program": name, "computed_bytes": computed, "of_it_reshape_maps": costs.reshape_map_bytes}
    seen = read_report(log).peak_bytes
    return found | {"allocator_peak_bytes": seen, "allocator_over_computed": seen / computed}


def run(path: str) -> None:
    """In the child: compile a StableHLO module with jax's client and run it once, on zeros."""
    runtime_files.load(find_plugin(card=False).library, RUNTIME_FILES)
    import jax
    import ml_dtypes
    import numpy as np
    from jax._src import compiler
    from jax._src.lib import xla_client
    from jax.extend.backend import get_backend

    text = Path(path).read_text()
    backend = get_backend("tt")
    devices = xla_client.DeviceList((backend.devices()[0],))
    options = compiler.get_compile_options(num_replicas=1, num_partitions=1)
    executable = backend.compile_and_load(text, devices, options)
    signature = re.search(r"func\.func @main\((.*?)\) ->", text, re.S).group(1)
    arguments = [
        jax.device_put(np.zeros([int(n) for n in sizes.split("x") if n], ml_dtypes.bfloat16), backend.devices()[0])
        for sizes in re.findall(r"%arg\d+: tensor<((?:\d+x)*)bf16>", signature)
    ]
    outputs = executable.execute_sharded(arguments).disassemble_into_single_device_arrays()
    for array in outputs:
        array[0].block_until_ready()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run(sys.argv[2])
    else:
        print(json.dumps([measure(name) for name in sys.argv[1:] or CASES], indent=2))
