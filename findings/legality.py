"""Which forms of Conv3d does the compiler take, in each of its published versions?

    python -m findings legality [--forms TEXT]

By probing every form, as it is and decomposed: with the installed plugin on the mocked chip, too, for a few;
with other PyPI versions compiled only, each in an environment of its own (`ttvideo.targets.environments`).
`--forms` takes those whose name has TEXT in it.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lib.project import PROJECT
from lib.versions import versions
from ttvideo.targets.environments import DISTRIBUTION, interpreter

VERSIONS = ("0.1.0", "0.1.1", "0.1.2", "0.1.3")
INSTALLED = versions()["plugin"].split(" (")[0]
KEYS = [
    ("plugins", {"plugin": plugin})
    for plugin in dict.fromkeys([*(f"{DISTRIBUTION} {version}" for version in VERSIONS), INSTALLED])
]
# In the environment of another version: text in forms' names, file of rows.
CHILD = """
import json, pathlib, sys
from findings.legality import rows
pathlib.Path(sys.argv[2]).write_text(json.dumps(rows(False, sys.argv[1])))
"""
COMPILE, MOCK = "p150-compile", "p150-mock"


@dataclass(frozen=True)
class Case:
    """`mock`: also on the mocked chip, which builds the kernels: minutes in all."""

    module: Callable[[], nn.Module]
    shape: tuple[int, ...] = (1, 64, 3, 32, 32)
    dtype: torch.dtype = torch.bfloat16
    mock: bool = False


def conv(*arguments, **options):
    return lambda: nn.Conv3d(*arguments, **options)


def transposed(*arguments, **options):
    return lambda: nn.ConvTranspose3d(*arguments, **options)


def causal(*arguments, **options):
    from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d

    return lambda: CogVideoXCausalConv3d(*arguments, **options)


CASES = {
    "1×1×1, Mochi's conv_in": Case(conv(12, 768, 1), (1, 12, 3, 32, 32), mock=True),
    "1×1×1, stride 2": Case(conv(64, 64, 1, stride=2), (1, 64, 4, 32, 32)),
    "1×1×1, groups 2": Case(conv(64, 64, 1, groups=2)),
    "3×3×3": Case(conv(64, 64, 3)),
    "3×3×3, padding 1": Case(conv(64, 64, 3, padding=1), mock=True),
    "3×3×3, padding 1, no bias": Case(conv(64, 64, 3, padding=1, bias=False)),
    "3×3×3, padding 1, batch 2": Case(conv(64, 64, 3, padding=1), (2, 64, 3, 32, 32), mock=True),
    "3×3×3, padding 1, float32": Case(conv(64, 64, 3, padding=1), dtype=torch.float32),
    "3×3×3, padding 1, 3 to 33 channels": Case(conv(3, 33, 3, padding=1), (1, 3, 3, 32, 32)),
    "3×3×3, padding 2": Case(conv(64, 64, 3, padding=2)),
    "3×3×3, padding 1 replicate": Case(conv(64, 64, 3, padding=1, padding_mode="replicate")),
    "3×3×3, padding 1 reflect": Case(conv(64, 64, 3, padding=1, padding_mode="reflect")),
    "3×3×3, padding 1 circular": Case(conv(64, 64, 3, padding=1, padding_mode="circular")),
    "3×3×3, causal replicate, Mochi's": Case(causal(64, 64, 3, pad_mode="replicate"), mock=True),
    "3×3×3, causal, CogVideoX's": Case(causal(64, 64, 3, pad_mode="constant")),
    "3×3×3, padding 1, stride 2": Case(conv(64, 64, 3, padding=1, stride=2), (1, 64, 4, 32, 32)),
    "3×3×3, padding 2, dilation 2": Case(conv(64, 64, 3, padding=2, dilation=2)),
    "3×3×3, padding 1, dilation 2 in time": Case(
        conv(64, 64, 3, padding=(2, 1, 1), dilation=(2, 1, 1)), mock=True
    ),
    "3×3×3, padding 1, groups 2": Case(conv(64, 64, 3, padding=1, groups=2), mock=True),
    "3×3×3, padding 1, depthwise": Case(conv(64, 64, 3, padding=1, groups=64)),
    "5×5×5, padding 2": Case(conv(64, 64, 5, padding=2), (1, 64, 5, 32, 32)),
    "2×3×4, padding same": Case(conv(64, 64, (2, 3, 4), padding="same")),
    "1×3×3, padding 1": Case(conv(64, 64, (1, 3, 3), padding=(0, 1, 1)), mock=True),
    "3×1×1, padding 1": Case(conv(64, 64, (3, 1, 1), padding=(1, 0, 0)), mock=True),
    "1×2×2, stride 1×2×2": Case(conv(64, 128, (1, 2, 2), stride=(1, 2, 2))),
    "2×2×2, stride 2": Case(conv(64, 128, 2, stride=2), (1, 64, 4, 32, 32)),
    "3×2×2, stride 3×2×2, causal replicate, Mochi's": Case(
        causal(64, 128, (3, 2, 2), stride=(3, 2, 2), pad_mode="replicate"), (1, 64, 4, 32, 32), mock=True
    ),
    "transposed 3×3×3, padding 1": Case(transposed(64, 64, 3, padding=1)),
    "transposed 2×2×2, stride 2": Case(transposed(64, 64, 2, stride=2)),
}


def probe_table(modules: dict[str, nn.Module], target: str) -> dict[str, dict]:
    """A row for each module by name."""
    from ttvideo.probing.probe import probe_each

    inputs = {name: torch.randn(CASES[name].shape).to(CASES[name].dtype) for name in modules}
    verdicts = probe_each(
        {name: (module, (inputs[name],)) for name, module in modules.items()}, target, timeout=900
    )
    for name, verdict in verdicts.items():
        print(f"{verdict.plugin}  {target}  {name}: {row_of(verdict)}", file=sys.stderr, flush=True)
    return {name: row_of(verdict) for name, verdict in verdicts.items()}


def row_of(verdict) -> dict:
    from ttvideo.programs.cost import DATA_MOVEMENT, FREE

    row = {"status": verdict.status, "stage": verdict.stage}
    if verdict.passed:
        ops = sorted(verdict.op_counts.items())
        return row | {"becomes": {op: n for op, n in ops if op not in DATA_MOVEMENT | FREE}}
    first, place = (verdict.message or "").splitlines()[0], r"^loc\(.*\): (?=error)"  # in this script
    message = re.sub(place, "", first)
    return row | {"kind": verdict.kind, "op": verdict.op, "message": message}


def rows(mock: bool, only: str) -> dict:
    """Probe every case with the plugin that this process finds: as it is, and decomposed."""
    from ttvideo.decompositions.decompose import decompose
    from ttvideo.targets.plugins import find_plugin

    torch.manual_seed(0)
    native = {name: case.module().to(case.dtype).eval() for name, case in CASES.items() if only in name}
    found = {name: decompose(module) for name, module in native.items()}
    instead = {name: module for name, (module, _) in found.items()}
    table = {
        name: {"native": {}, "decomposed": {"decomposition": report.rows[0].decomposition}}
        for name, (_, report) in found.items()
    }
    for target in (COMPILE, MOCK) if mock else (COMPILE,):
        for kind, modules in (("native", native), ("decomposed", instead)):
            some = {name: m for name, m in modules.items() if target == COMPILE or CASES[name].mock}
            for name, row in probe_table(some, target).items():
                table[name][kind][target] = row
    return {"plugin": f"{find_plugin().distribution} {find_plugin().version}", "rows": table}


def in_environment(version: str, only: str) -> dict:
    """The rows of another version, by this script in an environment that has it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "rows.json")
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        subprocess.run([interpreter(version), "-c", CHILD, only, str(out)], env=environment, check=True)
        result = json.loads(out.read_text())
    if result["plugin"] != f"{DISTRIBUTION} {version}":
        raise RuntimeError(f"asked for {version}, probed {result['plugin']}")
    return result


def make(keys, forms: str = ""):
    for key in keys:
        plugin = key[-1]["plugin"]
        yield key, rows(True, forms) if plugin == INSTALLED else in_environment(plugin.split()[-1], forms)
