"""Unrolled in time: where the temporal stride equals the kernel, every frame is met once.

Then kt neighbouring frames fold into channels and one Conv2d does the rest: patch embeddings, and the
(t,s,s) convolutions that lead Mochi's encoder down. The fold moves whole planes, [H, W] staying last, and
with the tap faster than the channel it needs no care for groups and only a new shape for the weight.
"""

import torch

from ttvideo.decompositions.decomposition import Decomposition, FrameConv
from ttvideo.decompositions.padding import pad


def fold(weight: torch.Tensor) -> torch.Tensor:
    """[O, I, kt, kh, kw] -> [O, I*kt, kh, kw], the tap faster than the channel."""
    return weight.flatten(1, 2)


class Unrolled(Decomposition):
    name = "unrolled"

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, form):
        super().__init__(form)
        self.conv = FrameConv(fold(weight), bias, form)

    @classmethod
    def why_not(cls, form):
        if form.kernel[0] == 1 or form.kernel[0] != form.stride[0] or form.dilation[0] != 1:
            return "a temporal stride equal to a temporal kernel over 1, undilated"

    def frames(self, x, count):
        kt = self.form.kernel[0]
        for dim in (4, 3, 2):
            x = pad(x, dim, *self.form.explicit_padding[dim - 2], self.form.modes[dim - 2])
        x = x.narrow(2, 0, count * kt).unflatten(2, (count, kt))
        x = x.permute(2, 0, 1, 3, 4, 5).flatten(2, 3).flatten(0, 1)  # [count*B, C*kt, H, W]
        return self.conv(x.permute(0, 2, 3, 1))

    def kernel(self):
        return self.conv.kernel().unflatten(1, (-1, self.form.kernel[0]))
