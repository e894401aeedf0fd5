"""The work that each op of a compiled program is: `works`.

An op that TT-NN does in several programs is several works, one after another. Bytes are those of
`ttvideo.programs.cost`.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import replace

from ttvideo.programs.conv3d_blocks import Blocks, Size
from ttvideo.programs.convolution import conv2d, geometry
from ttvideo.programs.cost import DATA_MOVEMENT, FREE, OpCost, once, op_cost
from ttvideo.programs.program import TILE, Op, TensorType
from ttvideo.programs.seconds.work import (
    TRANSCENDENTAL,
    Attention,
    Machine,
    Moved,
    Product,
    Work,
    attention_work,
    bytes_work,
    conv3d_work,
    machine,
    matmul_work,
    pages_of,
)
from ttvideo.programs.traffic import through_rows
from ttvideo.targets.boards import Chip

DEFAULT_FIDELITY = (
    "hifi4"  # which the compiler asks for where it says so, and TT-NN takes of itself on a Blackhole
)


def works(op: Op, chip: Chip, fidelity: str | None = None) -> tuple[OpCost, list[Work]]:
    """The op's counted cost, and its works; none for a view and what else starts no program."""
    if op.name in FREE or not op.results:
        return OpCost(op.name, op.location, 0, 0, 0, 0), []
    cost, on = op_cost(op, chip), machine(chip)
    fidelity = fidelity or op.attributes.get("compute_config", {}).get("math_fidelity", DEFAULT_FIDELITY)
    if not cost.launches:
        return cost, []
    if op.name in COSTED_AS_PRODUCTS:
        return cost, list(COSTED_AS_PRODUCTS[op.name](op, cost, on, fidelity))
    if through_rows(op):
        return cost, list(_through_rows(op, cost, on))
    return cost, [_by_bytes(op, cost, on)]


def _conv3d(op: Op, cost: OpCost, on: Machine, fidelity: str) -> Iterator[Work]:
    a, out = op.attributes, op.results[0].type.shape
    config = a["conv3d_config"]
    whole = _up(a["out_channels"])
    c_in = config.get("c_in_block") or a["in_channels"]
    c_out = min(config.get("c_out_block") or whole, whole)
    blocks = Blocks(config["t_out_block"], config["h_out_block"], config["w_out_block"], c_out, c_in)
    size = Size(tuple(out[1:4]), a["in_channels"], whole, tuple(a["kernel_size"]), tuple(a["padding"]))
    found = conv3d_work(size, blocks, on, fidelity, op)
    batch = (
        {name: term * a["batch_size"] for name, term in found.terms.items()}
        if a["batch_size"] > 1
        else found.terms
    )
    yield replace(found, terms=batch, floor_us=on.floor_us(cost.flops, cost.moved, fidelity))


