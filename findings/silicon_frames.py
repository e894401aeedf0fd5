"""The demo clip, streamed on both simulated chips: lib/notebook/results/silicon_frames.json and its frames.

    python -m findings silicon_frames [chip ...]

`make sim` sets up what this needs. 30 to 35 minutes a chip on a busy machine of two cores.
"""

import sys

from lib.decoders.mochi import TileDecoder
from lib.media.models import load_vae
from lib.notebook.silicon import CHIPS
from lib.notebook.silicon_frames import demo_clip, document, on_chip
from lib.notebook.stored import store
from lib.targets.target import TARGETS
from lib.ttnn.places import made_of


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
