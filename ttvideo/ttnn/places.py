"""Where TT-NN runs a program: what its process is told, for the simulator, a mocked board and a card."""

import functools
import os
from pathlib import Path

from ttvideo.basics.folders import CACHE
from ttvideo.targets.descriptors import cluster_descriptor
from ttvideo.targets.target import TTNN_MOCK, TTSIM, Target
from ttvideo.ttnn.runtime_root import KEPT, runtime_root, suffix
from ttvideo.ttnn.ttsim import SOC_DESCRIPTORS, kept_library, kept_version
from ttvideo.ttnn.workarounds import WORKAROUNDS, Workaround

ENVIRONMENT = CACHE / "ttnn"
READY = ENVIRONMENT / "ready"
HOST = Path(__file__).parent / "host"
NOT_SET_UP = "TT-NN's environment is not set up; `make sim` does it, where there is a Python 3.12"
NO_SIMULATOR = "there is no ttsim; `make sim` looks for one, `make sim TTSIM=<file or folder>` takes that one"


def why_not(target: Target) -> str | None:
    """Why the target's place can't be used, None if it can."""
    if not READY.exists():
        return NOT_SET_UP
    if target.lane == TTSIM and not kept_library(target.board.chip.arch).exists():
        return NO_SIMULATOR
    return None


def environment(target: Target, folder: Path, counting: bool = False) -> dict[str, str]:
    """What TT-NN's process is told: the same everywhere, but for the lines that say where the chip is; and
    whether kernels are built that count what they ask of DRAM."""
    around = workaround(target)
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "TT_METAL_RUNTIME_ROOT": str(runtime_root(packages(), around, counting)),
        "TT_METAL_CACHE": str(KEPT / f"tt-metal{suffix(around, counting)}"),
        "TT_LOGGER_LEVEL": "error",
        # Else each process leaves 16 MB in /dev/shm, and tt-metal a file.
        "OMPI_MCA_btl_sm_backing_directory": str(folder),
        "TT_METAL_SHM_TRACKING_DISABLED": "1",
        **place(target, folder),
    }


def workaround(target: Target) -> Workaround | None:
    """What kernels are built with otherwise than for a card, so that the simulated chip runs them."""
    return WORKAROUNDS[target.board.chip.arch] if target.lane == TTSIM else None


def place(target: Target, folder: Path) -> dict[str, str]:
    """Nothing for a card: TT-NN finds it by itself."""
    if target.lane == TTSIM:
        arch, (rows, columns) = target.board.chip.arch, target.board.chip.grid_yx
        # It is looked for beside a description of the chip's grid.
        (folder / "soc_descriptor.yaml").symlink_to(packages() / SOC_DESCRIPTORS[arch])
        (folder / "libttsim.so").symlink_to(kept_library(arch))
        return {
            "TT_METAL_SIMULATOR": str(folder / "libttsim.so"),
            "TT_METAL_SLOW_DISPATCH_MODE": "1",  # the only dispatch that it has
            "TT_METAL_DISABLE_SFPLOADMACRO": "1",  # an instruction that it hasn't
            # The chip has all its workers, a board fewer; TT-NN shares work out by the grid.
            "TT_METAL_CORE_GRID_OVERRIDE_TODEPRECATE": f"{columns - 1},{rows - 1}",
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
        but = ", which knows nothing of Wormhole's multiplier (tt-metal#38306)"
        chip = f"simulated {target.board.name}, bit-exact by ttsim's contract"
        chip += but if target.board.chip.arch == "wormhole_b0" else ""
        return f"TT-NN {ttnn_version()}'s kernels on ttsim {kept_version()} ({chip})"
    return f"TT-NN {ttnn_version()} on {'a card' if target.is_card else f'a mocked {target.board.name}'}"
