"""How close is the demo clip to stock in float64, by the small trained autoencoders, on both simulated chips?

    python -m findings demo_clips

For tiles, and in TT-NN's own ops, whose frames leave the chip in bf16 or in 8 bits; of Mochi's only the last,
for `silicon_frames` and `native` have the others.
"""

import torch

from findings.silicon_frames import on_chip
from findings.trained import encoded
from findings.unused import NATIVE as NATIVELY
from findings.unused import other_families
from lib.silicon import CHIPS
from lib.silicon_frames import demo_clip
from ttvideo.decoders.families import for_tiles
from ttvideo.decoders.native import native
from ttvideo.media.models import load_vae
from ttvideo.media.video_models import TRAINED

TILES, NATIVE, EIGHT_BITS = "for tiles", "native", "native, 8 bits"
AUTOENCODERS = {
    "wan-demo": "AutoencoderKLWan", "cogvideox-demo": "AutoencoderKLCogVideoX", "demo": "AutoencoderKLMochi",
}  # fmt: skip
CASES = {model: (TILES, NATIVE, EIGHT_BITS) for model in TRAINED} | {"demo": (EIGHT_BITS,)}
MADE_WITH = ("ttnn", "ttsim")
KEYS = [
    ("rows", {"model": model, "case": case, "chip": chip})
    for model, cases in CASES.items()
    for case in cases
    for chip in CHIPS
]


def unused(key) -> set[str]:
    model, case, _ = key[-1].values()
    others = other_families(AUTOENCODERS[model])
    return others | NATIVELY if case == TILES else others


@torch.no_grad()
def make(keys):
    for key in keys:
        model, case, chip = key[-1].values()
        vae, z, truth = (load_vae(model), *demo_clip()) if model == "demo" else encoded(model)
        decoder = for_tiles(vae).bfloat16() if case == TILES else native(vae, eight_bits=case == EIGHT_BITS)
        # In 8 bits there is nothing beyond -1 and 1, as in the pipelines' own.
        yield key, on_chip(decoder, z, truth.clamp(-1, 1) if case == EIGHT_BITS else truth, chip)[0]
