"""`frame_moments`' sums, and a norm's weight and bias [2, C] -> scale and shift of each frame, [T * 2, C].

The groups are of so many `channels`; what is more are zeros, to fill up tiles. With all frames' `parts` and
`rows` for one's, the statistics are those of all frames together.
"""

import math

import torch
import torch.nn.functional as F

from ttvideo.basics.errors import Refused
from ttvideo.programs.evaluate.table import op
from ttvideo.programs.evaluate.values import wide
from ttvideo.programs.own.sizes import CHUNK
from ttvideo.programs.program import Op, Value
from ttvideo.targets.boards import Chip

NAME = "ttnn.generic_op.group_affine"


def write(
    writer, sums: Value, affine: Value, channels: int, rows: int, groups: int, parts: int, epsilon: float
) -> Value:
    """Of frames of so many `rows`; a frame's channels are shared out in pieces of whole groups."""
    frames, whole = sums.type.shape[0] // (2 * parts), affine.type.shape[1]
    fits = (p for p in range(8, 1, -1) if groups % p == 0 and channels % (16 * p) == 0 and channels == whole)
    more = {} if channels == whole else {"channels": channels}
    return writer.op(
        NAME, [sums, affine], ((2 * frames, whole), "bf16"),
        rows=rows, groups=groups, parts=parts, pieces=next(fits, 1), epsilon=epsilon, **more,
    )[0]  # fmt: skip


def read_again(op: Op, chip: Chip) -> int:
    """Every piece of the channels reads all sums, every core the norm's weight and bias."""
    (sums, affine), pieces = op.operands, op.attributes["pieces"]
    cores = min(op.results[0].type.shape[0] // 2 * pieces, math.prod(chip.grid_yx))
    return (pieces - 1) * sums.type.stored_bytes + (cores - 1) * affine.type.stored_bytes


@op("generic_op.group_affine", heeds="rows groups parts pieces epsilon channels")
def rule(op, sums, affine):
    a = op.attributes
    _, whole = affine.shape
    channels, together, groups = a.get("channels", whole), CHUNK // whole, a["groups"]
    if whole % (a["pieces"] * channels // groups) and a["pieces"] > 1:
        raise Refused(
            "evaluate", f"{channels} channels in {a['pieces']} pieces", f"pieces of whole groups, of {groups}"
        )
    sums = wide(sums).reshape(-1, a["parts"], 2, CHUNK).sum(1)[..., : together * whole]
    sums = sums.reshape(-1, 2, together, whole).sum(2)[..., :channels]
    mean, square = sums.reshape(-1, 2, groups, channels // groups).mean(3).div(a["rows"]).unbind(1)
    deviation = torch.rsqrt((square - mean * mean).clamp_min(0) + a["epsilon"])
    mean, deviation = (m.repeat_interleave(channels // groups, 1) for m in (mean, deviation))
    scale = deviation * wide(affine[0, :channels])
    found = torch.stack([scale, wide(affine[1, :channels]) - mean * scale], 1).reshape(-1, channels)
    return F.pad(found, (0, whole - channels))
