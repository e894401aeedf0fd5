"""x + rest behind its past, where rest [1, R, H, W, C] may be of earlier frames, too: x's first is added to
its frame `offset`.

`before`, `lead` and `tail` are as for `rms_norm`.
"""

from ttvideo.programs.evaluate.table import FOLLOWED, op
from ttvideo.programs.evaluate.values import rounded, wide
from ttvideo.programs.own.rms_norm import after, room
from ttvideo.programs.program import Op, Value
from ttvideo.targets.boards import Chip

NAME = "ttnn.generic_op.add_after_past"


def write(writer, x: Value, rest: Value, past: Value | None, before: str, beyond: dict, **how) -> list[Value]:
    """The clip after its past and what stays; `beyond` are lead and tail, `how` has offset and parts, as how
    many items a frame is shared out."""
    before, operands = "given" if past else before, [x, rest] + ([past] if past else [])
    return writer.op(NAME, operands, *room(x, before, beyond), before=before, **beyond, **how)


def read_again(op: Op, chip: Chip) -> int:
    """Less than once: of rest, what isn't added."""
    x, rest = (value.type for value in op.operands[:2])
    return x.stored_bytes - rest.stored_bytes


@op("generic_op.add_after_past", heeds="before lead tail offset parts", fidelities=FOLLOWED)
def rule(op, x, rest, *past):
    a = op.attributes
    new = rounded(wide(x[0]) + wide(rest[0, a["offset"] : a["offset"] + x.shape[1]]), x.dtype)
    return after(a, new, past[0][0] if past else None)
