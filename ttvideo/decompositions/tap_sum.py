"""Sum: a Conv3d is the sum, over its temporal taps, of Conv2d on shifted frames.

In bf16 every tap's result and every addition is rounded: 2*kt - 1 roundings where a Conv3d has one.
A kernel flat in time, such as (1,3,3), has one tap: a single Conv2d, no addition.

Where the padding repeats a frame ("replicate"), a tap is applied to it once and its result repeated: a causal
3×3×3 on 3 frames applies 6 taps where Conv3d applies 9.
"""

from functools import reduce
from operator import iadd  # a tap's result is nobody else's, and fresh memory is slow on the host

import torch
from torch import nn

from ttvideo.decompositions.decomposition import Decomposition, FrameConv
from ttvideo.decompositions.form import Form
from ttvideo.decompositions.padding import pad


def taps(weight: torch.Tensor) -> list[torch.Tensor]:
    """[O, I, kt, kh, kw] -> kt pieces of [O, I, kh, kw]."""
    return list(weight.unbind(2))


class TapSum(Decomposition):
    name = "sum"

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, form: Form):
        super().__init__(form)
        pieces = taps(weight)
        self.taps = nn.ModuleList(
            FrameConv(piece, bias if i == 0 else None, form) for i, piece in enumerate(pieces)
        )

    def frames(self, x, count):
        if self.form.repeats_frames:
            frames, batch = self.padded_in_space(x), x.shape[0]
            return reduce(iadd, (self.on_real_frames(i, frames, count, batch) for i in range(len(self.taps))))
        return reduce(iadd, (conv(tap) for conv, tap in zip(self.taps, self.taps_of(x, count), strict=True)))

    def kernel(self):
        return torch.stack([tap.kernel() for tap in self.taps], 2)

    def on_real_frames(self, tap: int, frames: torch.Tensor, count: int, batch: int) -> torch.Tensor:
        """One tap's part of `count` output frames: applied to the frames [T*B, H, W, C] that it meets, each
        once."""
        first = tap * self.form.dilation[0] - self.form.padding[0][0]
        last, end = first + count - 1, frames.shape[0] // batch - 1
        low, high = (min(max(i, 0), end) for i in (first, last))
        result = self.taps[tap](frames.narrow(0, low * batch, (high - low + 1) * batch))
        before = min(max(low - first, 0), count - 1)
        return pad(result, 0, before, count - 1 - before - (high - low), "replicate", block=batch)
