"""Frames as they leave the chip: [1, T, H, W, C], C at least p * p * 3, ordered (p, p, 3) -> [T, p * H, p * W * 3].

In bf16, held within -1 and 1 where `clamped`; or in 8 bits, as diffusers' `VaeImageProcessor.postprocess` makes them of -1
to 1: halves, plus a half, times 255, rounded.
"""

import torch

from ttvideo.programs.evaluate.table import op
from ttvideo.programs.evaluate.values import wide
from ttvideo.programs.program import Value

NAME = "ttnn.generic_op.frames"
COLOURS = 3


def write(writer, x: Value, patch: int, clamped: bool, dtype: str = "bf16") -> Value:
    _, t, h, w, _ = x.type.shape
    shape = (t, patch * h, patch * w * COLOURS)
    return writer.op(NAME, [x], (shape, dtype), patch=patch, clamped=clamped)[0]


@op("generic_op.frames", heeds="patch clamped")
def rule(op, x):
    p, (_, t, h, w, _) = op.attributes["patch"], x.shape
    rows = x[0, ..., : p * p * COLOURS].reshape(t, h, w, p, p, COLOURS).permute(0, 1, 3, 2, 4, 5)
    rows = wide(rows.reshape(t, p * h, p * w * COLOURS))
    if op.results[0].type.dtype == "u8":
        return rows.div(2).add(0.5).clamp(0, 1).mul(255).round().to(torch.uint8)
    return rows.clamp(-1, 1) if op.attributes["clamped"] else rows
