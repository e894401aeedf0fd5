"""silu(x * scale + shift) behind its past, or without SiLU: [1, T, H, W, C] -> [1, 2 + T, H, W, C].

`affine` [T * 2, C] has the scale and the shift of each frame; of all of them, [2, C]. `before` is as for
`rms_norm`. The past are the last two frames of a clip, which may have more; where nothing stays for the next
step, what the op makes is the next piece's.
"""

import torch
import torch.nn.functional as F

from ttvideo.programs.evaluate.table import FOLLOWED, op
from ttvideo.programs.evaluate.values import products, rounded, wide
from ttvideo.programs.own.rms_norm import after, room
from ttvideo.programs.own.sizes import PAST
from ttvideo.programs.program import TILE, Op, Value
from ttvideo.targets.boards import Chip

NAME = "ttnn.generic_op.norm_silu"
VECTOR = "the vector unit's sigmoid is a polynomial, to a step in bf16"


def write(
    writer, x: Value, affine: Value, past: Value | None, before: str, stays: bool = True, **how
) -> list[Value]:
    """The clip behind its past, and, where it `stays`, the last two frames of that, for the next step; before
    nothing, the clip alone.

    `how` has silu (a truth value) and parts, as how many items a frame is shared out.
    """
    before, operands = "given" if past else before, [x, affine] + ([past] if past else [])
    results = room(x, before, {})
    return writer.op(NAME, operands, *(results if stays else results[:1]), before=before, **how)


def read_again(op: Op, chip: Chip) -> int:
    """A frame's scale and shift are read for each of its parts, as often as they fill a tile with; of a past
    in front of which more stands, only that isn't."""
    x, affine, *past = (value.type for value in op.operands)
    each = x.shape[1] * 2 * affine.stored_bytes // affine.shape[0]
    unread = sum((one.shape[1] - PAST) * one.stored_bytes // one.shape[1] for one in past)
    return op.attributes["parts"] * (TILE * TILE // affine.shape[-1]) * each - affine.stored_bytes - unread


@op("generic_op.norm_silu", heeds="parts before silu", within=3, because=VECTOR, fidelities=FOLLOWED)
def rule(op, x, affine, *past):
    scale, shift = wide(affine).reshape(-1, 2, 1, 1, affine.shape[-1]).unbind(1)
    scaled = shift + products(op, scale, wide(x[0]), torch.mul)
    new = rounded(F.silu(scaled) if op.attributes["silu"] else scaled, x.dtype)
    return after(op.attributes, new, past[0][0, -PAST:] if past else None)[: len(op.results)]
