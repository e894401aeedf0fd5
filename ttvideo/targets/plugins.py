"""Find the PJRT plugin that drives Tenstorrent chips, and learn what it was built with."""

import functools
import importlib.util
import mmap
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ttvideo.basics.errors import Refused

# A system descriptor's schema hash stands in the library as 64 hex digits; it is the last such string
# in all four versions of the PyPI plugin.
SCHEMA_HASH = re.compile(rb"\0([0-9a-f]{64})(?![0-9a-f])")


@dataclass(frozen=True)
class Plugin:
    distribution: str
    version: str
    library: Path
    origin: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} ({self.origin})"

    @property
    def schema_hash(self) -> str:
        """The hash that a system descriptor must carry. Raises `Refused` if the library holds none."""
        return _schema_hash(self.library)


def _packaged(module: str, distribution: str, library: str, origin: str) -> Plugin | None:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    if spec is None:
        return None
    path = Path(spec.origin).with_name(library)
    if not path.is_file():
        return None
    return Plugin(distribution, metadata.version(distribution), path, origin)


def tenstorrent_wheel() -> Plugin | None:
    """Tenstorrent's own wheel, from Tenstorrent's package index."""
    return _packaged("pjrt_plugin_tt", "pjrt-plugin-tt", "pjrt_plugin_tt.so", "Tenstorrent's wheel")


def pypi_build() -> Plugin | None:
    """The build of tt-xla, tt-mlir and tt-metal on PyPI, by github pcmoritz/libtt."""
    return _packaged("jax_plugins.libtt", "jax-tt-plugin", "libtt.so", "PyPI build of tt-xla")


def find_plugin(card: bool = False) -> Plugin:
    """The plugin that serves: on a card Tenstorrent's own wheel first, without one the PyPI build first.

    Raises `Refused`, with what to install, if neither is there.
    """
    finders = (tenstorrent_wheel, pypi_build) if card else (pypi_build, tenstorrent_wheel)
    for find in finders:
        if plugin := find():
            return plugin
    raise Refused(
        "Tenstorrent plugin",
        "none installed",
        "`pip install jax-tt-plugin` (PyPI) or, beside a card, Tenstorrent's own wheel `pjrt-plugin-tt`",
    )


@functools.cache
def _schema_hash(library: Path) -> str:
    # Tenstorrent's wheel keeps the runtime in libraries beside the plugin.
    for path in (library, *sorted(library.parent.glob("lib/*.so"))):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            hashes = SCHEMA_HASH.findall(content)
        if hashes:
            return hashes[-1].decode()
    raise Refused(
        "system descriptor", f"no schema hash in {library.name}", "a plugin built with tt-mlir's runtime"
    )
