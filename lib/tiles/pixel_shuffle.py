"""Projection and depth to space, on frames [N, C].

Hazard: the decoder's `view -> permute -> view` ends in a dimension of 2, which is stored as 32: 16 times the bytes,
4.83 GB for one tensor of a [1, 12, 3, 32, 32] clip, 148 GB at 84 frames of 480 x 848.
Upstream: tt-xla#4252, tt-mlir#7729, tt-mlir#8568 (a compiler option, off by default).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.tiles.row_major import clamped


def channels_last(parameter: Tensor, parts: int) -> Tensor:
    """Reorder a projection's outputs from (C, st, sh, sw) to (st, sh, sw, C), parts = st * sh * sw."""
    return parameter.unflatten(0, (-1, parts)).transpose(0, 1).flatten(0, 1).contiguous()


class PixelShuffle(nn.Module):
    """The end of a `MochiUpBlock3D`: [H * W, Cin] -> st frames [H * sh * W * sw, C]."""

    def __init__(self, proj: nn.Linear, expansion: tuple[int, int, int], rewrites):
        super().__init__()
        self.expansion, self.rewrites = expansion, rewrites
        st, sh, sw = expansion
        order = (lambda p: channels_last(p.detach(), st * sh * sw)) if rewrites.pixel_shuffle else torch.clone
        self.weight = nn.Parameter(order(proj.weight), requires_grad=False)
        self.bias = nn.Parameter(order(proj.bias), requires_grad=False)

    def forward(self, frames: list[Tensor], size: tuple[int, int]) -> tuple[list[Tensor], tuple[int, int]]:
        (st, sh, sw), (h, w) = self.expansion, size
        outs = []
        for x_nc in frames:
            if self.rewrites.pixel_shuffle:
                for weight, bias in zip(self.weight.chunk(st), self.bias.chunk(st)):
                    outs.append(self.shuffle(F.linear(x_nc, weight, bias), size))
            else:
                y = F.linear(x_nc, self.weight, self.bias).t().reshape(-1, st, sh, sw, h, w)
                outs += y.permute(1, 0, 4, 2, 5, 3).reshape(st, -1, h * sh * w * sw).transpose(1, 2).unbind()
        return outs, (h * sh, w * sw)

    def shuffle(self, x_nk: Tensor, size: tuple[int, int]) -> Tensor:
        """[(h, w), (sh, sw, C)] -> [(h, sh, w, sw), C]: cut into rows of C, and gather those in their new order."""
        (_, sh, sw), (h, w) = self.expansion, size
        h, sh, w, sw = (clamped(0, n, n - 1, x_nk.device) for n in (h, sh, w, sw))
        row = h.view(-1, 1, 1, 1) * len(w) + w.view(1, 1, -1, 1)
        part = sh.view(1, -1, 1, 1) * len(sw) + sw.view(1, 1, 1, -1)
        rows = x_nk.reshape(-1, x_nk.shape[1] // (len(sh) * len(sw)))
        return rows.index_select(0, (row * (len(sh) * len(sw)) + part).reshape(-1))
