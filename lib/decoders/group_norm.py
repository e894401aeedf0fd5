"""GroupNorm and SiLU of a frame, or of all frames of a clip as one, in one matrix product for each frame.

Hazard: with channels last, GroupNorm wants the channels as [groups, C / groups], and a last dimension of C / 32 = 4
is stored as 32: 8 times the bytes. As torch_xla lowers it, it is also a batch norm of whole activations in float32.
Here the sums are taken a channel at a time, and only those [C] sums meet the groups.
Upstream: tt-xla#6057 moves the affine part out of the norm for the same reason.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TILE = 32


def wide(x: Tensor) -> torch.dtype:
    """The type that statistics are kept in: float32, or float64 where the activations are float64."""
    return torch.promote_types(x.dtype, torch.float32)


def pieces(n: int, at_least: int) -> int:
    """Into how many equal pieces of whole tiles, each `at_least` rows long, n rows can be cut; 1 if they can't."""
    return next((k for k in range(n // at_least, 1, -1) if n % (k * TILE) == 0), 1)


def channel_mean(x_nc: Tensor) -> Tensor:
    """Mean over the pixels, [N, C] -> [C] in `wide`.

    First over pieces of a few hundred pixels, in the type of x, then over those partial means in `wide`: each is
    rounded on its own, so the errors average out, and no activation is converted to float32.
    """
    n, c = x_nc.shape
    k = pieces(n, 256)
    return x_nc.reshape(k, n // k, c).mean(1).to(wide(x_nc)).mean(0)


def channel_square(x_nc: Tensor) -> Tensor:
    """Mean of x * x over the pixels, [N, C] -> [C] in `wide`: the diagonal of transpose(x) @ x.

    The matrix unit squares and adds in float32 as it reads: 1 pass over x. Squaring first takes 3, and torch_xla
    multiplies bf16 tensors in float32: 8. The product adds C / 27 of a 3x3x3 convolution's arithmetic.
    """
    n, c = x_nc.shape
    k = pieces(n, TILE * c)
    x_knc = x_nc.reshape(k, n // k, c)
    gram = torch.bmm(x_knc.transpose(1, 2), x_knc)
    return on_diagonal(gram).sum(1).to(wide(x_nc)).sum(0) / n


def on_diagonal(x: Tensor) -> Tensor:
    """[..., C] or [..., C, C] -> [..., C, C]: the same on the diagonal, 0 elsewhere, in one op and no other type."""
    c = x.shape[-1]
    place = torch.arange(c, dtype=torch.int32, device=x.device)
    return torch.where(place.view(c, 1) == place, x, torch.zeros((), dtype=x.dtype, device=x.device))


def scale_and_shift(x_nc: Tensor, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
    """GroupNorm of one frame as a * x + b: a and b, [C] each, in `wide`."""
    c, groups = x_nc.shape[1], norm.num_groups
    mean, square = (
        m.reshape(groups, c // groups).mean(1, keepdim=True).expand(groups, c // groups).reshape(c)
        for m in (channel_mean(x_nc), channel_square(x_nc))
    )
    scale = torch.rsqrt((square - mean.square()).clamp_min(0) + norm.eps) * norm.weight.to(mean.dtype)
    return scale, norm.bias.to(mean.dtype) - mean * scale


def group_norm(x_nc: Tensor, norm: nn.GroupNorm) -> Tensor:
    """GroupNorm of one frame, [N, C] -> [N, C].

    As a linear layer with the scale on its diagonal: the compiler runs matrix product and bias as one op, and SiLU after them,
    which reads x once and rounds once. A multiply and an add take twice the passes and round twice.
    """
    scale, shift = scale_and_shift(x_nc, norm)
    return F.linear(x_nc, on_diagonal(scale.to(x_nc.dtype)), shift.to(x_nc.dtype))


def group_norm_silu(x_nc: Tensor, norm: nn.GroupNorm) -> Tensor:
    """silu(GroupNorm(x)) of one frame, [N, C] -> [N, C]."""
    return F.silu(group_norm(x_nc, norm))


def group_moments(frames: list[Tensor], groups: int) -> tuple[Tensor, Tensor]:
    """Mean of x and of x * x in each group over all frames, [N, C] each -> [groups, 1] each, in `wide`."""
    mean, square = (
        torch.stack([moment(x) for x in frames]).mean(0).view(groups, -1).mean(1, keepdim=True)
        for moment in (channel_mean, channel_square)
    )
    return mean, square


def clip_norm(frames: list[Tensor], norm: nn.GroupNorm) -> list[Tensor]:
    """GroupNorm with all frames' statistics: [N, C] each -> the same, as a linear layer, like `group_norm_silu`."""
    mean, square = group_moments(frames, norm.num_groups)
    deviation = torch.rsqrt((square - mean * mean).clamp_min(0) + norm.eps)
    each = norm.num_channels // norm.num_groups
    scale = deviation.expand(-1, each).flatten() * norm.weight.to(mean.dtype)
    shift = norm.bias.to(mean.dtype) - mean.expand(-1, each).flatten() * scale
    weight, bias = on_diagonal(scale.to(frames[0].dtype)), shift.to(frames[0].dtype)
    return [F.linear(x, weight, bias) for x in frames]


def group_norm_silu_stock(x_nc: Tensor, norm: nn.GroupNorm) -> Tensor:
    """The same as PyTorch writes it, for comparison."""
    x_1cn = x_nc.t().unsqueeze(0)
    return F.silu(F.group_norm(x_1cn, norm.num_groups, norm.weight, norm.bias, norm.eps)).squeeze(0).t()