def _conv2d(op: Op, cost: OpCost, on: Machine, fidelity: str) -> Iterator[Work]:
    """Slice by slice: the product of patches in L1 with the weights, and all else that moves, from DRAM and
    to it."""
    conv, a = geometry(op, on.chip), op.attributes
    reach = conv.dilation[1] * (conv.kernel[1] - 1) + 1
    inner = math.prod(conv.kernel) * -(-conv.channels // a["groups"])
    slices = conv.slices()
    for columns in slices:
        width = (columns - reach) // conv.stride[1] + 1
        product = Product(a["batch_size"] * conv.height * width, inner, conv.out_channels, l1=True)
        yield replace(matmul_work(product, on, fidelity, kind="conv2d"), floor_us=0.0)
    passes = conv2d(op, on.chip)
    image, out = op.operands[0].type, op.results[0].type
    tiles = pages_of(out.shape, "tile") * (1 + (len(slices) > 1))
    rows = pages_of(image.shape, "row") if image.layout == "row_major" else 0
    moved = passes.read + passes.written - len(slices) * conv.weight_bytes
    floor = on.floor_us(cost.flops, cost.moved, fidelity)
    yield replace(bytes_work("move", Moved(max(moved, 0), tiles, rows), on), floor_us=floor)


def _matmul(op: Op, cost: OpCost, on: Machine, fidelity: str) -> Iterator[Work]:
    left, right, out = op.operands[0].type, op.operands[1].type, op.results[0].type
    inner = left.shape[-2] if op.attributes.get("transpose_a") else left.shape[-1]
    shared = (
        math.prod(right.shape[:-2]) == 1
    )  # one right-hand side: all rows of all batches are rows of one product
    rows, batch = math.prod(out.shape[:-1]), 1
    if not shared:
        batch, rows = math.prod(out.shape[:-2]), (1, *out.shape)[-2]
    config = op.attributes.get("matmul_program_config")
    config = config if isinstance(config, dict) and "in0_block_w" in config else {}
    block = None
    if config and {"out_block_h", "out_block_w"} <= config.keys():
        block = (config["out_block_h"], config["in0_block_w"], config["out_block_w"])
    narrow = config.get("in0_block_w") == 1
    product = Product(
        rows, inner, out.shape[-1], batch, block, narrow, bytes_each=left.stored_bytes / _elements(left)
    )
    yield replace(
        matmul_work(product, on, fidelity, cost.moved), floor_us=on.floor_us(cost.flops, cost.moved, fidelity)
    )


def _attention(op: Op, cost: OpCost, on: Machine, fidelity: str) -> Iterator[Work]:
    q, k = op.operands[0].type, op.operands[1].type
    batch, heads, queries, width = q.shape
    config = op.attributes.get("program_config")
    config = config if isinstance(config, dict) else {}
    chunks = (config["q_chunk_size"], config["k_chunk_size"]) if "q_chunk_size" in config else None
    causal = bool(op.attributes.get("is_causal", False))
    of = Attention(
        batch, heads, queries, k.shape[2], width, k.shape[1], causal, chunks, q.stored_bytes / _elements(q)
    )
    yield attention_work(of, on, fidelity, cost.moved)


COSTED_AS_PRODUCTS = {
    "ttnn.conv3d": _conv3d, "ttnn.conv2d": _conv2d, "ttnn.matmul": _matmul, "ttnn.linear": _matmul,
    "ttnn.scaled_dot_product_attention": _attention,
}  # fmt: skip


def _through_rows(op: Op, cost: OpCost, on: Machine) -> Iterator[Work]:
    """A slice or a concatenation that cuts tiles: to rows, there, and to tiles again."""
    out = op.results[0].type
    for value in op.operands:
        rows = pages_of(value.type.shape, "row")
        moved = value.type.stored_bytes + value.type.logical_bytes
        yield bytes_work(
            "untilize", Moved(moved, pages_of(value.type.shape, "tile"), rows, _ragged(value.type)), on
        )
    rows = pages_of(out.shape, "row")
    yield bytes_work("move", Moved(2 * out.logical_bytes, 0, 2 * rows), on)
    back = Moved(
        out.logical_bytes + out.stored_bytes,
        pages_of(out.shape, "tile"),
        rows,
        _ragged(out),
        floor=cost.moved,
    )
    yield bytes_work("tilize", back, on)


def _by_bytes(op: Op, cost: OpCost, on: Machine) -> Work:
    types = [value.type for value in (*op.operands, *op.results) if value.type]
    before, after = types[0], op.results[0].type
    tiles = sum(pages_of(t.shape, "tile") for t in types if t.layout == "tile")
    rows = sum(pages_of(t.shape, "row") for t in types if t.layout != "tile")
    if op.name == "ttnn.slice_static":  # only what is taken is asked for
        page = "tile" if after.layout == "tile" else "row"
        tiles, rows = (2 * pages_of(after.shape, page) * (page == one) for one in ("tile", "row"))
    if op.name == "ttnn.to_layout" and before.layout != after.layout:
        kind = "tilize" if after.layout == "tile" else "untilize"
        return bytes_work(kind, Moved(cost.moved, tiles, rows, _ragged(after)), on)
    if op.name == "ttnn.reshape":
        return bytes_work("reshape", Moved(cost.moved, tiles, rows), on)
    if op.name in DATA_MOVEMENT:
        return bytes_work("move", Moved(cost.moved, tiles, rows), on)
    size = max(_elements(t) for t in types)
    out_tiles = -(-size // TILE**2)
    fewer = (
        sum(_elements(v.type) < _elements(after) for v in op.operands if v.type)
        if op.name in SPREADING
        else 0
    )
    hard = out_tiles * bool(
        TRANSCENDENTAL & {*re.split(r"\W+|_", f"{op.name} {op.attributes.get('activations', '')}")}
    )
    # A smaller operand, read again for each tile, was fitted by tiles, and its bytes as read once.
    told = once(op) if fewer else cost.moved
    moved = Moved(told, tiles, rows, broadcast=fewer * out_tiles, hard=hard, floor=cost.moved)
    return bytes_work("elementwise", moved, on)


# Of two operands; the smaller one is spread over the other.
SPREADING = {f"ttnn.{name}" for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum")}


def _ragged(one: TensorType) -> int:
    """Rows of a shape that ends within a tile."""
    rows, columns = (1, *one.shape)[-2:]
    return pages_of(one.shape, "row") if rows % TILE or columns % TILE else 0


def _elements(one: TensorType) -> int:
    return max(math.prod(one.shape), 1)


def _up(channels: int) -> int:
    return -(-channels // TILE) * TILE
