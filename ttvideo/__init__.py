"""Bring video decoders to Tenstorrent chips: probe, rewrite, compare, stream."""

import os
from importlib import import_module

# diffusers imports torch_xla wherever it is installed, which then warns if no device is named.
# Workers name their own.
os.environ.setdefault("PJRT_DEVICE", "CPU")

# Imported when asked for (PEP 562): a worker takes none of them, and diffusers takes seconds to import.
NAMES = {
    "TARGETS": "ttvideo.targets.target",
    "Failed": "ttvideo.basics.errors",
    "Refused": "ttvideo.basics.errors",
    "compare": "ttvideo.basics.compare",
    "decompose": "ttvideo.decompositions.decompose",
    "for_tiles": "ttvideo.decoders.families",
    "native": "ttvideo.decoders.native",
    "on": "ttvideo.decoders.on",
    "probe": "ttvideo.probing.probe",
    "probe_all": "ttvideo.probing.probe",
    "replay": "ttvideo.probing.replay",
}
__all__ = list(NAMES)


def __getattr__(name: str):
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(NAMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *NAMES]
