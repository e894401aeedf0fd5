"""What an op's kernels ask of DRAM: each operand read once and each result written once, but where TT-NN's
were counted to do otherwise (`findings/transfers.py`, TT-NN 0.81.1 on both simulated chips).

A rule by kind of op. A product of a tensor with itself reads it as each operand; with an activation it writes
its result, then reads and writes it again. Of a binary op, each operand is read a tile for each tile of the
result. A reshape reads a tile for each result tile that draws on it. A permutation that moves the last
dimension reads lines of 16 elements, those that are filled. What cuts tiles, and what repeats, goes through
rows and back; a sum over rows is stored in tiles of one row first; a batch norm is some twenty ops of TT-NN's
own. Convolutions as `ttvideo.programs.convolution` says, the project's own ops each in its file.

Hazard: the rules of operands that are spread, of permutations and of batch norms don't ask whether an operand
lies in L1, and count it as one in DRAM. A block compiled at level 1 was seen to have none there.
"""

import math
from collections.abc import Callable

from ttvideo.programs import own
from ttvideo.programs.convolution import Passes, conv2d, conv3d
from ttvideo.programs.program import ELEMENT_BYTES, TILE, Op, TensorType, Value
from ttvideo.programs.reshape import is_view, map_bytes, map_key, tiles_read
from ttvideo.targets.boards import Chip

LINE = 16  # elements: a row of a tile's face
REDUCTIONS = ("ttnn.sum", "ttnn.mean", "ttnn.max", "ttnn.min")
SPREADING = tuple(
    f"ttnn.{name}" for name in "add subtract multiply divide maximum minimum where eq ne gt ge lt le".split()
)


def traffic(op: Op, chip: Chip) -> Passes:
    """Bytes that kernels read and write, and the programs launched."""
    if is_view(op):
        return Passes(0, 0, 0)
    if op.name in RULES:
        return RULES[op.name](op, chip)
    return plain(op, own.COSTS[op.name](op, chip) if op.name in own.COSTS else 0)


def plain(op: Op, more_read: int = 0, more_written: int = 0, launches: int = 0) -> Passes:
    """Each operand and each result once, and what is more."""
    read = sum(map(in_dram, op.operands)) + more_read
    written = sum(map(in_dram, op.results)) + more_written
    return Passes(read, written, launches + int(read + written > 0))


def in_dram(value: Value) -> int:
    return value.type.stored_bytes if value.type and value.type.memory == "dram" else 0


def through_rows(op: Op) -> bool:
    """Is it done in rows, between a copy to rows and one to tiles? So a repetition, and a slice or a
    concatenation that cuts tiles."""
    if any(value.type.layout != "tile" for value in (*op.operands[:1], *op.results[:1]) if value.type):
        return False
    a = op.attributes
    if op.name == "ttnn.slice_static":
        return any(n % TILE for n in a["begins"][-2:]) or any(n != 1 for n in a["step"])
    if op.name == "ttnn.concat":
        rank = len(op.results[0].type.shape)
        return a["dim"] % rank >= rank - 2 and any(v.type.shape[a["dim"]] % TILE for v in op.operands)
    return op.name == "ttnn.repeat"


def in_rows(op: Op) -> Passes:
    to_rows, out = sum(v.type.logical_bytes for v in op.operands), op.results[0].type.logical_bytes
    moved = out if op.name == "ttnn.slice_static" else to_rows
    found = plain(op, moved + out, to_rows + out)
    return Passes(found.read, found.written, len(op.operands) + 2)


def slice_static(op: Op, chip: Chip) -> Passes:
    return in_rows(op) if through_rows(op) else taken(op, chip)


def taken(op: Op, chip: Chip) -> Passes:
    """Only what is taken is read."""
    found = plain(op)
    return Passes(min(found.read, found.written), found.written, found.launches)


def repeat(op: Op, chip: Chip) -> Passes:
    return in_rows(op) if through_rows(op) else plain(op)


def rows_gather(op: Op, chip: Chip) -> Passes:
    """Rows that are taken; their numbers are written anew, as another type. A column goes through two
    transpositions."""
    index, out = in_dram(op.operands[1]), in_dram(op.results[0])
    passes = 3 if op.attributes["column"] else 1
    return Passes(passes * out + 2 * index, passes * out + index, passes + 1)


def concat(op: Op, chip: Chip) -> Passes:
    """Of rows, along the last dimension, it goes through two transpositions."""
    out = op.results[0].type
    last = out.layout != "tile" and op.attributes["dim"] % len(out.shape) == len(out.shape) - 1
    found = plain(op)
    if last:
        return Passes(3 * found.read, 3 * found.written, 3 * found.launches)
    return in_rows(op) if through_rows(op) else found


def reshape(op: Op, chip: Chip) -> Passes:
    key, operand = map_key(op), op.operands[0]
    if key is None:
        return plain(op)
    read = int(tiles_read(*key) * TILE * TILE * ELEMENT_BYTES[operand.type.dtype]) + map_bytes(*key)
    return plain(op, read - in_dram(operand))


