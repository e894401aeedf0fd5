"""The project's own ops (ttvideo/ttnn/host/own_ops.py): norms and the pixel shuffle on rows of channels, [1, T, H, W, C]."""

import torch
import torch.nn.functional as F

from ttvideo.basics.errors import Refused
from ttvideo.programs.evaluate.table import FOLLOWED, op
from ttvideo.programs.evaluate.values import products, wide

CHUNK = 1024  # elements of a tile
VECTOR = "the vector unit's sigmoid is a polynomial, to a step in bf16"
SUMS = "float32, one product added after another"


@op("generic_op.frame_moments", heeds="parts", within=16, because=SUMS, fidelities=FOLLOWED)
def frame_moments(op, x):
    """Sums of x and x * x over the chunks of each of a frame's `parts`: -> [T * parts * 2, 1024], float32.

    A chunk is as many whole pixels as 1,024 elements hold; it ends in zeros where they don't fill it.
    """
    _, frames, height, width, channels = x.shape
    together, parts = CHUNK // channels, op.attributes["parts"]
    rows = wide(x).reshape(frames, height * width, channels)
    chunks = -(-rows.shape[1] // together)
    rows = F.pad(rows, (0, 0, 0, chunks * together - rows.shape[1])).reshape(
        frames, chunks, together * channels
    )
    rows = F.pad(rows, (0, CHUNK - together * channels))
    ends = [part * chunks // parts for part in range(parts + 1)]
    pieces = [rows[:, begin:end] for begin, end in zip(ends, ends[1:])]
    squares = [products(op, piece, piece, torch.mul) for piece in pieces]
    sums = [
        torch.stack([x.double().sum(1), xx.double().sum(1)], 1) for x, xx in zip(pieces, squares, strict=True)
    ]
    return torch.stack(sums, 1).reshape(-1, CHUNK).float()


@op("generic_op.group_affine", heeds="rows groups parts pieces epsilon")
def group_affine(op, sums, affine):
    """Those sums, and a norm's weight and bias [2, C] -> scale and shift of each frame, [T * 2, C]."""
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


@op("generic_op.norm_silu", heeds="parts", within=3, because=VECTOR, fidelities=FOLLOWED)
def norm_silu(op, x, affine, *past):
    """silu(x * scale + shift) after its past, [1, 2 + T, H, W, C], and the last two frames of that.

    The past is the two frames given or, where a clip begins, its first frame twice.
    """
    scale, shift = wide(affine).reshape(-1, 2, 1, 1, affine.shape[-1]).unbind(1)
    scaled = products(op, scale, wide(x[0]), torch.mul)
    new = F.silu(shift + scaled).to(x.dtype)
    clip = torch.cat([past[0][0] if past else new[:1].expand(2, -1, -1, -1), new])
    return clip[None], clip[None, -2:]


@op("generic_op.depth_to_space", heeds="expansion")
def depth_to_space(op, x):
    """Channels (st, sh, sw, C) to pixels: [1, T, H, W, st * sh * sw * C] -> [1, st * T, sh * H, sw * W, C]."""
    (st, sh, sw), (_, t, h, w, _) = op.attributes["expansion"], x.shape
    parts = x.reshape(t, h, w, st, sh, sw, -1).permute(0, 3, 1, 4, 2, 5, 6)
    return parts.reshape(1, t * st, h * sh, w * sw, -1)
