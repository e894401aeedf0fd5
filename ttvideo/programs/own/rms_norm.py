"""x / sqrt(mean(x * x) + epsilon) * gain + shift of each pixel's channels, and SiLU of it, behind its past.

The mean is of so many `channels`; what is more are zeros, to fill up tiles. `affine` [2, C] has the gain and
the shift. `before` says what stands before the clip: "given", two frames; where a clip begins "zeros" or its
"first frame" twice; or "nothing", and then nothing is kept for the next step either.
"""

import math

import torch
import torch.nn.functional as F

from ttvideo.programs.evaluate.table import FOLLOWED, op
from ttvideo.programs.evaluate.values import wide
from ttvideo.programs.own.sizes import CHUNK, PAST
from ttvideo.programs.program import Op, Value
from ttvideo.targets.boards import Chip

NAME = "ttnn.generic_op.rms_norm"
FUNCTIONS = "the vector unit's sigmoid and root are polynomials, to a step in bf16"


def write(writer, x: Value, affine: Value, past: Value | None, before: str, **how) -> list[Value]:
    """The clip after its past, [1, 2 + T, H, W, C], and what stays; before nothing, the clip alone.

    `how` has channels, epsilon, silu (a truth value) and parts, as how many items a frame is shared out.
    """
    _, t, *frame = x.type.shape
    kept = 0 if before == "nothing" else PAST
    results = [((1, kept + t, *frame), "bf16")] + [((1, PAST, *frame), "bf16")] * (kept > 0)
    operands = [x, affine] + ([past] if past else [])
    return writer.op(NAME, operands, *results, before="given" if past else before, **how)


def read_again(op: Op, chip: Chip) -> int:
    """Every core reads gain and shift as often as they fill a tile with."""
    x, affine = (value.type for value in op.operands[:2])
    cores = min(x.shape[1] * op.attributes["parts"], math.prod(chip.grid_yx))
    return (cores * (CHUNK // affine.shape[1]) - 1) * affine.stored_bytes


@op(
    "generic_op.rms_norm",
    heeds="parts before channels epsilon silu",
    within=3,
    because=FUNCTIONS,
    fidelities=FOLLOWED,
)
def rule(op, x, affine, *past):
    a, new = op.attributes, wide(x[0])
    new = new * torch.rsqrt(new.square().sum(-1, keepdim=True) / a["channels"] + a["epsilon"])
    new = new * wide(affine[0]) + wide(affine[1])
    new = (F.silu(new) if a["silu"] else new).to(x.dtype)
    return after(a["before"], new, past[0][0] if past else None)


def after(before: str, new: torch.Tensor, past: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    """A clip [T, H, W, C] after its past, and what of it stays."""
    if before == "nothing":
        return (new[None],)
    begin = {"zeros": torch.zeros_like(new[:1]), "first frame": new[:1], "given": past}[before]
    clip = torch.cat([begin if before == "given" else begin.expand(PAST, -1, -1, -1), new])[None]
    return clip, clip[:, -PAST:]
