"""Measured times, one a line of a CSV file: what each is of, where it is from, and the work that it was.

`measured.csv` beside this file holds what is published. A card owner's file has the same columns; those that
an op doesn't have stay empty. Shapes and blocks are numbers with an x between them:

    op        conv3d, matmul, sdpa, conv2d (its core program, as the product that it is), start (of an empty
              program), or one of `BYTES_OPS`
    chip      blackhole or wormhole_b0
    cores     how many were at work or free: 110, or 13x10, columns by rows
    in0 in1 out   conv3d: T×H×W×C in and out; matmul, conv2d: M×K, K×N, M×N; sdpa: batch × heads × length ×
              width of q, k, out
    kernel padding   conv3d's, T×H×W
    blocks    conv3d: T×H×W×C_out×C_in; matmul: tiles of rows × inner × columns; sdpa: chunks of q × of k
    causal    sdpa: 0 or 1
    memory    DRAM, or L1 where only in1 comes from DRAM
    layout dtype   tile or row; bf16, f32, bfp_bf8, …; in>out where they differ
    fidelity  lofi, hifi2, hifi3, hifi4
    us        microseconds on the device
    clock     device (profiler), trace, or host, which holds 60 to 100 µs of dispatch
    state     which kernel or program. conv3d: the month; matmul: auto, tuned, default (one tile deep) …;
              unary: the function; tilize, untilize: "padded" where TT-NN's op for shapes that end within a
              tile was taken
    model     whose shapes, for leaving a model out
    source note   text
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from ttvideo.basics.errors import Refused
from ttvideo.programs.conv3d_blocks import Blocks, Size, buffer_bytes, l1_bytes
from ttvideo.programs.program import ELEMENT_BYTES, TILE
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
    stored_bytes,
)
from ttvideo.targets.boards import BLACKHOLE, PASSES, WORMHOLE

MEASURED = Path(__file__).with_name("measured.csv")
COLUMNS = (
    "op chip cores in0 in1 out kernel padding blocks subblock causal memory layout dtype fidelity us clock"
    " state model source note"
).split()
CHIPS = {chip.arch: chip for chip in (BLACKHOLE, WORMHOLE)}
CLOCKS = ("device", "trace", "host")
# Ops that a time is fitted to by their bytes, and by which kind.
BYTES_OPS = {
    "unary": "elementwise",
    "binary": "elementwise",
    "typecast": "elementwise",
    "layer_norm": "elementwise",
    "reduce": "elementwise",
    "group_norm": "elementwise",
    "concat": "move",
    "slice": "move",
    "transpose": "move",
    "permute": "move",
    "copy": "move",
    "split": "move",
    "heads": "move",
    "upsample": "move",
    "tilize": "tilize",
    "untilize": "untilize",
    "reshape": "reshape",
}


@dataclass(frozen=True)
class Row:
    line: int
    op: str
    work: Work | None  # None for "start"
    us: float
    given: dict[str, str]

    @property
    def model(self) -> str:
        return self.given["model"]


def read_rows(path: Path = MEASURED) -> list[Row]:
    """All rows of a file. Raises `Refused` with a line for each bad row."""
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise Refused(
                str(path), f"a header without {', '.join(missing)}", f"the columns {','.join(COLUMNS)}"
            )
        rows, bad = [], []
        for given in reader:
            try:
                rows.append(_row(reader.line_num, {name: (given[name] or "").strip() for name in COLUMNS}))
            except Refused as refused:
                bad.append(f"line {reader.line_num}: {refused}")
    if bad:
        count = f"{len(bad)} bad row" + "s" * (len(bad) > 1)
        raise Refused(str(path), count, "rows that hold:\n" + "\n".join(bad))
    return rows


def _row(line: int, given: dict[str, str]) -> Row:
    op = given["op"]
    if op not in ("start", *WORKS, *BYTES_OPS):
        raise Refused("op", repr(op), f"one of {', '.join(('start', *WORKS, *BYTES_OPS))}")
    try:
        us = float(given["us"])
    except ValueError:
        raise Refused("us", repr(given["us"]), "a number of microseconds") from None
    if not 0 < us < math.inf:
        raise Refused("us", given["us"], "a time above 0")
    _one_of("clock", given, CLOCKS)
    on = _machine(given)
    if op == "start":
        return Row(line, op, None, us, given)
    work = WORKS[op](given, on) if op in WORKS else _bytes(given, on)
    if us < work.floor_us:
        raise Refused(
            "us",
            given["us"],
            f"at least the chip's {work.floor_us:.4g} µs at its peak; is it in microseconds?",
        )
    return Row(line, op, work, us, given)


def _machine(given: dict[str, str]) -> Machine:
    chip = CHIPS[_one_of("chip", given, CHIPS)]
    cores = _numbers("cores", given, (1, 2))
    made = machine(chip, grid_xy=cores) if len(cores) == 2 else machine(chip, cores[0])
    if made.cores > 140:
        raise Refused("cores", given["cores"], "no more than the 140 of a Blackhole")
    return made


def _conv3d(given: dict[str, str], on: Machine) -> Work:
    before, after = _numbers("in0", given, (4,)), _numbers("out", given, (4,))
    kernel, padding = _numbers("kernel", given, (3,)), _numbers("padding", given, (3,), least=0)
    blocks = Blocks(*_numbers("blocks", given, (5,)))
    *pixels, c_in = before
    *out, c_out = after
    need = tuple(n + 2 * pad - k + 1 for n, pad, k in zip(pixels, padding, kernel, strict=True))
    if tuple(out) != need:
        raise Refused(
            "out", given["out"], f"{'x'.join(map(str, need))} by channels, from in0, kernel and padding"
        )
    whole = -(-c_out // TILE) * TILE
    if c_in % blocks.c_in or blocks.c_in % TILE or blocks.c_out % TILE or whole % blocks.c_out:
        raise Refused("blocks", given["blocks"], f"parts of {c_in} and {whole} channels, in whole tiles")
    size = Size(tuple(out), c_in, whole, kernel, padding)
    # With an input that is too large to be gathered, each patch is read for itself.
    taken = l1_bytes(size, blocks) or buffer_bytes(size, blocks)
    if taken > on.chip.l1_bytes:
        raise Refused(
            "blocks", given["blocks"], f"no more L1 than {on.chip.l1_bytes} bytes, these take {taken}"
        )
    return conv3d_work(size, blocks, on, _one_of("fidelity", given, PASSES))


def _matmul(given: dict[str, str], on: Machine) -> Work:
    (m, k), right, out = (_numbers(name, given, (2,)) for name in ("in0", "in1", "out"))
    if right[0] != k or out != (m, right[1]):
        raise Refused(
            "out", f"{given['in0']} by {given['in1']} to {given['out']}", f"{m}x{k} by {k}xN to {m}xN"
        )
    block = _numbers("blocks", given, (3,)) if given["blocks"] else None
    l1 = _one_of("memory", given, ("DRAM", "L1")) == "L1"
    product = Product(
        m, k, right[1], 1, block, given["state"] == "default", l1, ELEMENT_BYTES[_types(given)[0]]
    )
    return matmul_work(product, on, _one_of("fidelity", given, PASSES), kind=given["op"])


def _sdpa(given: dict[str, str], on: Machine) -> Work:
    q, kv, out = (_numbers(name, given, (4,)) for name in ("in0", "in1", "out"))
    if out != q or (kv[0], kv[3]) != (q[0], q[3]) or q[1] % kv[1]:
        raise Refused(
            "out",
            f"{given['in0']} on {given['in1']} to {given['out']}",
            "batch, width and out as q's, heads of whole groups",
        )
    causal = _one_of("causal", given, ("0", "1")) == "1"
    chunks = _numbers("blocks", given, (2,)) if given["blocks"] else None
    of = Attention(q[0], q[1], q[2], kv[2], q[3], kv[1], causal, chunks, ELEMENT_BYTES[_types(given)[0]])
    return attention_work(of, on, _one_of("fidelity", given, PASSES))


WORKS = {"conv3d": _conv3d, "matmul": _matmul, "conv2d": _matmul, "sdpa": _sdpa}


def _bytes(given: dict[str, str], on: Machine) -> Work:
    op, (type_in, type_out), (layout_in, layout_out) = given["op"], _types(given), _layouts(given)
    before, after = _numbers("in0", given, None), _numbers("out", given, None)
    more = _numbers("in1", given, None) if given["in1"] else None
    if (
        op in ("unary", "typecast", "layer_norm", "tilize", "untilize")
        and math.prod(before) > math.prod(after) * 32
    ):
        raise Refused("out", given["out"], f"as many elements as in0's {given['in0']}")
    if op == "concat" and more and math.prod(before) + math.prod(more) != math.prod(after):
        raise Refused("out", given["out"], f"the elements of {given['in0']} and {given['in1']} together")
    written = stored_bytes(after, type_out, layout_out)
    read = stored_bytes(before, type_in, layout_in)
    if op in ("slice", "split"):
        read = min(read, written)
    if more:
        read += stored_bytes(more, type_in, layout_in)
    tiles = sum(
        pages_of(shape, "tile")
        for shape, layout in ((before, layout_in), (after, layout_out))
        if layout == "tile"
    )
    rows = sum(
        pages_of(shape, "row")
        for shape, layout in ((before, layout_in), (after, layout_out))
        if layout == "row"
    )
    ragged = rows if op in ("tilize", "untilize") and given["state"] == "padded" else 0
    spread = (
        pages_of(after, "tile") if op == "binary" and (not more or math.prod(more) < math.prod(before)) else 0
    )
    hard = pages_of(after, "tile") if op == "unary" and given["state"] in TRANSCENDENTAL else 0
    return bytes_work(BYTES_OPS[op], Moved(read + written, tiles, rows, ragged, spread, hard), on)


def _numbers(
    name: str, given: dict[str, str], counts: tuple[int, ...] | None, least: int = 1
) -> tuple[int, ...]:
    text = given[name]
    try:
        found = tuple(int(part) for part in text.split("x"))
    except ValueError:
        found = ()
    if not found or min(found) < least or (counts and len(found) not in counts):
        need = f"{' or '.join(map(str, counts))} numbers" if counts else "numbers"
        raise Refused(name, repr(text), f"{need} of at least {least}, with an x between them")
    return found


def _one_of(name: str, given: dict[str, str], values) -> str:
    if given[name] not in values:
        raise Refused(name, repr(given[name]), f"one of {', '.join(values)}")
    return given[name]


def _types(given: dict[str, str]) -> tuple[str, str]:
    before, _, after = given["dtype"].partition(">")
    for dtype in (before, after or before):
        if dtype not in ELEMENT_BYTES:
            raise Refused("dtype", repr(given["dtype"]), f"of {', '.join(ELEMENT_BYTES)}")
    return before, after or before


def _layouts(given: dict[str, str]) -> tuple[str, str]:
    before, _, after = given["layout"].partition(">")
    if not {before, after or before} <= {"tile", "row"}:
        raise Refused("layout", repr(given["layout"]), "tile or row, or one>other")
    return before, after or before
