"""The demo clip, streamed on both simulated chips: findings/results/silicon_frames.json and its frames.

    python -m findings silicon_frames [chip ...]

`make sim` sets up what this needs. 30 to 35 minutes a chip on a busy machine of two cores.
"""

import sys

from lib.silicon import CHIPS
from lib.silicon_frames import demo_clip, document, on_chip
from lib.stored import store
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.media.models import load_vae
from ttvideo.targets.target import TARGETS
from ttvideo.ttnn.places import made_of


def main() -> None:
    z, truth = demo_clip()
    rows, frames = [], {}
    for chip in sys.argv[1:] or CHIPS:
        decoder = TileDecoder(load_vae("demo").decoder.bfloat16())
        figures, frames[chip] = on_chip(decoder, z, truth, chip)
        rows.append(figures)
    store("silicon_frames", document(rows, frames), **{chip: made_of(TARGETS[chip]) for chip in frames})


if __name__ == "__main__":
    main()
