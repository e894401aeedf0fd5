"""How close is the demo clip, streamed on both simulated chips, to stock in float64?

    python -m findings silicon_frames

`make sim` sets up what this needs.
"""

from dataclasses import asdict

from lib.silicon import CHIPS
from lib.silicon_frames import demo_clip, on_chip
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.media.models import load_vae

MADE_WITH = ("ttnn", "ttsim")
KEYS = [("rows", {"chip": chip}) for chip in CHIPS]


def make(keys):
    z, truth = demo_clip()
    decoder = TileDecoder(load_vae("demo").decoder.bfloat16())
    for key in keys:
        figures, frames = on_chip(decoder, z, truth, key[-1]["chip"])
        yield key, (asdict(figures), {figures.chip: frames})
