"""Upsampling of frames [H * W, C]: pixels are rows, so they are gathered, in whole rows."""

import torch
from torch import Tensor

from ttvideo.decoders.row_major import clamped


def nearest(x_nc: Tensor, size: tuple[int, int], by: int = 2, edges: tuple[int, int] = (0, 0)) -> Tensor:
    """[H * W, C] -> [by H * by W, C], each pixel repeated; with `edges`, those again so many times around it."""
    _, width = size
    row, column = (clamped(-e, n * by + e, n * by - 1, x_nc.device) // by for n, e in zip(size, edges))
    return x_nc.index_select(0, (row.view(-1, 1) * width + column.view(1, -1)).reshape(-1))


def shuffled(x_nc: Tensor, size: tuple[int, int], by: int = 2, part: int = 0, parts: int = 1) -> Tensor:
    """Depth to space: [H * W, (parts, by, by, C)] -> [by H * by W, C], one of the parts."""
    height, width = size
    rows = x_nc.reshape(x_nc.shape[0] * parts * by * by, -1)
    h, i, w, j = (torch.arange(n, dtype=torch.int32, device=x_nc.device) for n in (height, by, width, by))
    pixel = h.view(-1, 1, 1, 1) * width + w.view(1, 1, -1, 1)
    first = (pixel * (parts * by * by) + i.view(1, -1, 1, 1) * by + j.view(1, 1, 1, -1)).reshape(-1)
    return rows.index_select(0, first + part * by * by if part else first)
