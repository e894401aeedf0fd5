"""Mochi's decoder for tiles with one of its rewrites off, to see what it buys."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.decoders.causal import CausalConv
from ttvideo.decoders.group_norm import group_norm_silu_stock
from ttvideo.decoders.mochi import Residual, TileDecoder
from ttvideo.decoders.mochi_layout import Shuffle, mochi_layout
from ttvideo.decoders.packed import packed_weight
from ttvideo.decoders.pixel_shuffle import PixelShuffle
from ttvideo.decoders.rows import keep_row_major, nearest

REWRITES = ["pairs", "weights", "padding", "row_major", "group_norm", "pixel_shuffle"]


class WeightsInTheGraph(CausalConv):
    """Reorders `whole`, the Conv3d's weight, whenever it runs."""

    def output(self, inputs: list[Tensor], size: tuple[int, int]) -> Tensor:
        pieces = packed_weight(self.whole, self.packed).chunk(self.kept + 1, dim=1)
        biases = [None] * self.kept + [self.bias]
        parts = [self.conv2d(*read, size) for read in zip(inputs, pieces, biases)]
        return sum(parts[1:], parts[0]).flatten(0, 2)

    def conv2d(self, x_11nc: Tensor, weight: Tensor, bias: Tensor | None, size: tuple[int, int]) -> Tensor:
        h, w = (n + 2 * edge for n, edge in zip(size, self.edges))
        out = F.conv2d(x_11nc.reshape(1, h, w, -1).permute(0, 3, 1, 2), weight.contiguous(), bias)
        return out.permute(0, 2, 3, 1).reshape(1, 1, size[0] * size[1], -1)


class PaddedByTorch(CausalConv):
    def surrounded(self, x_nc: Tensor, memory, by: int = 1) -> Tensor:
        above, beside = self.edges
        x_chw = x_nc.t().reshape(-1, *memory.at(self.scale))
        padded = F.pad(x_chw, (beside, beside, above, above), mode="replicate")
        return keep_row_major(padded.flatten(1).t()[None, None])


class ThroughTiles(CausalConv):
    def surrounded(self, x_nc: Tensor, memory, by: int = 1) -> Tensor:
        return nearest(x_nc, memory.at(self.scale), by, self.edges)[None, None]

    def repeated(self, first: Tensor) -> Tensor:
        return torch.cat([first[..., : self.channels // self.packed]] * self.packed, -1)


class NormedByTorch(Residual):
    def normed(self, frames: list[Tensor], norm: nn.GroupNorm) -> list[Tensor]:
        return group_norm_silu_stock(frames, norm)


class ShuffledByTorch(PixelShuffle):
    """As the decoder writes it, view, permute, view; `proj` is its own."""

    def gathered(self, frames: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
        (h, w), by, outs = size, self.by, []
        given = frames[0].shape[1] // self.proj.in_features
        packed = len(frames) * given * self.times // self.outputs
        for x_nc in (part for frame in frames for part in frame.chunk(given, dim=1)):
            y = self.proj(x_nc).t().reshape(-1, self.times, by, by, h, w)
            outs += (
                y.permute(1, 0, 4, 2, 5, 3).reshape(self.times, -1, h * by * w * by).transpose(1, 2).unbind()
            )
        return [torch.cat(outs[i : i + packed], dim=1) for i in range(0, len(outs), packed)]


def without(rewrite: str, mochi: nn.Module) -> TileDecoder:
    """The decoder for tiles with this rewrite off, if it is one: the parts that have it are made to do
    without."""
    decoder = TileDecoder(mochi, packed_sizes=0 if rewrite == "pairs" else 2)
    kinds = {"weights": WeightsInTheGraph, "padding": PaddedByTorch, "row_major": ThroughTiles}
    kinds |= {"group_norm": NormedByTorch, "pixel_shuffle": ShuffledByTorch}
    kind = kinds.get(rewrite)
    shuffles = [part for part in mochi_layout(mochi) if isinstance(part, Shuffle)]
    for module in decoder.modules() if kind else ():
        if type(module) is not kind.__base__:
            continue
        module.__class__ = kind
        if kind is WeightsInTheGraph:
            conv = mochi.get_submodule(module.name).conv
            module.whole, module.bias = (
                nn.Parameter(conv.weight),
                nn.Parameter(conv.bias.repeat(module.packed)),
            )
            del module.taps
        elif kind is ShuffledByTorch:
            shuffle = shuffles.pop(0)
            module.proj, module.times = copy.deepcopy(shuffle.proj), shuffle.times
            del module.weight, module.bias
    return decoder.requires_grad_(False)
