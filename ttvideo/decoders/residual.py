"""The families' residual block, and norms over the channels of each pixel, as Wan and HunyuanVideo-1.5 have.

With channels last, such a norm is of a row at a time. Wan's own is `F.normalize` over dimension 1 of [B, C,
T, H, W], times sqrt(C) and a gain: in bf16 a reduction over planes in float32. The two differ where a pixel's
channels are all under 1e-12.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.decoders.clip_decoder import Memory

TINY = 1e-24  # F.normalize divides by at least 1e-12


class ChannelNorm(nn.Module):
    """`WanRMS_norm` on [N, C], or one without a bias."""

    def __init__(self, stock: nn.Module):
        super().__init__()
        self.gain = nn.Parameter(stock.gamma.detach().flatten().clone(), requires_grad=False)
        bias = getattr(stock, "bias", None)
        self.bias = (
            nn.Parameter(bias.detach().flatten().clone(), requires_grad=False)
            if torch.is_tensor(bias)
            else None
        )

    def forward(self, x_nc: Tensor) -> Tensor:
        channels = x_nc.shape[-1]
        out = F.rms_norm(x_nc, (channels,), self.gain, TINY / channels)
        return out if self.bias is None else out + self.bias


class CentredNorm(nn.Module):
    """An affine `nn.LayerNorm` on [N, C]: the RMS norm of what is left without the mean.

    Hazard: the layer norm itself is compiled to the training step of a batch norm, between reshapes.
    """

    def __init__(self, stock: nn.LayerNorm):
        super().__init__()
        self.gain = nn.Parameter(stock.weight.detach().clone(), requires_grad=False)
        self.bias = nn.Parameter(stock.bias.detach().clone(), requires_grad=False)
        self.eps = stock.eps

    def forward(self, x_nc: Tensor) -> Tensor:
        centred = x_nc - x_nc.mean(-1, keepdim=True)
        return F.rms_norm(centred, x_nc.shape[-1:], self.gain, self.eps) + self.bias


class ResidualBlock(nn.Module):
    """Convolutions of frames [N, C], each after its norm and SiLU, plus the frames, through `shortcut` where
    there is one.

    Called with the frames, what belongs to the clip besides, and the step's `Memory`. A subclass says in
    `normed` how a norm is applied.
    """

    def __init__(
        self, norms: Iterable[nn.Module], convs: Iterable[nn.Module], shortcut: nn.Module | None = None
    ):
        super().__init__()
        self.norms, self.convs, self.shortcut = nn.ModuleList(norms), nn.ModuleList(convs), shortcut

    def normed(self, frames: list[Tensor], norm: nn.Module, *condition) -> list[Tensor]:
        return norm(frames, *condition)

    def added(self, frames: list[Tensor], *condition_and_memory) -> list[Tensor]:
        """What the convolutions make of the frames."""
        *condition, memory = condition_and_memory
        for norm, conv in zip(self.norms, self.convs):
            frames = conv(self.normed(frames, norm, *condition), memory)
        return frames

    def rest(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        return frames if self.shortcut is None else [self.shortcut(frame) for frame in frames]

    def forward(self, frames: list[Tensor], *condition_and_memory) -> list[Tensor]:
        x = self.added(frames, *condition_and_memory)
        return [a + b for a, b in zip(x, self.rest(frames, condition_and_memory[-1]))]


class ChannelResidual(ResidualBlock):
    """Whose norms are of a pixel's channels, [N, C] -> the same."""

    def normed(self, frames: list[Tensor], norm: nn.Module) -> list[Tensor]:
        return [F.silu(norm(frame)) for frame in frames]
