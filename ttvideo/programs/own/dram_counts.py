"""What a program's kernels ask of DRAM, counted where they run: on a simulated chip, or a card.

Each request is sent by one function of TT-NN's, which kernels are built with (`NOC_CMD_BUF_WRITE_REG`, in a
chip's noc_nonblocking_api.h). Built for counting (`Chip(target, counting=True)`), it adds the request's bytes
to a count of the core's: one for reads from DRAM, one for writes, of each of the two processors that ask.
They lie where the watcher, which isn't on, would keep its log, and this op brings them out. What the host
transfers isn't counted.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from ttvideo.basics.errors import Refused
from ttvideo.programs.cost import FREE
from ttvideo.programs.program import Op, Program, TensorType, Value

NAME = "ttnn.generic_op.dram_counts"
COUNTS, PAGE = 4, 16  # of a core: (read, written) of two processors, as 32-bit integers; and in a page
LAUNCH = Path(__file__).parent / "launch"
SEND = "inline __attribute__((always_inline)) void NOC_CMD_BUF_WRITE_REG("
BODY = "    uint32_t offset = (buf << NOC_CMD_BUF_OFFSET_BIT)"


def write(program: Program) -> tuple[Program, tuple[Op, ...]]:
    """The program that gives the counts before its first op and after each, and which ops these are."""
    cores, ops, counts = math.prod(program.chip.grid_yx), [], []

    def count() -> Op:
        shape = (cores, PAGE)
        value = Value(f"%counts {len(counts)}", TensorType(shape, "si32", "row_major", "dram", shape))
        counts.append(value)
        return Op(NAME, (), (value,), {}, "")

    for op in program.main.ops:
        if op.name not in FREE and not counts:
            ops.append(count())
        ops += [op] if op.name in FREE else [op, count()]
    main = replace(program.main, ops=tuple(ops), returns=tuple(counts))
    counted = tuple(op for op in program.main.ops if op.name not in FREE)
    return replace(program, main=main, functions=program.functions | {main.name: main}), counted


def moved(outputs: dict[int, torch.Tensor]) -> list[tuple[int, int]]:
    """Of such a program's results the bytes that each op has read and written. Raises `Refused` where none
    did, as of kernels that don't count, and on a mocked board, which runs none."""
    counts = torch.stack([outputs[i] for i in range(len(outputs))])[..., :COUNTS].long()
    since = counts.diff(dim=0).remainder(1 << 32).reshape(len(counts) - 1, -1, 2).sum(1)
    if not since.any():
        raise Refused("counts of DRAM's bytes", "none", "kernels that run, and count: Chip(…, counting=True)")
    return [(read, written) for read, written in since.tolist()]


def counting(text: str) -> str:
    """The header's text, with the count. Raises `Refused` where it says something else than is known."""
    head, found, body = text.partition(SEND)
    to_body, in_it, rest = body.partition(BODY)
    if not found or not in_it:
        raise Refused("TT-NN's kernels", "a noc_nonblocking_api.h that sends otherwise", f"{SEND}…{BODY}…")
    count = (LAUNCH / "dram_counts.h").read_text()
    return f"{head}{count}\n{SEND}{to_body}    COUNT_REQUEST(noc, buf, addr, val);\n{BODY}{rest}"


HEADER = "tt_metal/hw/inc/internal/tt-1xx/{}/noc_nonblocking_api.h"
COUNTING: dict[Path, Callable[[str], str]] = {
    Path(HEADER.format(chip)): counting for chip in ("blackhole", "wormhole")
}
