"""Causal convolutions on frames [N, C], N = H * W, whatever they do about the start of a clip.

A frame is read by each of the kt outputs that it belongs to, and kept for those of the next step. Before a clip stand
zeros (Wan), which need no arithmetic, or its first frame again (CogVideoX, HunyuanVideo, LTX). Space is padded with zeros,
by Conv2d itself; reflected (LTX-2), by a gather of rows; or with the frame's edges again (HunyuanVideo), once for all
outputs that read the frame, and kept so.
Hazards: see `ttvideo.decoders.causal_conv`, Mochi's, which keeps frames in pairs.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused
from ttvideo.decoders.memory import Memory, keys
from ttvideo.decoders.row_major import keep_row_major, reflect_rows
from ttvideo.decoders.upsample import nearest

ZEROS, FIRST = "zeros", "first frame"
REFLECT, EDGES = "reflect", "replicate"


class FrameConv(nn.Module):
    """A Conv2d on one frame: [H * W, C] -> [H * W, O]. Without spatial extent it is a Linear.

    `padding` is ZEROS or REFLECT; with EDGES the frame comes with them: [(H + kh - 1) * (W + kw - 1), C].
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, padding: str = ZEROS):
        super().__init__()
        *_, kh, kw = weight.shape
        if padding not in (ZEROS, REFLECT, EDGES):
            raise Refused("padding", padding, f"{ZEROS}, {REFLECT} or {EDGES}")
        if kh % 2 == 0 or kw % 2 == 0:
            raise Refused("kernel", f"{kh} x {kw}", "odd sizes")
        around = kh // 2, kw // 2
        self.pointwise, self.reflects = (kh, kw) == (1, 1), padding == REFLECT
        self.padding, self.wider = (around, (0, 0)) if padding == ZEROS else ((0, 0), around)
        weight = weight.detach().flatten(1) if self.pointwise else weight.detach()
        self.weight = nn.Parameter(weight.clone(memory_format=torch.contiguous_format), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)

    def forward(self, x_nc: Tensor, size: tuple[int, int]) -> Tensor:
        """Also takes [1, 1, H * W, C], as it comes from the host: what is of rank 4 there need not be reshaped."""
        if self.pointwise:
            return F.linear(x_nc.flatten(0, -2), self.weight, self.bias)
        if self.reflects:
            x_nc = keep_row_major(reflect_rows(x_nc.flatten(0, -2), size, *self.wider)[None, None])
        size = size[0] + 2 * self.wider[0], size[1] + 2 * self.wider[1]
        x_nchw = x_nc.reshape(1, *size, -1).permute(0, 3, 1, 2)
        return F.conv2d(x_nchw, self.weight, self.bias, padding=self.padding).permute(0, 2, 3, 1).flatten(0, 2)


class CausalConv(nn.Module):
    """A 3D convolution of stride 1 that looks back: a list of frames [N, C] -> as many [N, O].

    `weight` is [O, C, kt, kh, kw]; `before` says what stands before a clip, ZEROS or FIRST; `scale` is how many times
    the latents' height and width its frames have; `padding` is space's. What it keeps are the last kt - 1 frames,
    [1, 1, N, C] each; with EDGES N counts them.

    Hazard: ttnn.conv2d takes [1, 1, N, C] in rows, as which a state comes from the host. Were it kept as [N, C], the
    program would make tiles of it for the reshape, and rows again: 4 passes over each.
    """

    def __init__(
        self, name: str, scale: int, weight: Tensor, bias: Tensor | None, before: str = ZEROS, padding: str = ZEROS
    ):
        super().__init__()
        self.name, self.scale, self.before = name, scale, before
        self.kept, self.channels = weight.shape[2] - 1, weight.shape[1]
        self.edges = (weight.shape[3] // 2, weight.shape[4] // 2) if padding == EDGES else (0, 0)
        pieces = weight.unbind(2)
        self.taps = nn.ModuleList(FrameConv(p, bias if p is pieces[-1] else None, padding) for p in pieces)

    def state_shapes(self, size: tuple[int, int]) -> dict[str, tuple[int, int, int]]:
        """Name and shape, without the batch, of each entry for latents of this size."""
        at = size[0] * self.scale, size[1] * self.scale
        pixels = (at[0] + 2 * self.edges[0]) * (at[1] + 2 * self.edges[1])
        return dict.fromkeys(keys(self.name, at, self.kept), (1, pixels, self.channels))

    def forward(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        windows = self.windows([self.surrounded(frame, memory) for frame in frames], memory)
        return [self.output(window, memory.at(self.scale)) for window in windows]

    def surrounded(self, x_nc: Tensor, memory: Memory, by: int = 1) -> Tensor:
        """The frame with its edges, [1, 1, N, C], or as it is; `by` times as high and wide, in the same gather."""
        if self.edges == (0, 0) and by == 1:
            return x_nc
        height, width = memory.at(self.scale)
        return keep_row_major(nearest(x_nc, (height // by, width // by), by, self.edges)[None, None])

    def windows(self, frames: list[Tensor], memory: Memory) -> list[list[Tensor | None]]:
        """What each output reads, oldest first, of frames as `surrounded` gives them; the last ones are kept."""
        names = keys(self.name, memory.at(self.scale), self.kept)
        if memory.starts:
            past = [frames[0] if self.before == FIRST else None] * self.kept
        else:
            past = [memory.old[name] for name in names]
        seen = [*past, *frames]
        last = seen[len(seen) - self.kept :]
        memory.new |= zip(names, [as_kept(torch.zeros_like(frames[0]) if f is None else f) for f in last])
        return [seen[t : t + self.kept + 1] for t in range(len(frames))]

    def begins(self, memory: Memory) -> bool:
        """Whether no step before has given an output: then not all is there that it keeps."""
        return not memory.old or keys(self.name, memory.at(self.scale), self.kept)[0] not in memory.old

    def nothing_seen(self, like: Tensor, memory: Memory) -> dict[str, Tensor]:
        """The state of a clip whose frames so far were none of this convolution's."""
        return dict.fromkeys(keys(self.name, memory.at(self.scale), self.kept), as_kept(torch.zeros_like(like)))

    def output(self, inputs: list[Tensor | None], size: tuple[int, int]) -> Tensor:
        """One output frame; None stands for a frame of zeros."""
        parts = [tap(x, size) for tap, x in zip(self.taps, inputs, strict=True) if x is not None]
        return sum(parts[1:], parts[0])


def as_kept(x: Tensor) -> Tensor:
    """[N, C], or what is kept already -> [1, 1, N, C]."""
    return x.reshape(1, 1, *x.shape[-2:])
