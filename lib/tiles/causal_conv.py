"""Causal 3x3x3 convolution, a frame at a time: one Conv2d over three frames stacked along the channels.

Hazards, in the order met: ttnn.conv3d compiles and can't run here; a 3x3 kernel in the last two dimensions is stored as
32x32, 113 times the bytes, so weights are reordered before they reach the graph; padding and stacking whole clips
copies them. A frame is padded once, kept, and read by the three outputs that it belongs to.
Upstream: tt-xla#1662 and tt-mlir#5397 (Conv3d), tt-metal#15103 (an early decomposition, PCC 0.98).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.tiles.row_major import keep_row_major, pad_rows


def stack_taps(weight: Tensor) -> Tensor:
    """[out, in, kt, kh, kw] -> [out, kt * in, kh, kw]: Conv3d's weight for frames stacked along the channels."""
    return weight.transpose(1, 2).flatten(1, 2).contiguous()


class CausalConv(nn.Module):
    """A `CogVideoXCausalConv3d` with replicate padding, on frames [N, C] with N = H * W.

    `past` is what it keeps between steps: its last kt - 1 input frames, padded, [(H + 2) * (W + 2), C] each, oldest
    first; None before the first frame.
    """

    def __init__(self, conv: nn.Conv3d, rewrites):
        super().__init__()
        self.kernel, self.channels, self.rewrites = conv.kernel_size, conv.in_channels, rewrites
        weights = self.reordered(conv.weight.detach()) if rewrites.weights else [conv.weight.detach().clone()]
        self.weights = nn.ParameterList(nn.Parameter(w, requires_grad=False) for w in weights)
        self.bias = nn.Parameter(conv.bias.detach().clone(), requires_grad=False)

    def past_shape(self, size: tuple[int, int]) -> tuple[int, int]:
        """The shape of one frame of `past`."""
        _, kh, kw = self.kernel
        return (size[0] + kh - 1) * (size[1] + kw - 1), self.channels

    def reordered(self, weight: Tensor) -> list[Tensor]:
        """Conv3d's weight as the Conv2d weights that `convolve` asks for: one, or one a tap."""
        return [stack_taps(weight)] if self.rewrites.stacked else [w.contiguous() for w in weight.unbind(2)]

    def forward(self, frames: list[Tensor], size: tuple[int, int], past) -> tuple[list[Tensor], list[Tensor]]:
        """[N, in] a frame -> [N, out] a frame, and the new `past`."""
        kt = self.kernel[0]
        padded = [self.pad(frame, size) for frame in frames]
        padded = [*(past or padded[:1] * (kt - 1)), *padded]
        outs = [self.convolve(padded[t : t + kt], size) for t in range(len(frames))]
        return outs, padded[len(padded) - (kt - 1) :]

    def pad(self, x_nc: Tensor, size: tuple[int, int]) -> Tensor:
        _, kh, kw = self.kernel
        if self.rewrites.padding:
            return pad_rows(x_nc, size, kh // 2, kw // 2)
        x_chw = x_nc.t().reshape(-1, *size)
        return F.pad(x_chw, (kw // 2, kw // 2, kh // 2, kh // 2), mode="replicate").flatten(1).t()

    def convolve(self, taps: list[Tensor], size: tuple[int, int]) -> Tensor:
        weights = list(self.weights) if self.rewrites.weights else self.reordered(self.weights[0])
        if self.rewrites.stacked:
            taps = [torch.cat(taps, dim=1)]
        out = self.conv2d(taps[0], weights[0], self.bias, size)
        for tap, weight in zip(taps[1:], weights[1:]):
            out = out + self.conv2d(tap, weight, None, size)
        return out

    def conv2d(self, x_nc: Tensor, weight: Tensor, bias: Tensor | None, size: tuple[int, int]) -> Tensor:
        _, kh, kw = self.kernel
        n, c = x_nc.shape
        x_11nc = x_nc.reshape(1, 1, n, c)
        if self.rewrites.row_major:
            x_11nc = keep_row_major(x_11nc)
        x_nchw = x_11nc.reshape(1, size[0] + kh - 1, size[1] + kw - 1, c).permute(0, 3, 1, 2)
        return F.conv2d(x_nchw, weight, bias).permute(0, 2, 3, 1).reshape(size[0] * size[1], -1)
