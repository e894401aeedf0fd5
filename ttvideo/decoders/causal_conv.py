"""Causal 3x3x3 convolution, a frame or a pair of frames at a time: a Conv2d for each that is read, added up.

Hazards, in the order met: ttnn.conv3d compiles and can't run here; a 3x3 kernel in the last two dimensions is stored as
32x32, 113 times the bytes, so weights are reordered before they reach the graph; padding and stacking whole clips
copies them. A frame is padded once, kept, and read by every output that it belongs to. Where the start of a clip
repeats, the compiler applies a Conv2d to the same frame only once.
Upstream: tt-xla#1662 and tt-mlir#5397 (Conv3d), tt-metal#15103 (an early decomposition, PCC 0.98).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused
from ttvideo.decoders.abreast import temporal_weight
from ttvideo.decoders.row_major import keep_row_major, pad_rows


class CausalConv(nn.Module):
    """A `CogVideoXCausalConv3d` with replicate padding, on frames [N, abreast * C] with N = H * W.

    `past` is what it keeps between steps: the last kt - 1 frames of its input, padded: [1, 1, (H + 2) * (W + 2),
    abreast * C] each, as ttnn.conv2d takes them, oldest first; None before the first frame. Raises `Refused` where
    whole inputs can't hold kt - 1 frames.
    """

    def __init__(self, conv: nn.Conv3d, rewrites, abreast: int = 1):
        super().__init__()
        self.kernel, self.channels = conv.kernel_size, conv.in_channels
        self.rewrites, self.abreast = rewrites, abreast
        self.kept, rest = divmod(self.kernel[0] - 1, abreast)
        if rest:
            raise Refused("frames abreast", abreast, f"a divisor of {self.kernel[0] - 1}, the frames that are kept")
        weights = self.reordered(conv.weight.detach()) if rewrites.weights else [conv.weight.detach().clone()]
        self.weights = nn.ParameterList(nn.Parameter(weight, requires_grad=False) for weight in weights)
        self.bias = nn.Parameter(conv.bias.detach().repeat(abreast), requires_grad=False)

    def past_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """The shape of one tensor of `past`, without the batch."""
        _, kh, kw = self.kernel
        return 1, (size[0] + kh - 1) * (size[1] + kw - 1), self.abreast * self.channels

    def reordered(self, weight: Tensor) -> list[Tensor]:
        """Conv3d's weight as that of one Conv2d for each of the `kept` + 1 inputs that an output reads."""
        return [piece.contiguous() for piece in temporal_weight(weight, self.abreast).chunk(self.kept + 1, dim=1)]

    def forward(self, frames: list[Tensor], size: tuple[int, int], past) -> tuple[list[Tensor], list[Tensor]]:
        """[N, abreast * in] each -> [N, abreast * out] each, and the new `past`."""
        padded = [self.pad(frame, size) for frame in frames]
        padded = [*(past or self.before(padded[0])), *padded]
        outs = [self.convolve(padded[t : t + self.kept + 1], size) for t in range(len(frames))]
        return outs, padded[len(padded) - self.kept :]

    def before(self, first_11nc: Tensor) -> list[Tensor]:
        """What stands before a clip: its first frame, repeated."""
        if self.abreast == 1:
            return [first_11nc] * self.kept
        channel = torch.arange(self.channels, dtype=torch.int32, device=first_11nc.device)
        # Not a slice: a gather takes and gives row-major rows, a slice would have them in tiles.
        return [self.rows(first_11nc.index_select(3, channel.repeat(self.abreast)))] * self.kept

    def pad(self, x_nc: Tensor, size: tuple[int, int]) -> Tensor:
        """[N, C] -> [1, 1, (H + 2) * (W + 2), C]."""
        _, kh, kw = self.kernel
        if self.rewrites.padding:
            return self.rows(pad_rows(x_nc, size, kh // 2, kw // 2)[None, None])
        x_chw = x_nc.t().reshape(-1, *size)
        padded = F.pad(x_chw, (kw // 2, kw // 2, kh // 2, kh // 2), mode="replicate")
        return self.rows(padded.flatten(1).t()[None, None])

    def rows(self, x_11nc: Tensor) -> Tensor:
        return keep_row_major(x_11nc) if self.rewrites.row_major else x_11nc

    def convolve(self, inputs: list[Tensor], size: tuple[int, int]) -> Tensor:
        weights = list(self.weights) if self.rewrites.weights else self.reordered(self.weights[0])
        out = self.conv2d(inputs[0], weights[0], self.bias, size)
        for x_nc, weight in zip(inputs[1:], weights[1:]):
            out = out + self.conv2d(x_nc, weight, None, size)
        return out.flatten(0, 2)

    def conv2d(self, x_11nc: Tensor, weight: Tensor, bias: Tensor | None, size: tuple[int, int]) -> Tensor:
        """[1, 1, (H + 2) * (W + 2), in] -> [1, 1, H * W, out], as which TT-NN has it: sums need no reshape each."""
        _, kh, kw = self.kernel
        x_nchw = x_11nc.reshape(1, size[0] + kh - 1, size[1] + kw - 1, -1).permute(0, 3, 1, 2)
        return F.conv2d(x_nchw, weight, bias).permute(0, 2, 3, 1).reshape(1, 1, size[0] * size[1], -1)
