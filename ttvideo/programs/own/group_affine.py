"""`frame_moments`' sums, and a norm's weight and bias [2, C] -> scale and shift of each frame, [T * 2, C]."""

import math

import torch

from ttvideo.basics.errors import Refused
from ttvideo.programs.evaluate.table import op
from ttvideo.programs.evaluate.values import wide
from ttvideo.programs.own.sizes import CHUNK
from ttvideo.programs.program import Op, Value
from ttvideo.targets.boards import Chip

NAME = "ttnn.generic_op.group_affine"


def write(writer, sums: Value, affine: Value, rows: int, groups: int, parts: int, epsilon: float) -> Value:
    """Of frames of so many `rows`; a frame's channels are shared out in pieces of whole groups."""
    frames, channels = sums.type.shape[0] // (2 * parts), affine.type.shape[1]
    fits = (p for p in range(8, 0, -1) if groups % p == 0 and (p == 1 or channels % (16 * p) == 0))
    return writer.op(
        NAME, [sums, affine], ((2 * frames, channels), "bf16"),
        rows=rows, groups=groups, parts=parts, pieces=next(fits), epsilon=epsilon,
    )[0]  # fmt: skip


def read_again(op: Op, chip: Chip) -> int:
    """Every piece of the channels reads all sums, every core the norm's weight and bias."""
    (sums, affine), pieces = op.operands, op.attributes["pieces"]
    cores = min(op.results[0].type.shape[0] // 2 * pieces, math.prod(chip.grid_yx))
    return (pieces - 1) * sums.type.stored_bytes + (cores - 1) * affine.type.stored_bytes


@op("generic_op.group_affine", heeds="rows groups parts pieces epsilon")
def rule(op, sums, affine):
    a = op.attributes
    _, channels = affine.shape
    together, groups = CHUNK // channels, a["groups"]
    if channels % (a["pieces"] * channels // groups):
        raise Refused(
            "evaluate", f"{channels} channels in {a['pieces']} pieces", f"pieces of whole groups, of {groups}"
        )
    sums = wide(sums).reshape(-1, a["parts"], 2, CHUNK).sum(1)[..., : together * channels]
    sums = sums.reshape(-1, 2, together, channels).sum(2)
    mean, square = sums.reshape(-1, 2, groups, channels // groups).mean(3).div(a["rows"]).unbind(1)
    deviation = torch.rsqrt((square - mean * mean).clamp_min(0) + a["epsilon"])
    mean, deviation = (m.repeat_interleave(channels // groups, 1) for m in (mean, deviation))
    scale = deviation * wide(affine[0])
    return torch.stack([scale, wide(affine[1]) - mean * scale], 1).reshape(-1, channels)
