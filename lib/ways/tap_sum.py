"""Sum: a Conv3d is the sum, over its temporal taps, of Conv2d on shifted frames.

In bf16 every tap's result and every addition is rounded: 2*kt - 1 roundings where a Conv3d has one.
A kernel flat in time, such as (1,3,3), has one tap: a single Conv2d, no addition.
"""

from functools import reduce
from operator import add

import torch
from torch import nn

from lib.ways.form import Form
from lib.ways.way import FrameConv, Way


def taps(weight: torch.Tensor) -> list[torch.Tensor]:
    """[O, I, kt, kh, kw] -> kt pieces of [O, I, kh, kw]."""
    return list(weight.unbind(2))


class TapSum(Way):
    name = "sum"

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, form: Form):
        super().__init__(form)
        pieces = taps(weight)
        self.taps = nn.ModuleList(FrameConv(piece, bias if i == 0 else None, form) for i, piece in enumerate(pieces))

    def frames(self, x, count):
        return reduce(add, (conv(tap) for conv, tap in zip(self.taps, self.taps_of(x, count), strict=True)))
