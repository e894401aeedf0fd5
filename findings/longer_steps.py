"""What do longer steps save of a native decoder's bytes and time, and what do they take of memory?

The steady step at the pipeline's default size, by its program (`video_vaes`, "written"): a step reads and
writes what stays of the one before once, starts its ops once, and its convolutions have larger blocks.
"""

from findings.unused import other_families
from findings.video_vaes import written
from ttvideo.media.video_models import MODELS

LATENT_FRAMES = {"Mochi": (1, 2, 3, 4), "Wan 2.1": (1, 2, 4), "Wan 2.2": (1, 2, 4), "CogVideoX": (2, 4)}
MADE_WITH = ("ttnn",)
KEYS = [
    ("rows", {"model": model, "board": board, "frames_per_step": count})
    for model, counts in LATENT_FRAMES.items()
    for board in ("n150", "p150")
    for count in counts
]


def unused(key) -> set[str]:
    return other_families(MODELS[key[-1]["model"]].autoencoder)


def make(keys):
    for key in keys:
        model, board, count = key[-1].values()
        yield key, written(MODELS[model], board, count)