def permute(op: Op, chip: Chip) -> Passes:
    order, operand = op.attributes["permutation"], op.operands[0]
    last = len(order) - 1
    turned = list(order) == [*range(last - 1), last, last - 1]
    if operand.type.layout != "tile" or order[-2:-1] != [last] or turned:
        return plain(op)
    *rows, columns = operand.type.shape
    lines = math.prod(rows) * -(-columns // LINE) * LINE * ELEMENT_BYTES[operand.type.dtype]
    return plain(op, int(lines) - in_dram(operand))


def spread(op: Op, chip: Chip) -> Passes:
    """A binary op, or a choice: an operand that is smaller is read again for each tile."""
    out = op.results[0].type
    if out.layout != "tile":
        return plain(op)
    values = [value for value in op.operands if value.type]
    tiles = math.prod(out.buffer)
    read = sum(int(tiles * TILE * TILE * ELEMENT_BYTES[value.type.dtype]) for value in values)
    return plain(op, read - sum(map(in_dram, values)))


def product(op: Op, chip: Chip) -> Passes:
    again = in_dram(op.results[0]) if op.attributes.get("activation") else 0
    return plain(op, again, again, int(again > 0))


def attention(op: Op, chip: Chip) -> Passes:
    """Each chunk of queries walks all keys and values: an upper bound, as a head's cores may hand them on."""
    q, k, v = (value.type for value in op.operands[:3])
    chunk = op.attributes.get("program_config", {}).get("q_chunk_size", q.shape[-2])
    return plain(op, (-(-q.shape[-2] // chunk) - 1) * (k.stored_bytes + v.stored_bytes))


def reduction(op: Op, chip: Chip) -> Passes:
    """A sum over rows or columns is first stored with them kept, as 1 of 32 in a tile; then a reshape drops
    them."""
    shape, result = op.operands[0].type.shape, op.results[0].type
    dims = {dim % len(shape) for dim in op.attributes["dim_arg"] or range(len(shape))}
    if op.attributes["keep_dim"] or not dims & {len(shape) - 1, len(shape) - 2}:
        return plain(op)
    *outer, rows, columns = (1, *(1 if dim in dims else n for dim, n in enumerate(shape)))
    kept = stored((*outer, rows, columns), result)
    return plain(op, kept, kept, 1) if kept > in_dram(op.results[0]) else plain(op)


def stored(shape: tuple[int, ...], like: TensorType) -> int:
    """Bytes of a shape in tiles."""
    *outer, rows, columns = shape
    tiles = math.prod(outer) * -(-rows // TILE) * -(-columns // TILE)
    return int(tiles * TILE * TILE * ELEMENT_BYTES[like.dtype])


def rms_norm(op: Op, chip: Chip) -> Passes:
    """Each core reads the weight for itself."""
    x, *affine = op.operands
    rows = min(x.type.stored_bytes // stored((TILE, x.type.shape[-1]), x.type), math.prod(chip.grid_yx))
    return plain(op, (rows - 1) * sum(map(in_dram, affine)))


def batch_norm_training(op: Op, chip: Chip) -> Passes:
    """Of x [N, C, H, W]: two means by rows, then columns, then N, and what is made of them and x; a frame
    that isn't whole tiles is filled up with zeros before."""
    x, (n, c, h, w) = op.operands[0].type, op.operands[0].type.shape
    frames, by_rows = in_dram(op.operands[0]), stored((n, c, h, 1), x)
    means, channels = stored((n, c, 1, 1), x), stored((1, c, 1, 1), x)
    fill = frames + by_rows if h % TILE or w % TILE else 0
    read = 5 * frames + 2 * by_rows + 9 * means + 10 * channels
    written = 3 * frames + 2 * by_rows + 4 * means + 11 * channels
    return Passes(read + fill, written + fill, 20)


def convolution(counted: Callable[[Op, Chip], Passes]) -> Callable[[Op, Chip], Passes]:
    def with_weights(op: Op, chip: Chip) -> Passes:
        """Takes weights that the compiler left on the host to DRAM, in every run."""
        passes, sent = counted(op, chip), from_host(op)
        return Passes(passes.read, passes.written + sent, passes.launches, passes.scratch)

    return with_weights


def from_host(op: Op) -> int:
    """Bytes that the host sends, which no kernel writes."""
    return sum(v.type.logical_bytes for v in op.operands if v.type and v.type.memory == "system")


RULES: dict[str, Callable[[Op, Chip], Passes]] = {
    "ttnn.batch_norm_training": batch_norm_training, "ttnn.concat": concat,
    "ttnn.conv2d": convolution(conv2d), "ttnn.conv3d": convolution(conv3d), "ttnn.embedding": taken,
    "ttnn.linear": product, "ttnn.matmul": product, "ttnn.permute": permute, "ttnn.repeat": repeat,
    "ttnn.reshape": reshape, "ttnn.rms_norm": rms_norm, "ttnn.rows_gather": rows_gather,
    "ttnn.scaled_dot_product_attention": attention, "ttnn.slice_static": slice_static,
    **dict.fromkeys(REDUCTIONS, reduction), **dict.fromkeys(SPREADING, spread),
}  # fmt: skip
