"""Sums of x and x * x over the chunks of each of a frame's `parts`: [1, T, H, W, C] -> [T * parts * 2, 1024],
float32.

x may be made on the way, and is then given, too (see `on_the_way`).
"""

import torch
import torch.nn.functional as F

from ttvideo.programs.evaluate.table import FOLLOWED, op
from ttvideo.programs.evaluate.values import products, wide
from ttvideo.programs.own.on_the_way import made, taken
from ttvideo.programs.own.sizes import CHUNK
from ttvideo.programs.program import Value

NAME = "ttnn.generic_op.frame_moments"
SUMS = "float32, one product added after another"


def write(writer, x: Value, parts: int, **arithmetic) -> Value:
    (operands, how, given), sums = taken(writer, x), ((x.type.shape[1] * parts * 2, CHUNK), "f32")
    return writer.op(NAME, operands, sums, *given, parts=parts, **how, **arithmetic)[0]


@op("generic_op.frame_moments", heeds="parts expansion", within=16, because=SUMS, fidelities=FOLLOWED)
def rule(op, x, *rest):
    """A chunk is as many whole pixels as 1,024 elements hold; it ends in zeros where they don't fill it."""
    x = made(op, x, *rest)
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
        torch.stack([piece.double().sum(1), square.double().sum(1)], 1)
        for piece, square in zip(pieces, squares, strict=True)
    ]
    return (torch.stack(sums, 1).reshape(-1, CHUNK).float(), x)[: len(op.results)]
