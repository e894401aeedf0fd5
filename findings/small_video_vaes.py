"""How close to float64 is a small decoder of each video model, streamed on simulated chips?

    python -m findings small_video_vaes

By TT-NN's own kernels.
"""

from findings.families import family_row
from ttvideo.media.small_autoencoders import SMALL_IMAGES
from ttvideo.media.video_models import MODELS as SHOWN

MADE_WITH = ("ttnn", "ttsim")
TARGETS = ("n150-ttsim", "p150-ttsim")
FURTHER = (
    "Stable Video Diffusion", "Allegro", "Cosmos", "EasyAnimate (Magvit)", "HunyuanImage refiner", "KVAE",
    "Kandinsky 6 SR",
)  # fmt: skip
MODELS = (*SHOWN, *FURTHER, *SMALL_IMAGES)
KEYS = [("rows", {"model": model, "target": target}) for model in MODELS for target in TARGETS]


def make(keys):
    for key in keys:
        yield key, family_row(*key[-1].values()).as_dict()
