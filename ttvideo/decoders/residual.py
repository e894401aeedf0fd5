"""Norms over the channels of each pixel, and the residual block that Wan and HunyuanVideo-1.5 make with them.

With channels last, such a norm is of a row at a time. Wan's own is `F.normalize` over dimension 1 of [B, C,
T, H, W], times sqrt(C) and a gain: in bf16 a reduction over planes in float32. The two differ where a pixel's
channels are all under 1e-12.
"""

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


class ChannelResidual(nn.Module):
    """Causal convolutions of frames [N, C], each after a norm of the channels and SiLU; without `shortcut`,
    plus the frames."""

    def __init__(self, norms: list[nn.Module], convs: list[nn.Module], shortcut: nn.Module | None):
        super().__init__()
        self.norms, self.convs, self.shortcut = nn.ModuleList(norms), nn.ModuleList(convs), shortcut

    def forward(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        x = frames
        for norm, conv in zip(self.norms, self.convs):
            x = conv([F.silu(norm(frame)) for frame in x], memory)
        rest = frames if self.shortcut is None else [self.shortcut(frame) for frame in frames]
        return [a + b for a, b in zip(x, rest)]
