"""The plugin's runtime files, kept in one place, so that kernels built once stay built.

libtt.so unpacks kernel sources and the RISC-V compiler into TMPDIR at every load, and names that folder in
TT_METAL_RUNTIME_ROOT (pcmoritz/libtt, cpp/tt_metal_runtime_root.cc). tt-metal's kernel cache holds the path
and the hash of every file that a kernel was built from: in a TMPDIR of each worker's own, all firmware and
all kernels would be built again by every worker.
"""

import ctypes
import os
import shutil
import tempfile
from pathlib import Path

UNPACKED = "libtt-tt-metal-runtime-assets-*"  # the rest of the name is the files' fingerprint


def load(library: Path, keep: Path) -> None:
    """Load the plugin, and have tt-metal find its runtime files in `keep`, whichever worker unpacked them
    first."""
    ctypes.CDLL(str(library))
    for unpacked in Path(tempfile.gettempdir()).glob(UNPACKED):
        os.environ["TT_METAL_RUNTIME_ROOT"] = str(kept(unpacked, keep))
        shutil.rmtree(unpacked, ignore_errors=True)


def kept(unpacked: Path, keep: Path) -> Path:
    """The folder in `keep` with the files of `unpacked`, which may be moved there."""
    place = keep / unpacked.name
    if place.is_dir():
        return place
    keep.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix="part-", dir=keep))
    try:
        shutil.move(unpacked, part)
        os.rename(part / unpacked.name, place)
    except OSError:
        if not place.is_dir():  # else another worker was first
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return place
