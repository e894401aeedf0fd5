"""Programs run by TT-NN on a simulated chip, in a process of its own that ends with its simulator, whatever happens."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import torch

from lib.basics.errors import Refused
from lib.basics.folders import new_folder
from lib.basics.progress import progress
from lib.targets.plugins import pypi_build
from lib.targets.target import PROJECT, RUNTIME_FILES
from lib.ttnn.description import Description

HERE = Path(__file__).parent
ENVIRONMENT = PROJECT / ".venv-sim"
READY = ENVIRONMENT / "ready"
KEPT = PROJECT / ".cache" / "sim"
FOLDER_BYTES = 100_000_000
TIMEOUT_SECONDS = 600.0
POLL_SECONDS = 0.2
SIMULATOR_END_SECONDS = 10
EXCEPTION = re.compile(r"[\w.]*(Error|Exception)\b")
# What wolfpine 2.2 does not do as the chip does; the last two are put right by repairs.py unless provoked.
FAULTS = L1_ACCUMULATION, TWO_CORES, SFPLOAD, SFPADD = ("L1 accumulation", "two cores", "SFPLOAD", "SFPADD")
UNPACKED_BYTES = 1_000_000_000
# Loads the plugin, which unpacks Tenstorrent's RISC-V compiler, in a process of its own: it can be loaded once in each.
UNPACK = """
import os, sys; from pathlib import Path; from lib.targets.runtime_files import load
load(*map(Path, sys.argv[1:])); print(os.environ["TT_METAL_RUNTIME_ROOT"])
"""


@dataclass(frozen=True)
class Launched:
    """One op: the simulated cycles of each launch, and the host's seconds."""

    op: str
    cycles: list[int]
    seconds: float


@dataclass(frozen=True)
class Ran:
    """One program on the simulated chip: its outputs and ops, or `error`, what went wrong."""

    outputs: list[torch.Tensor] = field(default_factory=list, repr=False)
    steps: list[Launched] = field(default_factory=list, repr=False)
    error: str | None = None

    @property
    def cycles(self) -> int:
        return sum(sum(step.cycles) for step in self.steps)

    @property
    def seconds(self) -> float:
        return sum(step.seconds for step in self.steps)


def why_not() -> str | None:
    """Why the lane can't be used, None if it can."""
    return None if READY.exists() else "the lane p150-sim is not set up; `make sim` does it, where there is Python 3.12"


def run(programs: Mapping[str, Description], timeout: float = TIMEOUT_SECONDS, provoke: str = "") -> dict[str, Ran]:
    """Run programs one after another on one simulated Blackhole core; `timeout`, in seconds, is for all of them.

    A program that fails, hangs or takes the process down is a `Ran` with an error; those after it have one too.
    `provoke` one of the simulator's `FAULTS`, to see what it looks like.
    Raises `Refused` where the lane isn't set up.
    """
    if why_not():
        raise Refused("lane p150-sim", why_not(), "`make sim` run once")
    if provoke and provoke not in FAULTS:
        raise Refused("provoke", repr(provoke), f"one of {', '.join(FAULTS)}")
    if not programs:
        return {}
    folder = new_folder(FOLDER_BYTES)
    try:
        job = {"l1_accumulation": provoke == L1_ACCUMULATION, "programs": {}}
        tensors = {}
        for number, (name, program) in enumerate(programs.items()):
            description = program.as_json()
            keys = {value: f"{number}/{value}" for value in description["inputs"]}
            tensors |= {keys[value]: tensor for value, tensor in program.tensors.items()}
            description["inputs"] = {value: (keys[value], type) for value, type in description["inputs"].items()}
            job["programs"][name] = description
        (folder / "programs.json").write_text(json.dumps(job))
        np.savez(folder / "tensors.npz", **tensors)
        ended = wait(folder, environment(folder, provoke), timeout, list(programs))
        return results(folder, list(programs), ended)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait(folder: Path, variables: dict[str, str], timeout: float, names: list[str]) -> str | None:
    """Run the host process to its end. What ended it early, None if nothing did."""
    deadline = time.monotonic() + timeout
    with open(folder / "log.txt", "wb") as log, progress("simulated p150", total=len(names)) as show:
        process = subprocess.Popen(
            [ENVIRONMENT / "bin" / "python", "-P", HERE / "host.py", folder],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=variables,
            cwd=folder,
            start_new_session=True,
        )
        done, children = 0, []
        try:
            while process.poll() is None:
                children = descendants(process) or children
                if time.monotonic() > deadline:
                    return f"timed out after {timeout:g} s"
                time.sleep(POLL_SECONDS)
                finished = len(lines(folder))
                show(names[min(finished, len(names) - 1)], finished - done)
                done = finished
            # A simulator in trouble ends its host first, and says why after it.
            psutil.wait_procs(children, timeout=SIMULATOR_END_SECONDS)
        finally:
            end(process, children)
    if process.returncode:
        return died(process.returncode, (folder / "log.txt").read_text(errors="replace"))
    return None


