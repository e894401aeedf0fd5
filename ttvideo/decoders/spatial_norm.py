"""CogVideoX's norm: GroupNorm over all the frames of a chunk, scaled and shifted by the latents at each
pixel.

    (norm(x) * scale(z) + shift(z)), where norm(x) = a x + b with a and b a number each channel

is x * (a scale)(z) + (b scale + shift)(z): the group statistics go into the small weights, [C, 16], of two
linear layers of z, and no normalised activation is ever written. z is upsampled as it is, 16 channels, once
for a size.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.decoders.attention import as_linear
from ttvideo.decoders.group_norm import group_moments
from ttvideo.decoders.rows import nearest


class Condition:
    """The latent frames of a chunk, [H * W, C] each, as a norm on `count` frames of another size wants."""

    def __init__(self, latents: list[Tensor], size: tuple[int, int]):
        self.latents, self.size = latents, size
        self.made: dict[tuple[int, int], Tensor] = {}

    def at(self, scale: int, count: int) -> list[Tensor]:
        return [self.upsampled(index, scale) for index in self.picked(count)]

    def picked(self, count: int) -> list[int]:
        """Which latent frame goes with each of `count` frames: of an odd number the first stands alone."""
        latents = len(self.latents)
        if count > 1 and count % 2:
            return [0, *(1 + i * (latents - 1) // (count - 1) for i in range(count - 1))]
        return [i * latents // count for i in range(count)]

    def upsampled(self, index: int, scale: int) -> Tensor:
        if (index, scale) not in self.made:
            z_nc = self.latents[index]
            self.made[index, scale] = z_nc if scale == 1 else nearest(z_nc, self.size, scale)
        return self.made[index, scale]


class SpatialNormSilu(nn.Module):
    """A `GroupNorm` of the frames of a chunk, scaled by `by` of the latents and shifted by `shift`, and SiLU:
    [N, C] each -> the same."""

    def __init__(self, scale: int, norm: nn.GroupNorm, by: nn.Module, shift: nn.Module):
        super().__init__()
        self.scale = scale
        self.groups, self.eps = norm.num_groups, norm.eps
        self.gain = nn.Parameter(norm.weight.detach().clone(), requires_grad=False)
        self.bias = nn.Parameter(norm.bias.detach().clone(), requires_grad=False)
        self.by, self.shift = as_linear(by), as_linear(shift)

    def forward(self, frames: list[Tensor], condition: Condition) -> list[Tensor]:
        a, b = self.affine(frames)
        # In float32 up to here: the weights are small, and rounded once.
        weights = [a[:, None] * self.by.weight, b[:, None] * self.by.weight + self.shift.weight]
        biases = [a * self.by.bias, b * self.by.bias + self.shift.bias]
        (by, shift), (by_bias, shift_bias) = (
            [t.to(frames[0].dtype) for t in pair] for pair in (weights, biases)
        )
        zs = condition.at(self.scale, len(frames))
        return [
            F.silu(x * F.linear(z, by, by_bias) + F.linear(z, shift, shift_bias)) for x, z in zip(frames, zs)
        ]

    def affine(self, frames: list[Tensor]) -> tuple[Tensor, Tensor]:
        """a and b, [C] each, in float32 or better, from the channels' sums over all frames."""
        mean, square = (moment.mean(0) for moment in group_moments(frames, self.groups))
        deviation = torch.rsqrt(square - mean * mean + self.eps)
        a = (self.gain.to(mean.dtype).view(self.groups, -1) * deviation).flatten()
        return a, self.bias.to(mean.dtype) - mean.expand(-1, a.numel() // self.groups).flatten() * a
