"""A clip after its past, as it is: [1, T, H, W, C] -> [1, 2 + T, H, W, C], and its last two frames, for the
next step.

`before`, `lead`, `tail` and `reflected` are as for `rms_norm`.
"""

from ttvideo.programs.evaluate.table import op
from ttvideo.programs.own.rms_norm import after, room
from ttvideo.programs.own.sizes import PAST
from ttvideo.programs.program import Op, Value
from ttvideo.targets.boards import Chip

NAME = "ttnn.generic_op.after_past"


def write(writer, x: Value, past: Value | None, before: str, beyond: dict) -> list[Value]:
    """`beyond` are lead, tail and reflected."""
    before = "given" if past else before
    return writer.op(NAME, [x] + ([past] if past else []), *room(x, before, beyond), before=before, **beyond)


def read_again(op: Op, chip: Chip) -> int:
    """Each frame is read where it is written, but for zeros."""
    clip, read = op.results[0].type, sum(value.type.stored_bytes for value in op.operands)
    zeros = PAST * (op.attributes["before"] == "zeros")
    return clip.stored_bytes // clip.shape[1] * (clip.shape[1] - zeros) - read


@op("generic_op.after_past", heeds="before lead tail reflected")
def rule(op, x, *past):
    return after(op.attributes, x[0], past[0][0] if past else None)
