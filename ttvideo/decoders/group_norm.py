"""GroupNorm and SiLU of a frame, or of all frames of a clip as one, in one matrix product for each frame.

Hazard: with channels last, GroupNorm wants the channels as [groups, C / groups], and a last dimension of C /
32 = 4 is stored as 32: 8 times the bytes. As torch_xla lowers it, it is also a batch norm of whole
activations in float32. Here the sums are taken a channel at a time, and only those [C] sums meet the groups.
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
    """Into how many equal pieces of whole tiles, each `at_least` rows long, n rows can be cut; 1 if they
    can't."""
    return next((k for k in range(n // at_least, 1, -1) if n % (k * TILE) == 0), 1)


def on_diagonal(x: Tensor) -> Tensor:
    """[..., C] or [..., C, C] -> [..., C, C]: the same on the diagonal, 0 elsewhere, in one op and no other
    type."""
    c = x.shape[-1]
    place = torch.arange(c, dtype=torch.int32, device=x.device)
    return torch.where(place.view(c, 1) == place, x, torch.zeros((), dtype=x.dtype, device=x.device))


def sum_of_squares(x_knc: Tensor) -> Tensor:
    """Of each piece and channel, [k, N, C] -> [k, C]: the diagonal of transpose(x) @ x.

    The matrix unit squares and adds in float32 as it reads: 1 pass over x. Squaring first takes 3, and
    torch_xla multiplies bf16 tensors in float32: 8. The product adds C / 27 of a 3x3x3 convolution's
    arithmetic.
    """
    return on_diagonal(torch.bmm(x_knc.transpose(1, 2), x_knc)).sum(1)


def group_moments(frames: list[Tensor], groups: int) -> tuple[Tensor, Tensor]:
    """Mean of x and of x * x in each group of channels and each frame: F frames [N, C] -> [F, groups, 1]
    each, in `wide`.

    First in k pieces of a frame, in the type of x, each rounded on its own, so that errors average out and no
    activation is converted to float32. What then is small is done for all frames at once.
    """
    (n, c), count = frames[0].shape, len(frames)
    k = pieces(n, TILE * c)
    pieces_knc = [x.reshape(k, n // k, c) for x in frames]
    sums = torch.cat([x.mean(1) for x in pieces_knc] + [sum_of_squares(x) for x in pieces_knc]).to(
        wide(frames[0])
    )
    of_channels = sums.reshape(2 * count, k, c).mean(1)
    mean, square = of_channels.reshape(-1, c // groups).mean(1).view(2 * count, groups, 1).chunk(2)
    return mean, square * (k / n)


def scale_and_shift(mean: Tensor, square: Tensor, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
    """GroupNorm as a * x + b, by its groups' moments: [..., groups, 1] each -> a and b, [..., C] each."""
    weight, bias = (p.to(mean.dtype).view(norm.num_groups, -1) for p in (norm.weight, norm.bias))
    scale = torch.rsqrt((square - mean * mean).clamp_min(0) + norm.eps) * weight
    return scale.flatten(-2), (bias - mean * scale).flatten(-2)


def group_norm(frames: list[Tensor], norm: nn.GroupNorm) -> list[Tensor]:
    """GroupNorm of each frame by itself, [N, C] each -> the same.

    As a linear layer with the scale on its diagonal: the compiler runs matrix product and bias as one op, and
    SiLU after them, which reads x once and rounds once. A multiply and an add take twice the passes and round
    twice.
    """
    moments = group_moments(frames, norm.num_groups)
    scales, shifts = (t.to(frames[0].dtype) for t in scale_and_shift(*moments, norm))
    return [F.linear(x, on_diagonal(scale), shift) for x, scale, shift in zip(frames, scales, shifts)]


def group_norm_silu(frames: list[Tensor], norm: nn.GroupNorm) -> list[Tensor]:
    """silu(GroupNorm(x)) of each frame by itself, [N, C] each -> the same."""
    return [F.silu(x) for x in group_norm(frames, norm)]


def clip_norm(frames: list[Tensor], norm: nn.GroupNorm, padded: bool = False) -> list[Tensor]:
    """GroupNorm with all frames' statistics: [N, C] each -> the same, as a linear layer, like `group_norm`.

    `padded`: where the first and the last frame are repeated before the norm, which counts them twice.
    """
    moments = group_moments(frames, norm.num_groups)
    if padded:
        moments = (torch.cat([moment[:1], moment, moment[-1:]]) for moment in moments)
    scale, shift = (
        t.to(frames[0].dtype) for t in scale_and_shift(*(moment.mean(0) for moment in moments), norm)
    )
    weight = on_diagonal(scale)
    return [F.linear(x, weight, shift) for x in frames]


def group_norm_silu_stock(frames: list[Tensor], norm: nn.GroupNorm) -> list[Tensor]:
    """The same as PyTorch writes it, for comparison."""
    normed = (F.group_norm(x.t()[None], norm.num_groups, norm.weight, norm.bias, norm.eps) for x in frames)
    return [F.silu(x_1cn).squeeze(0).t() for x_1cn in normed]
