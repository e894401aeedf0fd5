"""Folders: workers' temporary ones, made where there is room and swept when their owner was killed; files put
in place at once."""

import os
import shutil
import tempfile
import threading
from pathlib import Path

import psutil
from platformdirs import user_cache_path

from ttvideo.basics.errors import Refused

FOLDER_PREFIX = "ttvideo-"
CACHE = user_cache_path(
    "ttvideo"
)  # kernels, the RISC-V compiler, TT-NN's environment: all that can be made again
IN_MEMORY = Path("/dev/shm")


def new_folder(needed: int) -> Path:
    """A folder of this process's own on a disk with `needed` bytes. Raises `Refused` if there is none."""
    sweep()
    base = next((place for place in places() if shutil.disk_usage(place).free >= needed), None)
    if base is None:
        free = shutil.disk_usage(tempfile.gettempdir()).free
        raise Refused(
            "temporary folder", f"{free / 1e9:.1f} GB free", f"{needed / 1e9:.1f} GB (TMPDIR moves it)"
        )
    return Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-", dir=base))


def places() -> list[Path]:
    """Where a worker's folder may lie: in memory first, where a start takes 5 s instead of 14, unless TMPDIR
    is set."""
    temporary = Path(tempfile.gettempdir())
    return (
        [temporary] if "TMPDIR" in os.environ or not os.access(IN_MEMORY, os.W_OK) else [IN_MEMORY, temporary]
    )


def sweep() -> None:
    """Remove the folders of processes that were killed before they could."""
    for folder in (folder for place in places() for folder in place.glob(f"{FOLDER_PREFIX}*-*")):
        owner = folder.name.removeprefix(FOLDER_PREFIX).split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def share(source: str, target: str) -> None:
    """A second name of a file, or its copy on another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def write(path: Path, text: str) -> None:
    """At once, and only if it says something else than what is there."""
    if not path.is_file() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(f"{path}.{own_name()}")
        part.write_text(text)
        part.replace(path)


def relink(link: Path, target: Path) -> None:
    """At once, whoever else does the same."""
    link.parent.mkdir(parents=True, exist_ok=True)
    new = Path(f"{link}.{own_name()}")
    new.symlink_to(target)
    new.replace(link)


def own_name() -> str:
    return f"{os.getpid()}.{threading.get_ident()}"
