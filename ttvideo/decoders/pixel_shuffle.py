"""Projection and depth to space, on frames [N, C], in time too."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused
from ttvideo.decoders.clip_decoder import Memory
from ttvideo.decoders.packed import packed_pointwise
from ttvideo.decoders.rows import shuffled


def rows_in_order(parameter: Tensor, times: int, by: int, joined: int = 1, packed: int = 1) -> Tensor:
    """Reorder a projection's outputs from (joined, C, t, h, w) to (joined * t / packed, h, w, packed, C)."""
    parameter = parameter.unflatten(0, (joined, -1, times, by, by)).movedim(1, 4).flatten(0, 1)
    return parameter.unflatten(0, (-1, packed)).movedim(1, 3).flatten(0, 4).contiguous()


class PixelShuffle(nn.Module):
    """The end of a `MochiUpBlock3D`: frames [H * W, given * C] -> `times` as many, [by H * by W, packed *
    C'].

    `given` and `packed` are how many frames stand in a tensor before and after. Where one tensor gives fewer
    than should, so many are joined first. Raises `Refused` where they can't be divided up.
    """

    def __init__(self, proj: nn.Linear, scale: int, times: int, by: int, packed: int = 1, given: int = 1):
        super().__init__()
        joined = max(given, packed // times)
        self.outputs, rest = divmod(joined * times, packed)
        if rest:
            raise Refused("packed frames", packed, f"a divisor or a multiple of {times}")
        self.scale, self.by, self.each = scale, by, joined // given
        weight, bias = packed_pointwise(proj.weight.detach(), joined), proj.bias.detach().repeat(joined)
        weight, bias = (rows_in_order(p, times, by, joined, packed) for p in (weight, bias))
        self.weight, self.bias = (nn.Parameter(p, requires_grad=False) for p in (weight, bias))

    def forward(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        groups = [frames[i : i + self.each] for i in range(0, len(frames), self.each)]
        return [out for group in groups for out in self.gathered(group, memory.at(self.scale))]

    def gathered(self, frames: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """One projection, [(h, w), (output, h, w, C)]; each output gathers its own rows of C in order."""
        rows = F.linear(torch.cat(frames, dim=1), self.weight, self.bias)
        return [shuffled(rows, size, self.by, output, self.outputs) for output in range(self.outputs)]