def descendants(process: subprocess.Popen) -> list[psutil.Process]:
    """Kernel compilers, and the simulator, which the host starts detached."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children(recursive=True)
    return []


def end(process: subprocess.Popen, children: list[psutil.Process]) -> None:
    """End the host and all that it started."""
    for running in {*descendants(process), *children}:
        with contextlib.suppress(psutil.NoSuchProcess):
            running.kill()
    process.kill()
    process.wait()


def died(status: int, log: str) -> str:
    """What was said last, an exception's own line if there is one."""
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    said = [line.strip() for line in log.splitlines() if line.strip() and not line.startswith(("[server]", "[run.sh]"))]
    raised = [line for line in said if EXCEPTION.match(line)]
    return f"{how}: {(raised or said or ['no message'])[-1][:300]}"


def lines(folder: Path) -> list[str]:
    path = folder / "results.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def results(folder: Path, names: list[str], ended: str | None) -> dict[str, Ran]:
    ran = {name: Ran(error=ended or "it did not run") for name in names}
    for line in lines(folder):
        result = json.loads(line)
        if "error" in result:
            ran[result["name"]] = Ran(error=result["error"])
            continue
        outputs = [torch.from_numpy(np.load(folder / path)) for path in result["outputs"]]
        ran[result["name"]] = Ran(outputs, [Launched(**step) for step in result["steps"]])
    return ran


def environment(folder: Path, provoke: str) -> dict[str, str]:
    """What TT-NN needs to find the simulator, its kernel sources and its compiler."""
    python = ENVIRONMENT / "bin" / "python"
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "TT_METAL_RUNTIME_ROOT": str(runtime_root()),
        "TT_METAL_CACHE": str(KEPT / "tt-metal"),
        "TT_METAL_SIMULATOR": str(simulator(folder, python)),
        "TT_METAL_SLOW_DISPATCH_MODE": "1",  # the only dispatch that the simulator has
        "TT_METAL_CORE_GRID_OVERRIDE_TODEPRECATE": "1,0" if provoke == TWO_CORES else "0,0",
        "TT_METAL_DISABLE_SFPLOADMACRO": "1",  # an instruction that it hasn't
        "TT_LOGGER_LEVEL": "error",
        "TT_SIM_COST_MODEL": "1",
        # Else each run leaves 16 MB in /dev/shm, and tt-metal a file.
        "OMPI_MCA_btl_sm_backing_directory": str(folder),
        "TT_METAL_SHM_TRACKING_DISABLED": "1",
        "LAUNCHES": str(folder / "launches.txt"),
        "UNREPAIRED": provoke,
    }


def packages() -> Path:
    return next(ENVIRONMENT.glob("lib/python*/site-packages"))


def simulator(folder: Path, python: Path) -> Path:
    """A simulator as TT-NN expects one: a folder with descriptors of the chip and a `run.sh`; ours counts cycles."""
    stock, own = packages() / "framework" / "sim" / "blackhole", folder / "simulator"
    own.mkdir()
    for name in ("soc_descriptor.yaml", "cluster_descriptor.yaml"):
        (own / name).symlink_to(stock / name)
    (own / "run.sh").write_text(f'#!/bin/sh\nexec "{python}" -u "{HERE / "server.py"}"\n')
    (own / "run.sh").chmod(0o755)
    return own


def runtime_root() -> Path:
    """TT-NN's kernel sources beside the plugin's RISC-V compiler, always at one path: the kernel cache remembers it."""
    root, ttnn = KEPT / "root", packages() / "ttnn"
    (root / "runtime").mkdir(parents=True, exist_ok=True)
    links = {"tt_metal": ttnn / "tt_metal", "ttnn": ttnn / "ttnn", "runtime/hw": ttnn / "runtime" / "hw"}
    for name, target in (links | {"runtime/sfpi": compiler()}).items():
        link = root / name
        if not link.is_symlink() or link.readlink() != target:
            relink(link, target)
    return root


def compiler() -> Path:
    """Tenstorrent's RISC-V compiler, which the plugin brings along, unpacked once for the project."""
    plugin = pypi_build()
    link = KEPT / f"sfpi-{plugin.version}"
    if not link.exists():
        folder = new_folder(UNPACKED_BYTES)
        try:
            variables = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(PROJECT)}
            command = [sys.executable, "-c", UNPACK, str(plugin.library), str(RUNTIME_FILES)]
            unpacked = subprocess.run(command, env=variables, check=True, capture_output=True, text=True).stdout
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        relink(link, Path(unpacked.strip().splitlines()[-1]) / "runtime" / "sfpi")
    return link


def relink(link: Path, target: Path) -> None:
    """At once, whoever else does the same."""
    new = link.with_name(f"{link.name}.{os.getpid()}.{threading.get_ident()}")
    new.symlink_to(target)
    new.replace(link)


def versions() -> dict[str, str]:
    """What the lane's environment holds."""
    names = ("ttnn", "wolfpine")
    return {
        name: next(packages().glob(f"{name}-*.dist-info")).name.split("-")[1].removesuffix(".dist") for name in names
    }
