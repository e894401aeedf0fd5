"""Packed frames: two frames of the last two sizes side by side along the channels, [N, 2 C], convolved as
one.

Hazard: a causal 3x3x3 convolution reads three frames for each that it writes: as three Conv2d and two
additions that is 12 passes over a frame. A pair reads the pair before and itself: two Conv2d and one addition
for two frames, 7 passes each. The price is arithmetic, a third more, because a quarter of those Conv2d's
weights is zero: on an n150, which arithmetic binds, it takes about what is saved (`python -m findings
decoder_cost` has both, and pairs at the last size alone). Which frames share a pair is their place in the
clip, so a split into steps changes nothing. (A frame that overflowed would spoil the other: zero times
infinity.)
"""

import torch
from torch import Tensor, nn


def packed_weight(weight: Tensor, packed: int) -> Tensor:
    """A Conv3d's weight, [out, in, kt, kh, kw], on packed frames: [packed * out, (kt - 1 + packed) * in, kh,
    kw].

    Output frame i meets the input frames i ... i + kt - 1, and with a weight of zero the others.
    """
    taps, zero = list(weight.unbind(2)), torch.zeros_like(weight[:, :, 0])
    rows = [torch.cat([zero] * i + taps + [zero] * (packed - 1 - i), dim=1) for i in range(packed)]
    return torch.cat(rows)


def packed_pointwise(weight: Tensor, packed: int) -> Tensor:
    """A linear layer's weight, [out, in], on packed frames: [packed * out, packed * in], zeros between
    frames."""
    return torch.block_diag(*[weight] * packed)


def packed_norm(norm: nn.GroupNorm, packed: int) -> nn.GroupNorm:
    """The norm of each of the packed frames, as one: `packed` times the groups and the channels."""
    wide = nn.GroupNorm(norm.num_groups * packed, norm.num_channels * packed, norm.eps)
    wide.weight = nn.Parameter(norm.weight.detach().repeat(packed), requires_grad=False)
    wide.bias = nn.Parameter(norm.bias.detach().repeat(packed), requires_grad=False)
    return wide


def packed_linear(linear: nn.Linear, packed: int) -> nn.Linear:
    """The layer applied to each of the packed frames."""
    wide = nn.Linear(linear.in_features * packed, linear.out_features * packed)
    wide.weight = nn.Parameter(packed_pointwise(linear.weight.detach(), packed), requires_grad=False)
    wide.bias = nn.Parameter(linear.bias.detach().repeat(packed), requires_grad=False)
    return wide
