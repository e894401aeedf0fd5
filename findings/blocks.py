"""In which blocks is each video decoder's conv3d expected to take the least time, on one chip?

Each convolution of a steady step of every family that `for_tiles` knows, at its pipeline's default size, on
both boards, in HiFi3: as `ttvideo blocks --all MODEL` prints them.
"""

from findings.unused import other_families
from ttvideo.decoders.conv_sizes import model_rows
from ttvideo.media.video_models import MODELS

FIDELITY = "hifi3"
KEYS = [("rows", {"model": model, "board": board}) for model in MODELS for board in ("n150", "p150")]


def unused(key) -> set[str]:
    return other_families(MODELS[key[-1]["model"]].autoencoder)


def make(keys):
    for key in keys:
        _, of = key
        yield (
            key,
            [{"fidelity": FIDELITY} | row for row in model_rows(MODELS[of["model"]], of["board"], FIDELITY)],
        )
