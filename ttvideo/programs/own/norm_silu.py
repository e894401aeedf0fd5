"""silu(x * scale + shift) after its past, [1, 2 + T, H, W, C], and the last two frames of that, for the next
step.

The past is the two frames given or, where a clip begins, its first frame twice.
"""

import torch
import torch.nn.functional as F

from ttvideo.programs.evaluate.table import FOLLOWED, op
from ttvideo.programs.evaluate.values import products, wide
from ttvideo.programs.own.sizes import PAST
from ttvideo.programs.program import TILE, Op, Value
from ttvideo.targets.boards import Chip

NAME = "ttnn.generic_op.norm_silu"
VECTOR = "the vector unit's sigmoid is a polynomial, to a step in bf16"


def write(writer, x: Value, affine: Value, past: Value | None, parts: int, **arithmetic) -> list[Value]:
    """The clip after its past, and what stays; `affine` is what `group_affine` gives."""
    _, t, *frame = x.type.shape
    results = ((1, PAST + t, *frame), "bf16"), ((1, PAST, *frame), "bf16")
    return writer.op(NAME, [x, affine] + ([past] if past else []), *results, parts=parts, **arithmetic)


def read_again(op: Op, chip: Chip) -> int:
    """A frame's scale and shift are read for each of its parts, as often as they fill a tile with."""
    affine = op.operands[1].type
    return (op.attributes["parts"] * (TILE * TILE // affine.shape[-1]) - 1) * affine.stored_bytes


@op("generic_op.norm_silu", heeds="parts", within=3, because=VECTOR, fidelities=FOLLOWED)
def rule(op, x, affine, *past):
    scale, shift = wide(affine).reshape(-1, 2, 1, 1, affine.shape[-1]).unbind(1)
    scaled = products(op, scale, wide(x[0]), torch.mul)
    new = F.silu(shift + scaled).to(x.dtype)
    clip = torch.cat([past[0][0] if past else new[:1].expand(2, -1, -1, -1), new])
    return clip[None], clip[None, -2:]
