"""The demo clip, streamed on both simulated chips: lib/notebook/results/silicon_frames.json and its frames.

    python -m findings silicon_frames [chip ...]

`make sim` sets up what this needs. 30 to 35 minutes a chip on a busy machine of two cores.
"""

import sys

import torch

from lib.decoders.mochi import TileDecoder
from lib.decoders.stream import stream_decode
from lib.media.latents import DROPPED_FRAMES, load_latents
from lib.media.models import load_vae
from lib.notebook.silicon import CHIPS
from lib.notebook.silicon_frames import decoded, document
from lib.notebook.stored import store
from lib.targets.target import TARGETS
from lib.ttnn.places import made_of

LATENTS = (1, 12, 4, 8, 8)


def main() -> None:
    z = load_latents("clip", load_vae("demo"), LATENTS).bfloat16()
    with torch.no_grad():
        truth = load_vae("demo").decoder.double()(z.double())[0][:, :, DROPPED_FRAMES:]
    rows, frames = [], {}
    for chip in sys.argv[1:] or CHIPS:
        decoder = TileDecoder(load_vae("demo").decoder.bfloat16())
        steps = []
        for step in stream_decode(decoder, z, chip):
            print(step.verdict, file=sys.stderr, flush=True)
            steps.append(step)
        frames[chip] = torch.cat([step.frames for step in steps], dim=2)
        rows.append(decoded(chip, z, frames[chip], truth, [step.verdict.ran for step in steps]))
    store("silicon_frames", document(rows, frames), **{chip: made_of(TARGETS[chip]) for chip in frames})


if __name__ == "__main__":
    main()
