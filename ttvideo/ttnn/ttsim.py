"""Tenstorrent's simulator (github tenstorrent/ttsim): one library for each chip, unchanged, taken from its
user or its releases.

Looked for in this order: `TTSIM=<file or folder>`; `ttsim/` in the user's data folder; what the project keeps
already; the pinned release. A library is known by what it says of itself, the PCI device that it presents,
not by its name.
"""

import hashlib
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path

from ttvideo.basics.errors import Refused
from ttvideo.basics.folders import CACHE

VERSION = "v1.10.0"
RELEASES = "https://github.com/tenstorrent/ttsim/releases/download"
LIBRARIES = {"blackhole": "libttsim_bh.so", "wormhole_b0": "libttsim_wh.so"}
# SHA-256 of the release's files. None: not known to the project, which then says that it didn't verify the
# file.
CHECKSUMS: dict[str, str | None] = {"libttsim_bh.so": None, "libttsim_wh.so": None}
SOC_DESCRIPTORS = {
    "blackhole": "ttnn/tt_metal/soc_descriptors/blackhole_140_arch.yaml",
    "wormhole_b0": "ttnn/tt_metal/soc_descriptors/wormhole_b0_80_arch.yaml",
}
KEPT = CACHE / "sim" / "ttsim"
TIMEOUT_SECONDS = 60
VENDOR, DEVICES = 0x1E52, {0xB140: "blackhole", 0x401E: "wormhole_b0"}
# In a process of its own, which an ill-treated library ends; the interface is ttsim's docs/libttsim_api.md.
ASK = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.libttsim_init()
ids = [library.libttsim_pci_config_rd32(device << 3, 0) & 0xFFFFFFFF for device in (0, 1)]
print("PCI", *ids, flush=True)
"""
NONE = 0xFFFFFFFF


@dataclass(frozen=True)
class Found:
    """Libraries by chip, where they come from, and their version as it is stated there."""

    libraries: dict[str, bytes]
    version: str
    source: str


def kept_library(arch: str) -> Path:
    return KEPT / LIBRARIES[arch]


def kept_version() -> str:
    path = KEPT / "version"
    return path.read_text().strip() if path.exists() else "of unstated version"


def data_folder() -> Path:
    return user_data_path("ttsim")


def keep(given: str | None, releases: str = RELEASES) -> str:
    """Find the simulator, put it into the project's cache, and say what came from where.

    Raises `Refused`: nothing where it was said to be, a folder that can't be read, a file that isn't a ttsim
    of one Wormhole or Blackhole, no network, another checksum.
    """
    found = looked_for(given, releases)
    if found is None:
        return f"ttsim {kept_version()}, as kept"
    KEPT.mkdir(parents=True, exist_ok=True)
    for arch, content in found.libraries.items():
        part = KEPT / f"{LIBRARIES[arch]}.{os.getpid()}.part"
        part.write_bytes(content)
        part.replace(kept_library(arch))
    (KEPT / "version").write_text(found.version)
    sums = (f"{LIBRARIES[arch]} sha256 {hashlib.sha256(content).hexdigest()[:16]}…"
            for arch, content in found.libraries.items())  # fmt: skip
    said = f"ttsim {found.version}, {found.source}: {', '.join(sums)}"
    return (
        said if VERSION in found.version else f"{said}\nthe project's results were made with ttsim {VERSION}"
    )


def looked_for(given: str | None, releases: str) -> Found | None:
    """What is to be kept; None where what is kept stays."""
    if given:
        return found_in(Path(given), "as TTSIM says")
    if present(data_folder()):
        return found_in(data_folder(), "from the user's data folder")
    if any(kept_library(arch).is_file() for arch in LIBRARIES):
        return None
    return fetched(releases)


def present(folder: Path) -> bool:
    try:
        return any(folder.iterdir()) if folder.exists() else False
    except OSError as error:
        raise Refused(
            "ttsim",
            f"{folder}: {error.strerror}",
            "a data folder that can be read, or TTSIM=<file or folder>",
        ) from None


def found_in(given: Path, source: str) -> Found:
    """The libraries of a file or a folder, each asked what chip it is."""
    try:
        paths = sorted(given.glob("*.so")) if given.is_dir() else [given]
        contents = {path: path.read_bytes() for path in paths}
    except OSError as error:
        raise Refused(
            "TTSIM", f"{error.filename}: {error.strerror}", "a file or folder that can be read"
        ) from None
    if not contents:
        raise Refused("TTSIM", f"no library in {given}", " and ".join(LIBRARIES.values()))
    libraries: dict[str, bytes] = {}
    for path, content in contents.items():
        arch = chip_of(path)
        if libraries.setdefault(arch, content) != content:
            raise Refused("TTSIM", f"two libraries of a {arch} in {given}", "one for each chip")
    return Found(libraries, stated_version(given), source)


def chip_of(library: Path) -> str:
    """The chip that a library simulates. Raises `Refused` for what isn't a ttsim of one chip that the project
    knows."""
    asked = [sys.executable, "-c", ASK, str(library.absolute())]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
        found = re.search(r"^PCI (\d+) (\d+)$", said.stdout, re.M)
        why = (said.stderr.strip() or said.stdout.strip() or f"exit {said.returncode}").splitlines()[-1]
    except subprocess.TimeoutExpired:
        found, why = None, f"no answer in {TIMEOUT_SECONDS} s"
    wanted = f"a ttsim {VERSION} of a single Wormhole or Blackhole"
    if not found:
        raise Refused("TTSIM", f"{library}, which isn't one ({why})", wanted)
    first, second = map(int, found.groups())
    arch = DEVICES.get(first >> 16) if first & 0xFFFF == VENDOR else None
    if arch is None or second != NONE:
        kind = f"PCI device {first:#010x}" + (" and more chips" if second != NONE else "")
        raise Refused("TTSIM", f"{library}, {kind}", wanted)
    return arch


def stated_version(given: Path) -> str:
    """As a file `version` or the first line of a README beside the libraries has it: they don't state their
    own."""
    folder = given if given.is_dir() else given.parent
    for name in ("version", "README.md"):
        lines = (folder / name).read_text().splitlines()[:1] if (folder / name).is_file() else []
        if version := re.search(r"\bv\d+(\.\d+)+\b", "".join(lines)):
            return version[0]
    return "of unstated version"


def fetched(releases: str) -> Found:
    found = {}
    for arch, name in LIBRARIES.items():
        url = f"{releases}/{VERSION}/{name}"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
                found[arch] = answer.read()
        except (urllib.error.URLError, OSError) as error:
            raise Refused(
                "ttsim", f"{url}: {error}", f"a network, TTSIM=<file or folder>, or {data_folder()}"
            ) from error
        got, wanted = hashlib.sha256(found[arch]).hexdigest(), CHECKSUMS[name]
        if wanted is not None and got != wanted:
            raise Refused("ttsim", f"{name} of sha256 {got}", wanted)
    unverified = any(CHECKSUMS[name] is None for name in LIBRARIES.values())
    return Found(
        found,
        VERSION,
        "the release" + (" (NOT verified: the project knows no checksum)" if unverified else ""),
    )
