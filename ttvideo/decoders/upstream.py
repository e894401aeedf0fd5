"""The stock decoder with the two rewrites that are proposed upstream, as a point of comparison.

Replicate padding by slices and concatenations in the activations' own type (tt-xla#6051,
tt-forge-models#926), and GroupNorm with its scale and shift outside of it (tt-xla#6057). Convolutions,
layouts and pixel shuffle stay.
"""

import copy

import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused


class NativePadding(nn.Module):
    """A `CogVideoXCausalConv3d`, padded without `F.pad`: [B, C, T, H, W] -> (the same, None)."""

    def __init__(self, causal: CogVideoXCausalConv3d):
        super().__init__()
        self.conv = causal.conv
        self.before = (causal.time_pad, causal.height_pad, causal.width_pad)
        self.after = (0, causal.height_pad, causal.width_pad)

    def forward(self, x: Tensor, conv_cache=None) -> tuple[Tensor, None]:
        for dim, before, after in zip((2, 3, 4), self.before, self.after):
            first, last = x.narrow(dim, 0, 1), x.narrow(dim, x.shape[dim] - 1, 1)
            x = torch.cat([first] * before + [x] + [last] * after, dim=dim)
        return self.conv(x), None


class AffineOutside(nn.Module):
    """A `GroupNorm` that normalises first, then scales and shifts: [B, C, H, W] -> the same."""

    def __init__(self, norm: nn.GroupNorm):
        super().__init__()
        self.num_groups, self.eps = norm.num_groups, norm.eps
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        x = F.group_norm(x, self.num_groups, eps=self.eps)
        return x * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


def upstream_decoder(decoder: nn.Module) -> nn.Module:
    """A copy of a `MochiDecoder3D` with both rewrites; `decoder` stays as it is.

    Raises `Refused` if there was nothing to rewrite.
    """
    decoder = copy.deepcopy(decoder)
    replaced = 0
    for module in list(decoder.modules()):
        for name, child in module.named_children():
            new = {CogVideoXCausalConv3d: NativePadding, nn.GroupNorm: AffineOutside}.get(type(child))
            if new:
                setattr(module, name, new(child))
                replaced += 1
    if not replaced:
        raise Refused("decoder", type(decoder).__name__, "a MochiDecoder3D")
    return decoder
