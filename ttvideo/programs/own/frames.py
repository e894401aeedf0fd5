"""Frames as they leave the chip: [1, T, H, W, C], C at least p * p * 3, ordered (p, p, 3) -> [T, p * H, p * W
* 3].

In bf16, held within -1 and 1 where `clamped`; or in 8 bits, as diffusers' `VaeImageProcessor.postprocess`
makes them of -1 to 1: halves, plus a half, times 255, rounded. Such a line has one byte more, its last, which
is 1 where a value that went into it isn't finite: 8 bits can't say so themselves.
"""

import torch

from ttvideo.programs.evaluate.table import op
from ttvideo.programs.evaluate.values import wide
from ttvideo.programs.program import Value

NAME = "ttnn.generic_op.frames"
COLOURS = 3


def write(writer, x: Value, patch: int, clamped: bool, dtype: str = "bf16") -> Value:
    """`dtype` is "bf16" or "u8"."""
    _, t, h, w, _ = x.type.shape
    shape = (t, patch * h, patch * w * COLOURS + (dtype == "u8"))
    return writer.op(NAME, [x], (shape, dtype), patch=patch, clamped=clamped)[0]


@op("generic_op.frames", heeds="patch clamped")
def rule(op, x):
    p, (_, t, h, w, _) = op.attributes["patch"], x.shape
    rows = wide(x[0, ..., : p * p * COLOURS])
    lost = ~rows.isfinite().flatten(2).all(2)
    rows = rows.reshape(t, h, w, p, p, COLOURS).permute(0, 1, 3, 2, 4, 5).reshape(t, p * h, p * w * COLOURS)
    if op.results[0].type.dtype == "u8":
        rows = rows.nan_to_num(0).div(2).add(0.5).clamp(0, 1).mul(255).round()
        return torch.cat([rows, lost.repeat_interleave(p, 1)[..., None]], 2).to(torch.uint8)
    return rows.clamp(-1, 1) if op.attributes["clamped"] else rows


def video(rows: torch.Tensor) -> torch.Tensor:
    """The op's result as [1, 3, T, H, W] from -1 to 1: in bf16, or of 8 bits in float32, NaN in lines that
    were lost."""
    if rows.dtype == torch.uint8:
        rows, lost = rows[..., :-1], rows[..., -1:].bool()
        rows = (rows.float() / 127.5 - 1).masked_fill(lost, torch.nan)
    return rows.unflatten(2, (-1, COLOURS)).permute(3, 0, 1, 2)[None]
