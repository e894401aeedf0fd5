"""silu((x * a + b) * y + s) behind its past, where y and s are maps of the latents, as coarse as they are.

`affine` [2, C] has a and b, `maps` [1, L, h, w, 2 * C] y and s of each pixel of L latent frames; x is [1, T,
H, W, C], H and W the same multiple of h and w. Of an odd number of frames, the first goes with the first
latent frame alone.
"""

import math

import torch
import torch.nn.functional as F

from ttvideo.programs.evaluate.table import op
from ttvideo.programs.evaluate.values import rounded, wide
from ttvideo.programs.own.rms_norm import after
from ttvideo.programs.own.sizes import CHUNK, PAST
from ttvideo.programs.program import Op, Value
from ttvideo.targets.boards import Chip

NAME = "ttnn.generic_op.spatial_norm_silu"
VECTOR = "the vector unit's sigmoid is a polynomial, to a step in bf16"


def write(
    writer, x: Value, affine: Value, maps: Value, past: Value | None, before: str, parts: int
) -> list[Value]:
    """The clip after its past, [1, 2 + T, H, W, C], and what stays."""
    _, t, *frame = x.type.shape
    results = ((1, PAST + t, *frame), "bf16"), ((1, PAST, *frame), "bf16")
    operands = [x, affine, maps] + ([past] if past else [])
    return writer.op(NAME, operands, *results, before="given" if past else before, parts=parts)


def picked(frames: int, latents: int) -> list[int]:
    """Which latent frame goes with each frame."""
    if frames > 1 and frames % 2:
        return [0, *(1 + i * (latents - 1) // (frames - 1) for i in range(frames - 1))]
    return [i * latents // frames for i in range(frames)]


def read_again(op: Op, chip: Chip) -> int:
    """A map's pixel is read for each chunk of a line that it is in, and a and b by every core, to fill a
    tile."""
    x, affine, maps = (value.type for value in op.operands[:3])
    _, frames, height, width, channels = x.shape
    by = height // maps.shape[2]
    pixels, together = torch.arange(height * width), CHUNK // channels
    latents = pixels // width // by * maps.shape[3] + pixels % width // by
    new = (pixels % together == 0) | (latents != latents.roll(1))
    cores = min(frames * op.attributes["parts"], math.prod(chip.grid_yx))
    maps_read = frames * int(new.sum()) * 2 * channels * 2 - maps.stored_bytes
    return maps_read + (cores * together - 1) * affine.stored_bytes


@op("generic_op.spatial_norm_silu", heeds="parts before", within=3, because=VECTOR)
def rule(op, x, affine, maps, *past):
    by, each = x.shape[2] // maps.shape[2], picked(x.shape[1], maps.shape[1])
    maps = wide(maps[0]).repeat_interleave(by, 1).repeat_interleave(by, 2)
    scaled = wide(x[0]) * wide(affine[0]) + wide(affine[1])
    news = []
    for frame, latent in zip(scaled, each, strict=True):
        y, s = maps[latent].chunk(2, -1)
        news.append(rounded(F.silu(frame * y + s), x.dtype))
    return after(op.attributes, torch.stack(news), past[0][0] if past else None)
