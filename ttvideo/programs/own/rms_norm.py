"""x / sqrt(mean(x * x) + epsilon) * gain + shift of each pixel's channels, and SiLU of it, behind its past;
where it is `centred`, x without its mean.

The mean is of so many `channels`; what is more are zeros, to fill up tiles. `affine` [2, C] has the gain and
the shift. `before` says what stands before the clip: "given", two frames; where a clip begins "zeros" or its
"first frame" twice; or "nothing", and then nothing is kept for the next step either. For a convolution that
looks ahead, the first frame stands there once, `lead` 1, and where the clip ends its last frame again after
it, `tail` 1. Each frame has a pixel more on each side, reflected, where it is `reflected`; so has the past.
x may be made on the way (see `on_the_way`).
"""

import math

import torch
import torch.nn.functional as F

from ttvideo.programs.evaluate.table import FOLLOWED, op
from ttvideo.programs.evaluate.values import rounded, wide
from ttvideo.programs.own import depth_to_space
from ttvideo.programs.own.on_the_way import made, taken
from ttvideo.programs.own.sizes import CHUNK, PAST
from ttvideo.programs.program import Op, Value
from ttvideo.targets.boards import Chip

NAME = "ttnn.generic_op.rms_norm"
FUNCTIONS = "the vector unit's sigmoid and root are polynomials, to a step in bf16"


def write(
    writer, x: Value, affine: Value, past: Value | None, before: str, beyond: dict, **how
) -> list[Value]:
    """The clip after its past, [1, 2 + T, H, W, C], and what stays; before nothing, the clip alone.

    `beyond` are lead, tail and reflected; `how` has channels, epsilon, silu and centred (truth values) and
    parts, as how many items a frame is shared out.
    """
    (first, *rest), more, given = taken(writer, x)
    operands, before = [first, affine, *([past] if past else []), *rest], "given" if past else before
    results = room(x, before, beyond)
    found = writer.op(NAME, operands, *results, *given, before=before, **beyond, **how, **more)
    return found[: len(results)]


def room(x: Value, before: str, beyond: dict) -> list[tuple]:
    """What a clip after its past, and what of it stays, take."""
    _, t, h, w, c = x.type.shape
    edges = 2 * beyond.get("reflected", False)
    frame = h + edges, w + edges, c
    if before == "nothing":
        return [((1, t, *frame), "bf16")]
    frames = beyond.get("lead", PAST) + t + beyond.get("tail", 0)
    return [((1, frames, *frame), "bf16"), ((1, PAST, *frame), "bf16")]


def read_again(op: Op, chip: Chip) -> int:
    """Every core reads gain and shift as often as they fill a tile with."""
    x, affine = (value.type for value in op.operands[:2])
    frames = x.shape[1] * op.attributes.get("expansion", depth_to_space.ONCE)[0]
    cores = min(frames * op.attributes["parts"], math.prod(chip.grid_yx))
    return (cores * (CHUNK // affine.shape[1]) - 1) * affine.stored_bytes


@op(
    "generic_op.rms_norm",
    heeds="parts before lead tail reflected channels epsilon silu centred expansion",
    within=3,
    because=FUNCTIONS,
    fidelities=FOLLOWED,
)
def rule(op, x, affine, *more):
    a, comes = op.attributes, op.attributes["before"] == "given"
    past, rest = more[:comes], more[comes:]
    x = made(op, x, *rest)
    new = wide(x[0])
    mean = new.sum(-1, keepdim=True) / a["channels"] * a.get("centred", False)
    square = new.square().sum(-1, keepdim=True) / a["channels"] - mean * mean
    new = (new - mean) * torch.rsqrt(square.clamp_min(0) + a["epsilon"])
    new = new * wide(affine[0]) + wide(affine[1])
    new = rounded(F.silu(new) if a["silu"] else new, x.dtype)
    return (*after(a, new, past[0][0] if past else None), x)[: len(op.results)]


def after(how: dict, new: torch.Tensor, past: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    """A clip [T, H, W, C] after its past, and what of it stays; `how` are the op's attributes."""
    before = how["before"]
    if how.get("reflected"):
        new = F.pad(new.movedim(3, 0), (1, 1, 1, 1), mode="reflect").movedim(0, 3)
    if before == "nothing":
        return (new[None],)
    begin = {"zeros": torch.zeros_like(new[:1]), "first frame": new[:1], "given": past}[before]
    begin = begin if before == "given" else begin.expand(how.get("lead", PAST), -1, -1, -1)
    clip = torch.cat([begin, new, new[-1:].expand(how.get("tail", 0), -1, -1, -1)])[None]
    return clip, clip[:, -PAST:]
