"""Row-major stretches of the program: padding by a gather of rows, and the way from there to a convolution.

ttnn.conv2d takes row-major pixels, [1, 1, N, C], and a gather gives row-major rows. Everything else is in tiles.
"""

import torch
from torch import Tensor


def clamped(low: int, high: int, last: int, device) -> Tensor:
    """low ... high - 1 as int32, held within 0 ... last."""
    return torch.arange(low, high, dtype=torch.int32, device=device).clamp(0, last)


def pad_rows(x_nc: Tensor, size: tuple[int, int], above: int, beside: int) -> Tensor:
    """Replicate padding, [H * W, C] -> [(H + 2 above) * (W + 2 beside), C]: each pixel a row, edges read again.

    Hazard: F.pad(mode="replicate") is slices and concatenations along W, whose rows don't begin at tile edges, and
    in bf16 it goes through float32 (tt-forge-models#926). One gather reads each row and writes each padded row.
    """
    height, width = size
    row = clamped(-above, height + above, height - 1, x_nc.device)
    column = clamped(-beside, width + beside, width - 1, x_nc.device)
    return x_nc.index_select(0, (row.view(-1, 1) * width + column.view(1, -1)).reshape(-1))


def reflect_rows(x_nc: Tensor, size: tuple[int, int], above: int, beside: int) -> Tensor:
    """The same with reflection: the edge isn't read again, what lies behind it is. Sizes above the padding's only."""
    row, column = (
        (n - 1) - ((n - 1) - torch.arange(-pad, n + pad, dtype=torch.int32, device=x_nc.device).abs()).abs()
        for n, pad in zip(size, (above, beside))
    )
    return x_nc.index_select(0, (row.view(-1, 1) * size[1] + column.view(1, -1)).reshape(-1))


def keep_row_major(x_11nc: Tensor) -> Tensor:
    """The same values. On the chip: row-major, where they would go to tiles and back again.

    Hazard: the reshape between a gather, [1, N, C], and a convolution, [1, 1, N, C], is done in tiles, although it
    is a view in either layout: two conversions, 4 passes over the data. Ahead of a gather it stays row-major. So a
    gather of the only image that there is, which is a copy, 2 passes, stands before the convolution.
    """
    if x_11nc.device.type == "cpu":
        return x_11nc
    return x_11nc.index_select(1, torch.arange(1, dtype=torch.int32, device=x_11nc.device))
