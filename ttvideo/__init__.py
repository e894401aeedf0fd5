"""Bring video decoders to Tenstorrent chips: probe, rewrite, compare, stream."""

import os
from importlib import import_module

# diffusers imports torch_xla wherever it is installed, which then warns if no device is named.
# Workers name their own.
os.environ.setdefault("PJRT_DEVICE", "CPU")

# Imported when asked for (PEP 562): a worker takes none of them, and diffusers takes seconds to import.
NAMES = {
    "TARGETS": "targets.target",
    "Failed": "basics.errors",
    "Refused": "basics.errors",
    "compare": "basics.compare",
    "decompose": "ways.decompose",
    "for_tiles": "decoders.families",
    "native": "decoders.native",
    "on": "decoders.on",
    "probe": "probing.probe",
    "probe_all": "probing.probe",
    "replay": "probing.replay",
}
__all__ = list(NAMES)


def __getattr__(name: str):
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{NAMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *NAMES]
