"""Ops that torch_xla 2.9 can't trace as torch means them, put in other words before it sees them.

Each is a hazard of its own: one that raises, or one that goes to the host. The latter is worse: torch_xla
runs the graph so far, on a device whose results may be garbage, to have the op's operands, and goes on with a
second program.
"""

import math

import torch
from torch import Tensor

aten = torch.ops.aten


def slice_within(
    x: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """`x[-2:]` of one entry: torch takes what there is, torch_xla raises `Value out of range`."""
    size = x.shape[dim]
    start, end = (max(n, -size) if n is not None and n < 0 else n for n in (start, end))
    return aten.slice_copy.Tensor(x, dim, start, end, step)


def repeat(x: Tensor, repeats: list[int]) -> Tensor:
    """No repeats give an empty tensor; torch_xla raises `Concatenate expects at least one argument`."""
    if all(repeats):
        return aten.repeat.default(x, repeats)
    shape = (1,) * (len(repeats) - x.dim()) + tuple(x.shape)
    return x.new_empty([size * count for size, count in zip(shape, repeats)])


def nearest(x: Tensor, sizes: list[int], *scales: float | None, shift: float = 0.0) -> Tensor:
    """Nearest upsampling, [B, C, *spatial] -> [B, C, *sizes]: some kinds go to the host, the others are
    float32 sums."""
    for axis, (size, scale) in enumerate(zip(sizes, scales or [None] * len(sizes)), start=2):
        old = x.shape[axis]
        step = 1 / scale if scale else old / size
        picked = [min(math.floor((i + shift) * step), old - 1) for i in range(size)]
        if picked == sorted([*range(old)] * (size // old)):
            x = repeated(x, axis, size // old)
        else:
            x = torch.cat([x.narrow(axis, i, 1) for i in picked], axis)
    return x


def repeated(x: Tensor, axis: int, times: int) -> Tensor:
    """Each entry along `axis` so many times in a row.

    Along the last two dimensions by a matrix of ones and zeros, exactly: a small dimension of its own, to be
    repeated, would be stored as 32.
    """
    if times == 1:
        return x
    if axis < x.dim() - 2:
        sizes = list(x.shape)
        sizes.insert(axis + 1, times)
        return x.unsqueeze(axis + 1).expand(sizes).flatten(axis, axis + 1)
    old, new = (
        torch.arange(n, dtype=torch.int32, device=x.device) for n in (x.shape[axis], x.shape[axis] * times)
    )
    picks = (new.view(-1, 1) // times == old).to(x.dtype)
    return x @ picks.t() if axis == x.dim() - 1 else picks @ x


def nearest_exact(x: Tensor, sizes: list[int], *scales: float | None) -> Tensor:
    return nearest(x, sizes, *scales, shift=0.5)


IN_OTHER_WORDS = {
    aten.slice_copy.Tensor: slice_within,
    aten.repeat.default: repeat,
    aten.upsample_nearest1d.default: nearest,
    aten.upsample_nearest2d.default: nearest,
    aten.upsample_nearest3d.default: nearest,
    aten._upsample_nearest_exact1d.default: nearest_exact,
    aten._upsample_nearest_exact2d.default: nearest_exact,
    aten._upsample_nearest_exact3d.default: nearest_exact,
}
