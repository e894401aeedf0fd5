"""What TT-NN builds kernels of: its own kernel sources, beside the RISC-V compiler that the plugin brings along."""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from lib.basics.errors import Refused
from lib.basics.folders import new_folder
from lib.targets.plugins import pypi_build
from lib.targets.target import PROJECT, RUNTIME_FILES

KEPT = PROJECT / ".cache" / "sim"
UNPACKED_BYTES = 1_000_000_000
# Loads the plugin, which unpacks the compiler, in a process of its own: it can be loaded once in each.
UNPACK = """
import os, sys; from pathlib import Path; from lib.targets.runtime_files import load
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


# What ttsim stops at: docs/ttsim-wormhole.md.
HEADER = Path("tt_metal/tt-llk/tt_llk_wormhole_b0/common/inc/cunpack_common.h")
DUMMY = "    TT_UNPACR(SrcA, 0, 0, context_id, 0, 1"
WITHOUT_DUMMY = (
    "Wormhole's kernels are built without the unpack to SrcA that follows each unpack to dest, against a hardware bug "
    "(TEN-3868): it writes nothing that is read, and ttsim stops at it"
)


def runtime_root(packages: Path, without_dummy: bool = False) -> Path:
    """The folder that TT_METAL_RUNTIME_ROOT names, always at one path: the kernel cache remembers it."""
    root, ttnn = KEPT / ("root-without-dummy" if without_dummy else "root"), packages / "ttnn"
    links = {"ttnn": ttnn / "ttnn", "runtime/hw": ttnn / "runtime" / "hw", "runtime/sfpi": compiler()}
    if without_dummy:
        links |= beside(HEADER, ttnn)
        write(root / HEADER, dropped(DUMMY, (ttnn / HEADER).read_text()))
    else:
        links |= {"tt_metal": ttnn / "tt_metal"}
    for name, target in links.items():
        link = root / name
        if not link.is_symlink() or link.readlink() != target:
            relink(link, target)
    return root


def beside(path: Path, original: Path) -> dict[str, Path]:
    """Links to all that lies on the way to `path`, but for itself."""
    way = {path, *path.parents}
    folders = [folder for folder in way if folder not in (path, Path("."))]
    return {
        str(folder / entry.name): entry
        for folder in folders
        for entry in (original / folder).iterdir()
        if folder / entry.name not in way
    }


def dropped(begin: str, text: str) -> str:
    """`text` without its one line that begins so. Raises `Refused` if there is another number of them."""
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(begin)]
    if len(lines) - len(kept) != 1:
        raise Refused("TT-NN's kernels", f"{len(lines) - len(kept)} lines {begin.strip()!r}", "exactly one")
    return "".join(kept)


def write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(f"{path}.{own_name()}")
        part.write_text(text)
        part.replace(path)


def compiler() -> Path:
    """Tenstorrent's RISC-V compiler for both chips: a copy of the plugin's, made once, that shares its files.

    The one that is there stays, whichever plugin is installed: kernels are TT-NN's, and their cache knows its path.
    Raises `Refused` where there is none and the plugin's is too old.
    """
    if found := [path for path in sorted(KEPT.glob("sfpi-*-both")) if numbers(path.name.split("-")[1]) >= OLDEST]:
        return found[0]
    plugin = pypi_build()
    if plugin is None or numbers(plugin.version) < OLDEST:
        got = f"jax-tt-plugin {plugin.version if plugin else 'not installed'}"
        raise Refused("TT-NN's kernels", got, f"{'.'.join(map(str, OLDEST))} or newer, for its compiler")
    copy = KEPT / f"sfpi-{plugin.version}-both"
    folder = new_folder(UNPACKED_BYTES)
    part = Path(f"{copy}.{own_name()}")
    try:
        variables = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(PROJECT)}
        command = [sys.executable, "-c", UNPACK, str(plugin.library), str(RUNTIME_FILES)]
        unpacked = subprocess.run(command, env=variables, check=True, capture_output=True, text=True).stdout
        shutil.copytree(Path(unpacked.split()[-1]) / "runtime" / "sfpi", part, symlinks=True, copy_function=share)
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


def share(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copy2(source, target)


def relink(link: Path, target: Path) -> None:
    """At once, whoever else does the same."""
    link.parent.mkdir(parents=True, exist_ok=True)
    new = Path(f"{link}.{own_name()}")
    new.symlink_to(target)
    new.replace(link)


def own_name() -> str:
    return f"{os.getpid()}.{threading.get_ident()}"
