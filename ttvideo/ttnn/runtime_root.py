"""What TT-NN builds kernels of: its own kernel sources, beside the RISC-V compiler that the plugin brings
along."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from ttvideo.basics.errors import Refused
from ttvideo.basics.folders import CACHE, new_folder, own_name, relink, share, write
from ttvideo.programs.own.dram_counts import COUNTING
from ttvideo.targets.plugins import pypi_build
from ttvideo.targets.target import ROOT, RUNTIME_FILES
from ttvideo.ttnn.workarounds import Workaround

KEPT = CACHE / "sim"
UNPACKED_BYTES = 1_000_000_000
# Loads the plugin, which unpacks the compiler, in a process of its own: it can be loaded once in each.
UNPACK = """
import os, sys; from pathlib import Path; from ttvideo.targets.runtime_files import load
load(*map(Path, sys.argv[1:])); print(os.environ["TT_METAL_RUNTIME_ROOT"])
"""
# The plugin's compiler has libraries for Blackhole alone; for Wormhole's instruction set they serve as well.
LIBRARIES = (
    "compiler/riscv-tt-elf/lib",
    "compiler/riscv-tt-elf/include/c++/15.1.0/riscv-tt-elf",
    "compiler/lib/gcc/riscv-tt-elf/15.1.0",
)
BLACKHOLE, WORMHOLE = "bh-ilp32", "wh-ilp32"
# The first jax-tt-plugin whose compiler builds the kernels of the TT-NN that `make sim` installs.
OLDEST = (0, 1, 3)


def runtime_root(packages: Path, workaround: Workaround | None = None, counting: bool = False) -> Path:
    """The folder that TT_METAL_RUNTIME_ROOT names, always at one path: the kernel cache remembers it. Kernels
    built there do with the work-around, and `counting` what they ask of DRAM."""
    root, ttnn = KEPT / f"root{suffix(workaround, counting)}", packages / "ttnn"
    edits = (workaround.edits if workaround else {}) | (COUNTING if counting else {})
    for path, edit in edits.items():
        write(root / path, edit((ttnn / path).read_text()))
    built_by = workaround.compiler(compiler()) if workaround else compiler()
    links = {"ttnn": ttnn / "ttnn", "runtime/hw": ttnn / "runtime" / "hw", "runtime/sfpi": built_by}
    for name, target in (links | beside(edits, Path("tt_metal"), ttnn)).items():
        link = root / name
        if not link.is_symlink() or link.readlink() != target:
            relink(link, target)
    return root


def suffix(workaround: Workaround | None, counting: bool) -> str:
    """Of the folders that such kernels are built in."""
    return (f"-{workaround.name}" if workaround else "") + "-counting" * counting


def beside(paths: Iterable[Path], folder: Path, original: Path) -> dict[str, Path]:
    """Links to all that lies in a folder but these paths, those on the way to them, too; or to the folder."""
    way = {above for path in paths for above in (path, *path.parents)}
    if folder not in way:
        return {str(folder): original / folder}
    entries = [folder / entry.name for entry in (original / folder).iterdir()]
    found = {}
    for entry in (entry for entry in entries if entry not in paths):
        found |= beside(paths, entry, original)
    return found


def compiler() -> Path:
    """Tenstorrent's RISC-V compiler for both chips: a copy of the plugin's, made once, that shares its files.

    The one that is there stays, whichever plugin is installed: kernels are TT-NN's, and their cache knows its
    path. Raises `Refused` where there is none and the plugin's is too old.
    """
    if found := [
        path for path in sorted(KEPT.glob("sfpi-*-both")) if numbers(path.name.split("-")[1]) >= OLDEST
    ]:
        return found[0]
    plugin = pypi_build()
    if plugin is None or numbers(plugin.version) < OLDEST:
        got = f"jax-tt-plugin {plugin.version if plugin else 'not installed'}"
        raise Refused("TT-NN's kernels", got, f"{'.'.join(map(str, OLDEST))} or newer, for its compiler")
    copy = KEPT / f"sfpi-{plugin.version}-both"
    folder = new_folder(UNPACKED_BYTES)
    part = Path(f"{copy}.{own_name()}")
    try:
        variables = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", UNPACK, str(plugin.library), str(RUNTIME_FILES)]
        unpacked = subprocess.run(command, env=variables, check=True, capture_output=True, text=True).stdout
        shutil.copytree(
            Path(unpacked.split()[-1]) / "runtime" / "sfpi", part, symlinks=True, copy_function=share
        )
        for library in LIBRARIES:
            (part / library / WORMHOLE).symlink_to(BLACKHOLE)
        with contextlib.suppress(OSError):  # another process was first
            part.rename(copy)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(part, ignore_errors=True)
    return copy


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
