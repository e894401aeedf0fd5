"""Stacked: the temporal taps side by side along channels, then one Conv2d.

The sum over taps happens inside that Conv2d, in its accumulator, so bf16 rounds once, as Conv3d does.
The price is an input kt times as wide.
"""

import torch

from ttvideo.decompositions.decomposition import Decomposition, FrameConv
from ttvideo.decompositions.form import Form


def stack(weight: torch.Tensor) -> torch.Tensor:
    """[O, I, kt, kh, kw] -> [O, kt*I, kh, kw], the tap slower than the channel."""
    return weight.transpose(1, 2).flatten(1, 2)


def beside(frames: list[torch.Tensor], groups: int) -> torch.Tensor:
    """kt tensors [N, H, W, C] -> [N, H, W, kt*C]; with groups, each group's taps stand together."""
    if groups == 1:
        return torch.cat(frames, -1) if len(frames) > 1 else frames[0]
    return torch.cat([f.unflatten(-1, (groups, -1)) for f in frames], -1).flatten(-2)


class Stacked(Decomposition):
    name = "stacked"

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, form: Form):
        super().__init__(form)
        self.conv = FrameConv(stack(weight), bias, form)

    def frames(self, x, count):
        return self.conv(beside(self.taps_of(x, count), self.form.groups))

    def kernel(self):
        return self.conv.kernel().unflatten(1, (self.form.kernel[0], -1)).transpose(1, 2)
