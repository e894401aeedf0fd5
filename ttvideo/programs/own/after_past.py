"""A clip after its past, as it is: [1, T, H, W, C] -> [1, 2 + T, H, W, C], and its last two frames, for the
next step.

`before` is as for `rms_norm`.
"""

from ttvideo.programs.evaluate.table import op
from ttvideo.programs.own.rms_norm import after
from ttvideo.programs.own.sizes import PAST
from ttvideo.programs.program import Op, Value
from ttvideo.targets.boards import Chip

NAME = "ttnn.generic_op.after_past"


def write(writer, x: Value, past: Value | None, before: str) -> list[Value]:
    _, t, *frame = x.type.shape
    results = ((1, PAST + t, *frame), "bf16"), ((1, PAST, *frame), "bf16")
    return writer.op(NAME, [x] + ([past] if past else []), *results, before="given" if past else before)


def read_again(op: Op, chip: Chip) -> int:
    """A first frame that is its own past."""
    frame = op.operands[0].type.stored_bytes // op.operands[0].type.shape[1]
    return PAST * frame * (op.attributes["before"] == "first frame")


@op("generic_op.after_past", heeds="before")
def rule(op, x, *past):
    return after(op.attributes["before"], x[0], past[0][0] if past else None)
