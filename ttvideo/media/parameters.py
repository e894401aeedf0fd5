"""What a decoding is asked: of each parameter what it may be, what it says, and the command's default.

The command line and the notebooks have them from here; a notebook's first cell states its own defaults.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ttvideo.basics.errors import Refused
from ttvideo.media.latents import AUTO, DTYPES, FORMS, HOST_DTYPES
from ttvideo.media.video_models import MODELS, TRAINED
from ttvideo.targets.target import TARGET_NAMES, resolve


@dataclass(frozen=True)
class Parameter:
    """`check(name, value)` raises `Refused`. A default of None stands for what the rest says."""

    check: Callable[[str, object], None]
    says: str
    default: str | int | None
    type: type = str


def positive(name: str, value) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Refused(name, repr(value), "a whole number of at least 1")


def not_negative(name: str, value) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Refused(name, repr(value), "a whole number of at least 0")


def number(name: str, value) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise Refused(name, repr(value), "a number of at least 0")


def text(name: str, value) -> None:
    if not isinstance(value, str) or not value:
        raise Refused(name, repr(value), "a text that isn't empty")


def any_text(name: str, value) -> None:
    if not isinstance(value, str):
        raise Refused(name, repr(value), "a text")


def flag(name: str, value) -> None:
    if not isinstance(value, bool):
        raise Refused(name, repr(value), "True or False")


def one_of(*choices: str):
    def check(name: str, value) -> None:
        if value not in choices:
            raise Refused(name, repr(value), f"one of {', '.join(choices)}")

    return check


def target_name(name: str, value) -> None:
    if not isinstance(value, str):
        raise Refused(name, repr(value), f"one of {', '.join(TARGET_NAMES)}")
    resolve(value)


FILES = "a file (.pt .safetensors .npy .latent; .mp4 .gif to encode), clip or random"
NAMES = f"demo, {', '.join(TRAINED)}, random, small, a folder, a .safetensors file, a hub id"
TARGETS = f"{', '.join(TARGET_NAMES)}; @hifi3 after a name with ttsim or ttnn: its multiplier's passes"
NATIVE, TILES = "native", "tiles"
STRATEGIES = (AUTO, NATIVE, TILES)
PARAMETERS = {
    "latents": Parameter(text, FILES, None),
    "latents_are": Parameter(
        one_of(*FORMS),
        f"{', '.join(FORMS)}; auto: as the family's pipeline gives them, or ComfyUI saves",
        AUTO,
    ),
    "dropped_latents": Parameter(
        not_negative,
        "latent frames of a file to leave out at its begin: CogVideoX 1.5's pipeline adds one; VACE's and "
        "Animate's, of Wan, one for each image of reference",
        None,
        int,
    ),
    "timestep": Parameter(
        number,
        "of an LTX decoder that is conditioned on one: its decode_timestep; the noise that its pipeline then "
        "adds to latents isn't added",
        None,
        float,
    ),
    "model": Parameter(text, f"{NAMES}; for random weights also {', '.join(MODELS)}", "demo"),
    "variant": Parameter(any_text, "of a folder's weights, such as bf16", ""),
    "target": Parameter(target_name, TARGETS, "auto"),
    "strategy": Parameter(
        one_of(*STRATEGIES),
        "native: in TT-NN's own ops; tiles: compiled; auto: native where TT-NN executes programs and it can",
        AUTO,
    ),
    "dtype": Parameter(one_of(*DTYPES), f"of weights and latents there: {', '.join(DTYPES)}", "bfloat16"),
    "fps": Parameter(positive, "of the video", 12, int),
    "keep": Parameter(any_text, "a folder: an interrupted run goes on from it", ""),
    "frames_per_step": Parameter(positive, "latent frames a step; None: as its family does", None, int),
    "host": Parameter(one_of("cpu", "cuda"), "where the host decodes: cpu, cuda", "cpu"),
    "host_dtype": Parameter(
        one_of(AUTO, *HOST_DTYPES), f"auto, {', '.join(HOST_DTYPES)}; auto: float64 where that is quick", AUTO
    ),
    "host_frames": Parameter(not_negative, "latent frames decoded on the host; 0: by size", 0, int),
    "evaluated_frames": Parameter(
        not_negative, "latent frames to evaluate programs for, and compare; 0: none, or in 03 by size", 0, int
    ),
    "seed": Parameter(not_negative, "of random weights and latents", 0, int),
    "latent_frames": Parameter(positive, "of clip, random, a video file and packed latents", 4, int),
    "latent_height": Parameter(positive, "of clip, random, a video file and packed latents", 8, int),
    "latent_width": Parameter(positive, "of clip, random, a video file and packed latents", 8, int),
}
