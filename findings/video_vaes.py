"""What does each family's decoder cost at its pipeline's default size, on both boards, stock and for tiles?

    python -m findings video_vaes [--lane compile]

Random weights in bf16, the published architecture. "stock" is diffusers' autoencoder on the whole clip, as
the pipeline gives it, without tiling; "first" and "steady" are the programs of a stream, "last" the one that
ends a clip whose frames come late. A stream's are compiled for the board and executed op by op on TT-NN's
mocked one, which --lane compile leaves out; stock is compiled only.
"""

from itertools import groupby

import torch
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.decoders.families import for_tiles
from ttvideo.media.video_models import MODELS, VideoModel, random_autoencoder
from ttvideo.probing.probe import probe

TIMEOUT_SECONDS = 3600
LATE = ("HunyuanVideo", "LTX-Video", "LTX-2")  # whose frames come late
MADE_WITH = ("ttnn",)
KEYS = [
    ("rows", {"model": model, "board": board, "case": case})
    for model in MODELS
    for case in ("stock", "first", "steady", "last")
    for board in ("n150", "p150")
    if case != "last" or model in LATE
]


class Step(nn.Module):
    """A step of a streaming decoder as a function of tensors alone: latents, then the state's values in their order."""

    def __init__(self, decoder: nn.Module, names=(), ends: bool = False):
        super().__init__()
        self.decoder, self.names, self.ends = decoder, list(names), ends

    def forward(self, z_bcthw, *state):
        return self.decoder(z_bcthw, dict(zip(self.names, state, strict=True)) or None, ends=self.ends)


class Whole(nn.Module):
    """The stock autoencoder's decoder, on a whole clip."""

    def __init__(self, vae: nn.Module):
        super().__init__()
        self.vae = vae

    def forward(self, z_bcthw):
        return self.vae.decode(z_bcthw, return_dict=False)[0]


def case(name: str, vae: nn.Module, decoder: nn.Module, latents) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """A module and its inputs. Raises `Refused` for a last step where none differs from the steady one."""
    z = torch.zeros(latents, dtype=torch.bfloat16)
    if name == "stock":
        return Whole(vae), (z,)
    steps = decoder.steps(latents[2])
    if name == "first":
        return Step(decoder), (z[:, :, : steps[0]],)
    late = "late" in decoder.streaming
    if name == "last" and not late:
        raise Refused("case", "last", "a decoder whose frames come late")
    size = steps[-1] if name == "last" else steps[1]
    # A state that grows is largest before the last step; one of a decoder that is late is whole in a long clip.
    seen = latents[2] - size if name == "last" or not late else None
    shapes = decoder.state_shapes(1, *latents[3:], latents=seen)
    # Views of one zero: a state of gigabytes would lie in three processes at once.
    state = (torch.zeros((), dtype=torch.bfloat16).expand(shape) for shape in shapes.values())
    return Step(decoder, shapes, name == "last"), (z[:, :, :size], *state)


def measure(name: str, model: VideoModel, target: str, vae: nn.Module, decoder: nn.Module) -> dict:
    module, inputs = case(name, vae, decoder, model.latents)
    verdict = probe(module, inputs, target, name=f"{model.name}, {name}", timeout=TIMEOUT_SECONDS)
    row = {"latents": list(model.latents), "streaming": decoder.streaming}
    return row | {"latent_frames": inputs[0].shape[2]} | verdict.row()


def make(keys, lane: str = "ttnn"):
    for name, of in groupby(keys, lambda key: key[-1]["model"]):
        vae = random_autoencoder(MODELS[name]).bfloat16().requires_grad_(False)
        vae.encoder = None
        decoder = for_tiles(vae)
        for key in of:
            _, board, step = key[-1].values()
            on = "compile" if step == "stock" else lane
            yield key, {"lane": on} | measure(step, MODELS[name], f"{board}-{on}", vae, decoder)
