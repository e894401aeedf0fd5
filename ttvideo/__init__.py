"""Bring Mochi's video decoder to Tenstorrent chips: probe, rewrite, compare, stream."""

import os

# diffusers imports torch_xla wherever it is installed, which then warns if no device is named.
# Workers name their own.
os.environ.setdefault("PJRT_DEVICE", "CPU")

from ttvideo.basics.compare import compare  # noqa: E402
from ttvideo.basics.errors import Failed, Refused  # noqa: E402
from ttvideo.decoders.families import for_tiles  # noqa: E402
from ttvideo.decoders.native import native  # noqa: E402
from ttvideo.decoders.on import on  # noqa: E402
from ttvideo.probing.probe import probe, probe_all  # noqa: E402
from ttvideo.probing.replay import replay  # noqa: E402
from ttvideo.targets.target import TARGETS  # noqa: E402
from ttvideo.ways.decompose import decompose  # noqa: E402

__all__ = [
    "TARGETS", "Failed", "Refused", "compare", "decompose", "for_tiles", "native", "on", "probe", "probe_all",
    "replay",
]  # fmt: skip
