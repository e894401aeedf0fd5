"""How close to float64 is a small decoder of each video model, streamed on simulated chips?

By TT-NN's own kernels: "rows" as compiled for tiles, "native" in TT-NN's own ops.
"""

from findings.families import family_row
from findings.unused import COSTS, NATIVE, other_families
from ttvideo.decoders.families import for_tiles
from ttvideo.decoders.native import FAMILIES, native
from ttvideo.media.small_autoencoders import SMALL, SMALL_IMAGES
from ttvideo.media.video_models import MODELS as SHOWN

MADE_WITH = ("ttnn", "ttsim")
TARGETS = ("n150-ttsim", "p150-ttsim")
FURTHER = (
    "Stable Video Diffusion", "Allegro", "Cosmos", "EasyAnimate (Magvit)", "HunyuanImage refiner", "KVAE",
    "Kandinsky 6 SR",
)  # fmt: skip
MODELS = (*SHOWN, *FURTHER, *SMALL_IMAGES)
AUTOENCODERS = {name: small.name for name, small in (SMALL | SMALL_IMAGES).items()}
IN_OPS = {kind.__name__ for kind in FAMILIES}
KEYS = [("rows", {"model": model, "target": target}) for model in MODELS for target in TARGETS]
KEYS += [("native", of) for _, of in KEYS if AUTOENCODERS[of["model"]] in IN_OPS]


def unused(key) -> set[str]:
    table, of = key
    small = (SMALL | SMALL_IMAGES)[of["model"]]
    others = COSTS | (set() if small.part else other_families(small.name))
    return others | NATIVE if table == "rows" else others


def make(keys):
    for key in keys:
        table, of = key
        rewrite = native if table == "native" else for_tiles
        yield key, family_row(of["model"], of["target"], rewrite).as_dict()
