"""Where TT-NN runs a program: what its process is told, for the simulator, a mocked board and a card."""

import functools
import os
from pathlib import Path

from lib.targets.descriptors import cluster_descriptor
from lib.targets.target import PROJECT, TTNN_MOCK, TTSIM, Target
from lib.ttnn.runtime_root import KEPT, WITHOUT_DUMMY, runtime_root
from lib.ttnn.ttsim import SOC_DESCRIPTORS, kept_library, kept_version

ENVIRONMENT = PROJECT / ".venv-sim"
READY = ENVIRONMENT / "ready"
HOST = Path(__file__).parent / "host"
TRANSFERS_BYTES = 2 * 16385 * 8  # as lib/ttnn/host/transfers.py has it
NOT_SET_UP = "TT-NN's environment is not set up; `make sim` does it, where there is a Python 3.12"
NO_SIMULATOR = "there is no ttsim; `make sim TTSIM=<its file or folder>` takes one, `make sim` alone fetches a release"


def why_not(target: Target) -> str | None:
    """Why the target's place can't be used, None if it can."""
    if not READY.exists():
        return NOT_SET_UP
    if target.lane == TTSIM and not kept_library(target.board.chip.arch).exists():
        return NO_SIMULATOR
    return None


def environment(target: Target, folder: Path) -> dict[str, str]:
    """What TT-NN's process is told: the same everywhere, but for the lines that say where the chip is."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "TT_METAL_RUNTIME_ROOT": str(runtime_root(packages(), without_dummy(target))),
        "TT_METAL_CACHE": str(KEPT / ("tt-metal-without-dummy" if without_dummy(target) else "tt-metal")),
        "TT_LOGGER_LEVEL": "error",
        # Else each process leaves 16 MB in /dev/shm, and tt-metal a file.
        "OMPI_MCA_btl_sm_backing_directory": str(folder),
        "TT_METAL_SHM_TRACKING_DISABLED": "1",
        **place(target, folder),
    }


def without_dummy(target: Target) -> bool:
    return target.lane == TTSIM and target.board.chip.arch == "wormhole_b0"


def workarounds(target: Target) -> tuple[str, ...]:
    """What is otherwise there than on a card, so that programs run at all."""
    return (WITHOUT_DUMMY,) if without_dummy(target) else ()


def place(target: Target, folder: Path) -> dict[str, str]:
    """Nothing for a card: TT-NN finds it by itself."""
    if target.lane == TTSIM:
        arch = target.board.chip.arch
        # It is looked for beside a description of the chip's grid.
        (folder / "soc_descriptor.yaml").symlink_to(packages() / SOC_DESCRIPTORS[arch])
        (folder / "libttsim.so").symlink_to(kept_library(arch))
        (folder / "transfers").write_bytes(bytes(TRANSFERS_BYTES))
        return {
            "TT_METAL_SIMULATOR": str(folder / "libttsim.so"),
            "TT_METAL_SLOW_DISPATCH_MODE": "1",  # the only dispatch that it has
            "TT_METAL_DISABLE_SFPLOADMACRO": "1",  # an instruction that it hasn't
            "TTSIM_DRAM_COUNT": str(folder / "transfers"),  # heeded by one that counts (lib/ttnn/host/transfers.py)
        }
    if target.lane == TTNN_MOCK:
        path = folder / f"{target.board.name}.yaml"
        path.write_text(cluster_descriptor(target.board))
        return {"TT_METAL_MOCK_CLUSTER_DESC_PATH": str(path)}
    return {}


def python() -> Path:
    return ENVIRONMENT / "bin" / "python"


def packages() -> Path:
    return next(ENVIRONMENT.glob("lib/python*/site-packages"))


@functools.cache
def ttnn_version() -> str:
    return next(packages().glob("ttnn-*.dist-info")).name.split("-")[1].removesuffix(".dist")


def made_of(target: Target) -> str:
    """Where outputs come from, in words."""
    if target.lane == TTSIM:
        chip = f"simulated {target.board.name}, bit-exact by ttsim's contract"
        return f"TT-NN {ttnn_version()}'s kernels on ttsim {kept_version()} ({chip})"
    return f"TT-NN {ttnn_version()} on {'a card' if target.is_card else f'a mocked {target.board.name}'}"
