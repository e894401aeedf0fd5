"""Pointwise: a 1×1×1 Conv3d is a Linear over channels. Stride picks positions before it."""

import torch

from ttvideo.decompositions.decomposition import Decomposition, FrameConv
from ttvideo.decompositions.form import Form


class Linear(Decomposition):
    name = "linear"

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, form: Form):
        super().__init__(form)
        self.linear = FrameConv(weight[:, :, 0], bias, form)

    @classmethod
    def why_not(cls, form):
        if not form.pointwise:
            return "a 1×1×1 kernel"
        if form.groups != 1:
            return "one group"

    def frames(self, x, count):
        return self.linear(self.taps_of(x, count)[0])

    def kernel(self):
        return self.linear.kernel()[:, :, None]
