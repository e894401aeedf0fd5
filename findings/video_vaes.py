"""What does each family's decoder cost at its pipeline's default size, on both boards, stock and for tiles?

    python -m findings video_vaes [--lane compile]

Random weights in bf16, the published architecture. "stock" is diffusers' autoencoder on the whole clip, as
the pipeline gives it, without tiling; "first" and "steady" are the programs of a stream, "last" the one that
ends a clip whose frames come late; a clip that is decoded whole, and an image, has a first step only. A
stream's are compiled for the board and executed op by op on TT-NN's
mocked one, which --lane compile leaves out; stock is compiled only.
"""

from itertools import groupby

import torch
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.decoders.families import for_tiles
from ttvideo.media.video_models import ALL, FURTHER, IMAGES, MODELS, VideoModel, random_autoencoder
from ttvideo.probing.probe import probe

TIMEOUT_SECONDS = 3600
LATE = ("HunyuanVideo", "LTX-Video", "LTX-2")  # whose frames come late
AT_ONCE = ("Stable Video Diffusion", "Allegro", *IMAGES)
MADE_WITH = ("ttnn",)
KEYS = [
    ("rows", {"model": model, "board": board, "case": case})
    for model in (*MODELS, *FURTHER, *IMAGES)
    for case in ("stock", "first", "steady", "last")
    for board in ("n150", "p150")
    if (case != "last" or model in LATE) and (case in ("stock", "first") or model not in AT_ONCE)
]


def case(
    name: str, model: VideoModel, vae: nn.Module, decoder: nn.Module
) -> tuple[nn.Module, torch.Tensor, dict]:
    """A module, its input and its keywords. Raises `Refused` for a last step where it is the steady one."""
    latents = model.latents
    z = torch.zeros(latents, dtype=torch.bfloat16)
    if name == "stock":
        return model.stock(vae, z)
    steps = decoder.steps(latents[2])
    if name == "first":
        return decoder, z[:, :, : steps[0]], {"ends": len(steps) == 1}
    late = "late" in decoder.streaming
    if name == "last" and not late:
        raise Refused("case", "last", "a decoder whose frames come late")
    size = steps[-1] if name == "last" else steps[1]
    # A state that grows is largest before the last step; one of a decoder that is late is whole in a long
    # clip.
    seen = latents[2] - size if name == "last" or not late else None
    shapes = decoder.state_shapes(1, *latents[3:], latents=seen)
    # Views of one zero: a state of gigabytes would lie in three processes at once.
    state = {key: torch.zeros((), dtype=torch.bfloat16).expand(shape) for key, shape in shapes.items()}
    return decoder, z[:, :, :size], {"state": state, "ends": name == "last"}


def measure(name: str, model: VideoModel, target: str, vae: nn.Module, decoder: nn.Module) -> dict:
    module, z, keywords = case(name, model, vae, decoder)
    verdict = probe(module, (z,), target, name=f"{model.name}, {name}", timeout=TIMEOUT_SECONDS, **keywords)
    row = {"latents": list(model.latents), "streaming": decoder.streaming}
    return row | {"latent_frames": z.shape[2] if z.dim() == 5 else len(z)} | verdict.row()


def make(keys, lane: str = "ttnn"):
    for name, of in groupby(keys, lambda key: key[-1]["model"]):
        vae = random_autoencoder(ALL[name]).bfloat16().requires_grad_(False)
        vae.encoder = None
        decoder = for_tiles(ALL[name].decoder(vae))
        for key in of:
            _, board, step = key[-1].values()
            on = "compile" if step == "stock" else lane
            yield key, {"lane": on} | measure(step, ALL[name], f"{board}-{on}", vae, decoder)
