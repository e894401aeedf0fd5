"""Frames abreast: two frames of the last two sizes side by side along the channels, [N, 2 C], convolved as one.

Hazard: a causal 3x3x3 convolution reads three frames for each that it writes: as three Conv2d and two additions that
is 12 passes over a frame. A pair reads the pair before and itself: two Conv2d and one addition for two frames, 7
passes each. The price is arithmetic, a third more, because a quarter of those Conv2d's weights is zero. By the
roofline of a step at 480x848 they pay on both boards, were all resources busy at once; of ops in turn, each by what
binds it, they pay on the p150 and cost on the n150, about what starting the programs takes that they save.
`findings/decoder_cost.py` has the figures, and pairs at the last size alone (`Rewrites(pairs=1)`).
Which frames share a pair is their place in the clip, so a split into steps changes nothing. (A frame that overflowed
would spoil the other: zero times infinity.)
"""

import torch
from torch import Tensor, nn


def temporal_weight(weight: Tensor, abreast: int) -> Tensor:
    """A Conv3d's weight, [out, in, kt, kh, kw], on frames abreast: [abreast * out, (kt - 1 + abreast) * in, kh, kw].

    Output frame i meets the input frames i ... i + kt - 1, and with a weight of zero the others.
    """
    taps, zero = list(weight.unbind(2)), torch.zeros_like(weight[:, :, 0])
    rows = [torch.cat([zero] * i + taps + [zero] * (abreast - 1 - i), dim=1) for i in range(abreast)]
    return torch.cat(rows)


def pointwise_weight(weight: Tensor, abreast: int) -> Tensor:
    """A linear layer's weight, [out, in], for frames abreast: [abreast * out, abreast * in], zeros between frames."""
    return torch.block_diag(*[weight] * abreast)


def wide_norm(norm: nn.GroupNorm, abreast: int) -> nn.GroupNorm:
    """The norm of each of the frames abreast, as one: `abreast` times the groups and the channels."""
    wide = nn.GroupNorm(norm.num_groups * abreast, norm.num_channels * abreast, norm.eps)
    wide.weight = nn.Parameter(norm.weight.detach().repeat(abreast), requires_grad=False)
    wide.bias = nn.Parameter(norm.bias.detach().repeat(abreast), requires_grad=False)
    return wide


def wide_linear(linear: nn.Linear, abreast: int) -> nn.Linear:
    """The layer applied to each of the frames abreast."""
    wide = nn.Linear(linear.in_features * abreast, linear.out_features * abreast)
    wide.weight = nn.Parameter(pointwise_weight(linear.weight.detach(), abreast), requires_grad=False)
    wide.bias = nn.Parameter(linear.bias.detach().repeat(abreast), requires_grad=False)
    return wide
