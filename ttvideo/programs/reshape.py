"""What `ttnn.reshape` costs: nothing where it is a view, and otherwise more than the tensor itself.

A reshape of tiles that is no view follows a map that the host computes once and that then stays in DRAM,
in the cache of kernels: 16 bytes for each run of elements that stay together, which is half the bytes of a
bf16 tensor and more (tt-metal, ttnn/cpp/ttnn/operations/data_movement/reshape_view/device/
reshape_tiled_program_factory.cpp). On the mocked p150 the sizes came out to the byte, where a map was made;
some small reshapes went without one.
"""

import math
from functools import lru_cache

import numpy as np

from ttvideo.programs.program import TILE, Op

FACE = 16  # a tile is stored as four faces of 16×16
SEGMENT_BYTES = 16
L1_ALIGNMENT = 16
PAGES_LOOKED_AT = 128

Shape3 = tuple[int, int, int]


def is_view(op: Op) -> bool:
    """Does this `ttnn.reshape` only rename the shape of the same buffer?

    The rule is TT-NN's own (tt-metal, ttnn/cpp/ttnn/operations/data_movement/reshape_view/reshape.cpp,
    `this_is_view`): the last dimension and the memory stay, and the tensor is row-major, or the
    next-to-last dimension stays too, or both next-to-last dimensions are whole tiles. A reshape on
    the host is a view always.
    """
    if op.name != "ttnn.reshape":
        return False
    before, after = op.operands[0].type, op.results[0].type
    if before.memory == "system":
        return True
    last = before.shape[-1:] == after.shape[-1:]
    rows = [(1, 1, *t.shape)[-2] for t in (before, after)]
    return (
        last
        and (before.memory, before.layout) == (after.memory, after.layout)
        and (before.layout == "row_major" or rows[0] == rows[1] or all(r % TILE == 0 for r in rows))
    )


def map_key(op: Op) -> tuple[Shape3, Shape3] | None:
    """The two shapes that the map is for, as TT-NN folds them to three dimensions; None where there is no
    map."""
    if op.name != "ttnn.reshape" or op.results[0].type.layout != "tile" or is_view(op):
        return None
    return _three(op.operands[0].type.shape), _three(op.results[0].type.shape)


@lru_cache(maxsize=4096)
def map_bytes(before: Shape3, after: Shape3) -> int:
    """Bytes of the map for a reshape. An estimate for more than 128 result tiles: it looks at 128 of them."""
    tiles = math.prod(_tiles(after))
    pages = np.unique(np.linspace(0, tiles - 1, min(tiles, PAGES_LOOKED_AT)).astype(np.int64))
    segments = max(_segments(int(page), before, after) for page in pages)
    segments += segments % L1_ALIGNMENT
    return tiles * segments * SEGMENT_BYTES


@lru_cache(maxsize=4096)
def tiles_read(before: Shape3, after: Shape3) -> int:
    """Tiles of the operand that are read: each one again for every result tile that draws on it.

    An estimate for more than 128 result tiles, from 128 of them.
    """
    tiles = math.prod(_tiles(after))
    pages = np.unique(np.linspace(0, tiles - 1, min(tiles, PAGES_LOOKED_AT)).astype(np.int64))
    return round(tiles * sum(len(_runs(int(page), before, after)) for page in pages) / len(pages))


def _three(shape: tuple[int, ...]) -> Shape3:
    shape = (1, 1, 1, *shape)
    return math.prod(shape[:-2]), shape[-2], shape[-1]


def _tiles(shape: Shape3) -> Shape3:
    return shape[0], -(-shape[1] // TILE), -(-shape[2] // TILE)


def _segments(page: int, before: Shape3, after: Shape3) -> int:
    """Entries of one result tile: for each operand tile it draws on, as many as the most divided one has."""
    counts = _runs(page, before, after)
    return int(counts.max() * len(counts))


def _runs(page: int, before: Shape3, after: Shape3) -> np.ndarray:
    """For each operand tile that one result tile draws on, how many runs of elements stay together."""
    _, down, across = _tiles(after)
    outer, within = divmod(page, down * across)
    row, column = (within // across) * TILE, (within % across) * TILE
    rows = np.arange(row, min(row + TILE, after[1]))[:, None]
    columns = np.arange(column, min(column + TILE, after[2]))[None, :]
    flat = ((outer * after[1] + rows) * after[2] + columns).ravel()
    to = (_offset(rows, columns) + 0 * flat.reshape(len(rows), -1)).ravel()
    plane, rest = np.divmod(flat, before[1] * before[2])
    r, c = np.divmod(rest, before[2])
    _, down, across = _tiles(before)
    source = plane * down * across + (r // TILE) * across + c // TILE
    offset = _offset(r, c)
    begins = np.ones(len(flat), bool)
    begins[1:] = (np.diff(source) != 0) | (np.diff(offset) != 1) | (np.diff(to) != 1)
    return np.unique(source[begins], return_counts=True)[1]


def _offset(row, column):
    """Where an element stands in its tile, face after face."""
    row, column = row % TILE, column % TILE
    face = (row // FACE) * (TILE // FACE) + column // FACE
    return face * FACE * FACE + (row % FACE) * FACE + column % FACE
