"""What does each family's decoder cost at its pipeline's default size: stock, for tiles, in TT-NN's own ops?

    python -m findings video_vaes [--lane compile]

Random weights in bf16, the published architecture, both boards. "stock" is diffusers' autoencoder on the
whole clip, as the pipeline gives it, without tiling; "first" and "steady" are the programs of a stream for
tiles, "last" the one that ends a clip whose frames come late; a clip that is decoded whole, and an image, has
a first step only. They are compiled for the board and executed op by op on TT-NN's mocked one, which --lane
compile leaves out. "native" is the steady step, or the only one, in TT-NN's own ops, executed likewise;
"compiled" the same step for tiles, compiled but not executed, as stock is, "written" the native one as its
program says: minutes, not the hours that kernels take to build. "executed" is an image's stock, likewise.
"""

import functools
from itertools import groupby

import diffusers
import torch
from torch import nn

from findings.inputs import place_of
from findings.unused import NATIVE, ON_TTNN, other_families
from ttvideo.basics.errors import Refused
from ttvideo.decoders.families import for_tiles
from ttvideo.decoders.native import FAMILIES, NativeDecoder, native
from ttvideo.media.video_models import ALL, FURTHER, IMAGES, MODELS, VideoModel, random_autoencoder
from ttvideo.probing.probe import probe
from ttvideo.programs.cost import cost, first_run_on_ttnn
from ttvideo.programs.seconds import expected_program

TIMEOUT_SECONDS = 3600
LATE = ("HunyuanVideo", "LTX-Video", "LTX-2")  # whose frames come late
AT_ONCE = ("Stable Video Diffusion", "Allegro", *IMAGES)
COMPILED = ("stock", "compiled")  # no more than that
IN_OPS = {known.__name__ for known in FAMILIES}
MADE_WITH = ("ttnn",)


def cases(model: str) -> list[str]:
    stream = ["first"] if model in AT_ONCE else ["first", "steady"] + ["last"] * (model in LATE)
    run = ["executed"] * (model in IMAGES)
    return [*COMPILED, *stream, *run, *(["written", "native"] if ALL[model].autoencoder in IN_OPS else [])]


KEYS = [
    ("rows", {"model": model, "board": board, "case": case})
    for model in (*MODELS, *FURTHER, *IMAGES)
    for case in cases(model)
    for board in ("n150", "p150")
]


def unused(key) -> set[str]:
    model, _, name = key[-1].values()
    others = other_families(ALL[model].autoencoder) if not ALL[model].part else set()
    if name in (*COMPILED, "written"):
        others = others | ON_TTNN
    if name == "written":
        return others
    return others | {place_of(written)} | (NATIVE if name != "native" else set())


def case(
    name: str, model: VideoModel, vae: nn.Module, decoder: nn.Module
) -> tuple[nn.Module, torch.Tensor, dict]:
    """A module, its input and its keywords. Raises `Refused` for a last step where it is the steady one."""
    latents = model.latents
    z = torch.zeros(latents, dtype=torch.bfloat16)
    if name in ("stock", "executed"):
        return model.stock(vae, z)
    steps = decoder.steps(latents[2])
    if name == "first" or name != "last" and len(steps) == 1:
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


def written(model: VideoModel, board: str, frames_per_step: int | None = None) -> dict:
    """A row of the step in TT-NN's own ops, by its program: its peak where a state stays that is given, and
    in a stream, which gives up what is used up."""
    with torch.device("meta"):
        decoder = NativeDecoder(model.decoder(getattr(diffusers, model.autoencoder)(**model.config)))
    count, steps = model.latents[2], decoder.steps(model.latents[2], frames_per_step)
    begins, latents = len(steps) == 1, steps[0] if len(steps) == 1 else steps[1]
    seen = count - latents if decoder.streaming == "state grows" else None
    program = decoder.step((latents, *model.latents[3:]), begins, board, seen, begins).program
    found = cost(program)
    row = {
        "lane": "written",
        "latents": list(model.latents),
        "streaming": decoder.streaming,
        "status": "pass",
    }
    row |= {"latent_frames": latents} | found.record() | {"bytes_by_op": found.bytes_by_kind()}
    row |= {"weight_bytes": found.weight_bytes, "expected": expected_program(program).record()}
    return row | {"stream_peak_bytes": first_run_on_ttnn(program, inputs_stay=False)}


def make(keys, lane: str = "ttnn"):
    keys = list(keys)
    for key in keys:
        model, board, case = key[-1].values()
        if case == "written":
            yield key, written(ALL[model], board)
    executed = (key for key in keys if key[-1]["case"] != "written")
    for name, of in groupby(executed, lambda key: key[-1]["model"]):
        vae = random_autoencoder(ALL[name]).bfloat16().requires_grad_(False)
        vae.encoder = None
        made = functools.cache(lambda write, model=ALL[name].decoder(vae): write(model))
        for key in of:
            _, board, step = key[-1].values()
            on = "compile" if step in COMPILED else lane
            decoder = made(native if step == "native" else for_tiles)
            yield key, {"lane": on} | measure(step, ALL[name], f"{board}-{on}", vae, decoder)
