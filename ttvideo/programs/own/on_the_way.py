"""A clip that an op makes on its way instead of reading it, and may give as its last result: the sum of two
clips, its first operand and its last, or with `expansion` what `depth_to_space` makes of one."""

import torch

from ttvideo.programs.evaluate.values import rounded, wide
from ttvideo.programs.own import depth_to_space
from ttvideo.programs.program import Op, Value


def taken(writer, x: Value) -> tuple[list[Value], dict, list[Value]]:
    """For x, or what it is made of: the operands, the attributes, and what is given."""
    made = writer.taken(x)
    if made is None:
        return [x], {}, []
    return [*made.operands], made.attributes if made.name == depth_to_space.NAME else {}, [x]


def made(op: Op, x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
    """A sum as `ttnn.add` stores it."""
    if "expansion" in op.attributes:
        return depth_to_space.rule(op, x)
    return rounded(wide(x) + wide(*rest), x.dtype) if rest else x
