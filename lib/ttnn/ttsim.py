"""Tenstorrent's simulator (github tenstorrent/ttsim): one library for each chip, taken from its user or its releases."""

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path

from lib.basics.errors import Refused
from lib.targets.target import PROJECT

VERSION = "v1.10.0"
RELEASES = "https://github.com/tenstorrent/ttsim/releases/download"
LIBRARIES = {"blackhole": "libttsim_bh.so", "wormhole_b0": "libttsim_wh.so"}
# SHA-256 of the release's files. None: not known to the project, which then says that it didn't verify the file.
CHECKSUMS: dict[str, str | None] = {"libttsim_bh.so": None, "libttsim_wh.so": None}
SOC_DESCRIPTORS = {
    "blackhole": "ttnn/tt_metal/soc_descriptors/blackhole_140_arch.yaml",
    "wormhole_b0": "ttnn/tt_metal/soc_descriptors/wormhole_b0_80_arch.yaml",
}
KEPT = PROJECT / ".cache" / "sim" / "ttsim"
TIMEOUT_SECONDS = 60
YOURS = "as given"


def kept_library(arch: str) -> Path:
    return KEPT / LIBRARIES[arch]


def kept_version() -> str:
    """The release's version, or that of the file that was given, by its folder's README or by its checksum."""
    path = KEPT / "version"
    return path.read_text().strip() if path.exists() else "of unknown version"


def keep(given: str | None, releases: str = RELEASES) -> str:
    """Put the simulator into the project's cache, from `given`, a file or folder, or from its releases; say what came.

    Raises `Refused`: nothing there by the expected names, no network, another checksum.
    """
    if given:
        found = libraries_in(Path(given))
        version = stated_version(Path(given))
    else:
        found, version = fetched(releases), VERSION
    KEPT.mkdir(parents=True, exist_ok=True)
    for name, content in found.items():
        part = KEPT / f"{name}.{os.getpid()}.part"
        part.write_bytes(content)
        part.replace(KEPT / name)
    (KEPT / "version").write_text(version)
    unverified = [] if given else [name for name in found if CHECKSUMS[name] is None]
    sums = ", ".join(f"{name} sha256 {hashlib.sha256(content).hexdigest()[:16]}…" for name, content in found.items())
    return f"ttsim {version}: {sums}" + (" (NOT verified: the project knows no checksum)" if unverified else "")


def libraries_in(given: Path) -> dict[str, bytes]:
    names = set(LIBRARIES.values())
    paths = [given] if given.is_file() else [path for path in sorted(given.glob("*.so")) if path.name in names]
    if not paths or not {path.name for path in paths} <= names:
        raise Refused("TTSIM", given, f"a file called {' or '.join(sorted(names))}, or a folder with them")
    return {path.name: path.read_bytes() for path in paths}


def stated_version(given: Path) -> str:
    """As a README beside the files has it in its first line, else unknown."""
    readme = (given if given.is_dir() else given.parent) / "README.md"
    first = readme.read_text().splitlines()[:1] if readme.is_file() else []
    words = [word.strip(",") for line in first for word in line.split()]
    version = next((word for word in words if word[:1] == "v" and word[1:2].isdigit()), "of unknown version")
    return f"{version} ({YOURS})"


def fetched(releases: str) -> dict[str, bytes]:
    found = {}
    for name, checksum in CHECKSUMS.items():
        url = f"{releases}/{VERSION}/{name}"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
                found[name] = answer.read()
        except (urllib.error.URLError, OSError) as error:
            raise Refused("ttsim", f"{url}: {error}", "a network, or TTSIM=<file or folder>") from error
        got = hashlib.sha256(found[name]).hexdigest()
        if checksum is not None and got != checksum:
            raise Refused("ttsim", f"{name} of sha256 {got}", checksum)
    return found
