"""Projection and depth to space, on frames [N, C].

Hazard: the decoder's `view -> permute -> view` ends in a dimension of 2, which is stored as 32: 16 times the bytes,
4.83 GB for one tensor of a [1, 12, 3, 32, 32] clip, 148 GB at 84 frames of 480 x 848.
Upstream: tt-xla#4252, tt-mlir#7729, tt-mlir#8568 (a compiler option, off by default).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused
from ttvideo.decoders.abreast import pointwise_weight
from ttvideo.decoders.row_major import clamped


def rows_in_order(parameter: Tensor, expansion: tuple[int, int, int], joined: int, abreast: int) -> Tensor:
    """Reorder a projection's outputs from (joined, C, st, sh, sw) to (joined * st / abreast, sh, sw, abreast, C)."""
    parameter = parameter.unflatten(0, (joined, -1, *expansion)).movedim(1, 4).flatten(0, 1)
    return parameter.unflatten(0, (-1, abreast)).movedim(1, 3).flatten(0, 4).contiguous()


class PixelShuffle(nn.Module):
    """The end of a `MochiUpBlock3D`: frames [H * W, given_abreast * Cin] -> st times as many, [H * sh * W * sw, abreast * C].

    Where one tensor gives fewer frames than should stand abreast, so many are joined first. Raises `Refused` where
    they can't be divided up.
    """

    def __init__(
        self, proj: nn.Linear, expansion: tuple[int, int, int], rewrites, abreast: int = 1, given_abreast: int = 1
    ):
        super().__init__()
        self.expansion, self.rewrites, self.abreast, self.given_abreast = expansion, rewrites, abreast, given_abreast
        self.joined = max(given_abreast, abreast // expansion[0])
        self.outputs, rest = divmod(self.joined * expansion[0], abreast)
        if rest:
            raise Refused("frames abreast", abreast, f"a divisor or a multiple of {expansion[0]}")
        weight, bias = proj.weight.detach(), proj.bias.detach()
        if rewrites.pixel_shuffle:
            weight = rows_in_order(pointwise_weight(weight, self.joined), expansion, self.joined, abreast)
            bias = rows_in_order(bias.repeat(self.joined), expansion, self.joined, abreast)
        self.weight = nn.Parameter(weight.clone(), requires_grad=False)
        self.bias = nn.Parameter(bias.clone(), requires_grad=False)

    def forward(self, frames: list[Tensor], size: tuple[int, int]) -> tuple[list[Tensor], tuple[int, int]]:
        (_, sh, sw), (h, w) = self.expansion, size
        shuffle = self.gathered if self.rewrites.pixel_shuffle else self.permuted
        each = self.joined // self.given_abreast
        groups = [frames[i : i + each] for i in range(0, len(frames), each)]
        return [out for group in groups for out in shuffle(group, size)], (h * sh, w * sw)

    def gathered(self, frames: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """One projection, [(h, w), (output, sh, sw, C)], cut into rows of C; each output gathers its own in order."""
        (_, sh, sw), (h, w) = self.expansion, size
        rows = F.linear(torch.cat(frames, dim=1), self.weight, self.bias)
        rows = rows.reshape(-1, rows.shape[1] // (self.outputs * sh * sw))
        h, sh, w, sw = (clamped(0, n, n - 1, rows.device) for n in (h, sh, w, sw))
        pixel = h.view(-1, 1, 1, 1) * len(w) + w.view(1, 1, -1, 1)
        part = sh.view(1, -1, 1, 1) * len(sw) + sw.view(1, 1, 1, -1)
        parts = len(sh) * len(sw)
        first = (pixel * (self.outputs * parts) + part).reshape(-1)
        return [rows.index_select(0, first + output * parts) for output in range(self.outputs)]

    def permuted(self, frames: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """As the decoder writes it."""
        (st, sh, sw), (h, w) = self.expansion, size
        outs = []
        for x_nc in (part for frame in frames for part in frame.chunk(self.given_abreast, dim=1)):
            y = F.linear(x_nc, self.weight, self.bias).t().reshape(-1, st, sh, sw, h, w)
            outs += y.permute(1, 0, 4, 2, 5, 3).reshape(st, -1, h * sh * w * sw).transpose(1, 2).unbind()
        return [torch.cat(outs[i : i + self.abreast], dim=1) for i in range(0, len(outs), self.abreast)]
