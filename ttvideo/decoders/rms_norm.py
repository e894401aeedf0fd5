"""Norms over the channels of each pixel: with channels last, a row at a time.

Wan's own is `F.normalize` over dimension 1 of [B, C, T, H, W], times sqrt(C) and a gain: in bf16 a reduction over planes
in float32. The two differ where a pixel's channels are all under 1e-12.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TINY = 1e-24  # F.normalize divides by at least 1e-12


class ChannelNorm(nn.Module):
    """`WanRMS_norm` on [N, C]."""

    def __init__(self, stock: nn.Module):
        super().__init__()
        self.gain = nn.Parameter(stock.gamma.detach().flatten().clone(), requires_grad=False)
        bias = stock.bias
        self.bias = (
            nn.Parameter(bias.detach().flatten().clone(), requires_grad=False) if torch.is_tensor(bias) else None
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
