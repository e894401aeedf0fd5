"""Pixels as rows: what is only moved, padding, upsampling, depth to space, is a gather of whole rows; and
row-major on the way.

ttnn.conv2d takes row-major pixels, [1, 1, N, C], and a gather gives row-major rows. Everything else is in
tiles.
"""

import torch
from torch import Tensor


def clamped(low: int, high: int, last: int, device) -> Tensor:
    """low ... high - 1 as int32, held within 0 ... last."""
    return torch.arange(low, high, dtype=torch.int32, device=device).clamp(0, last)


def nearest(x_nc: Tensor, size: tuple[int, int], by: int = 2, edges: tuple[int, int] = (0, 0)) -> Tensor:
    """[H * W, C] -> [by H * by W, C], each pixel repeated; with `edges`, those again so many times around it.

    Hazard: F.pad(mode="replicate") is slices and concatenations along W, whose rows don't begin at tile
    edges, and in bf16 it goes through float32 (tt-forge-models#926). One gather reads each row and writes
    each padded row.
    """
    _, width = size
    row, column = (clamped(-e, n * by + e, n * by - 1, x_nc.device) // by for n, e in zip(size, edges))
    return x_nc.index_select(0, (row.view(-1, 1) * width + column.view(1, -1)).reshape(-1))


def reflected(x_nc: Tensor, size: tuple[int, int], above: int, beside: int) -> Tensor:
    """Reflect padding, [H * W, C] -> [(H + 2 above) * (W + 2 beside), C]. Sizes above the padding's only."""
    row, column = (
        (n - 1) - ((n - 1) - torch.arange(-pad, n + pad, dtype=torch.int32, device=x_nc.device).abs()).abs()
        for n, pad in zip(size, (above, beside))
    )
    return x_nc.index_select(0, (row.view(-1, 1) * size[1] + column.view(1, -1)).reshape(-1))


def shuffled(x_nc: Tensor, size: tuple[int, int], by: int = 2, part: int = 0, parts: int = 1) -> Tensor:
    """Depth to space: [H * W, (parts, by, by, C)] -> [by H * by W, C], one of the parts.

    Hazard: as `view -> permute -> view` it ends in a dimension of `by`, stored as 32: 16 times the bytes for
    2, 4.83 GB for one tensor of a [1, 12, 3, 32, 32] clip of Mochi's (tt-xla#4252, tt-mlir#7729,
    tt-mlir#8568).
    """
    height, width = size
    rows = x_nc.reshape(x_nc.shape[0] * parts * by * by, -1)
    h, i, w, j = (torch.arange(n, dtype=torch.int32, device=x_nc.device) for n in (height, by, width, by))
    pixel = h.view(-1, 1, 1, 1) * width + w.view(1, 1, -1, 1)
    first = (pixel * (parts * by * by) + i.view(1, -1, 1, 1) * by + j.view(1, 1, 1, -1)).reshape(-1)
    return rows.index_select(0, first + part * by * by if part else first)


def keep_row_major(x_11nc: Tensor) -> Tensor:
    """The same values. On the chip: row-major, where they would go to tiles and back again.

    Hazard: the reshape between a gather, [1, N, C], and a convolution, [1, 1, N, C], is done in tiles,
    although it is a view in either layout: two conversions, 4 passes over the data. Ahead of a gather it
    stays row-major. So a gather of the only image that there is, which is a copy, 2 passes, stands before the
    convolution.
    """
    if x_11nc.device.type == "cpu":
        return x_11nc
    return x_11nc.index_select(1, torch.arange(1, dtype=torch.int32, device=x_11nc.device))
