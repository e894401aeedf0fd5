"""Cosmos's wavelets without Conv3d: the Haar transform of patches, and back, as sums and differences of
neighbours.

diffusers writes each as seven pairs of 3D convolutions with one group a channel and two taps along one axis;
those have no weights to learn and stand in no `nn.Conv3d`, so nothing shows them but the compiler's refusal.
"""

import torch
from diffusers.models.autoencoders.autoencoder_kl_cosmos import CosmosPatchEmbed3d, CosmosUnpatcher3d
from torch import Tensor, nn

from ttvideo.decompositions.padding import pad

AXES = (2, 3, 4)  # of [B, C, T, H, W]


def halves(x: Tensor, axis: int, a: Tensor, b: Tensor) -> list[Tensor]:
    """Low and high along an axis: of neighbours (x, y) the sums b x + a y and the differences a x - b y.

    An odd size is made even by its last but one entry, as "reflect" padding does.
    """
    x = pad(x, axis, 0, x.shape[axis] % 2, "reflect")
    even, odd = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
    return [even * b + odd * a, even * a - odd * b]


def whole(low: Tensor, high: Tensor, axis: int, a: Tensor, b: Tensor) -> Tensor:
    """Back from `halves`."""
    return torch.stack([low * b + high * a, low * a - high * b], axis + 1).flatten(axis, axis + 1)


class Patches(CosmosPatchEmbed3d):
    """[B, C, T, H, W] -> [B, 8 C, T / 2, H / 2, W / 2], as often as the patch size says."""

    def _dwt(self, x: Tensor, mode: str = "reflect", rescale: bool = False) -> Tensor:
        taps = self.wavelets.to(x.dtype)
        parts = [x]
        for axis in AXES:
            parts = [half for part in parts for half in halves(part, axis, *taps)]
        return torch.cat(parts, 1) / (8**0.5 if rescale else 1)


class Unpatched(CosmosUnpatcher3d):
    """[B, 8 C, T, H, W] -> [B, C, 2 T, 2 H, 2 W], as often as the patch size says."""

    def _idwt(self, x: Tensor, rescale: bool = False) -> Tensor:
        taps = self.wavelets.to(x.device, x.dtype)
        parts = x.chunk(8, dim=1)
        for axis in reversed(AXES):
            parts = [whole(low, high, axis, *taps) for low, high in zip(parts[::2], parts[1::2])]
        return parts[0] * (8**0.5 if rescale else 1)


WAVELETS = {CosmosPatchEmbed3d: Patches, CosmosUnpatcher3d: Unpatched}


def without_conv3d(stock: nn.Module) -> nn.Module | None:
    """The same transform without Conv3d; None if it isn't one of these, or uses none ("rearrange")."""
    if type(stock) not in WAVELETS or stock.patch_method != "haar":
        return None
    new = WAVELETS[type(stock)](stock.patch_size, stock.patch_method)
    new.wavelets, new._arange = stock.wavelets, stock._arange
    return new
