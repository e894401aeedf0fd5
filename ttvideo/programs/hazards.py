"""What is known to go wrong on silicon and shows neither on a mocked board nor in ttsim: a condition on an
op, with its source.

Each is a function of an op, its program's chip and what its operands were made by. A verdict carries what
applies to its program; `ttvideo.programs.seconds.blocks` takes no blocks that have one.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ttvideo.programs.program import TILE, Op, Program, Value
from ttvideo.targets.boards import Chip

# DRAM of a device that a mock doesn't hold, kernels' binaries above all: at least and at most, as Tenstorrent
# found where it predicts memory by mocked boards (tt-metal, models/tt_dit, MiniMax-H3, 2026).
MOCK_MARGIN_BYTES = (17_000_000, 57_000_000)
ALLOCATED = "by the allocator (a card: {} to {} MB more)".format(
    *(margin // 10**6 for margin in MOCK_MARGIN_BYTES)
)
NO_REMAINDER_PIXELS = 64  # of a conv3d's block on a Blackhole
C_OUT_TILES = 5

Makers = Mapping[Value, Op]


@dataclass(frozen=True)
class Hazard:
    """`what` happens `when`; `applies` says to which op: of an op, the chip, and the ops that made its
    operands."""

    name: str
    when: str
    what: str
    source: str
    applies: Callable[[Op, Chip, Makers], bool] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.what} ({self.when}; {self.source})"


def wide_products(op: Op, chip: Chip, _: Makers) -> bool:
    asked = op.attributes.get("compute_config") or {}
    wide = asked.get("math_fidelity") == "hifi4" and asked.get("fp32_dest_acc_en", False)
    return chip.arch == "wormhole_b0" and wide


def blocks_of(op: Op) -> dict:
    return op.attributes.get("conv3d_config", {}) if op.name == "ttnn.conv3d" else {}


def uneven_pixels(op: Op, chip: Chip, _: Makers) -> bool:
    blocks = blocks_of(op)
    pixels = math.prod(blocks.get(f"{side}_out_block", 1) for side in "thw")
    return chip.arch == "blackhole" and pixels > NO_REMAINDER_PIXELS and pixels % TILE != 0


def cut_frames(op: Op, *_) -> bool:
    blocks = blocks_of(op)
    if "t_out_block" not in blocks:
        return False
    frames = op.results[0].type.shape[1]
    return frames % min(blocks["t_out_block"], frames) != 0 and op.attributes["out_channels"] < TILE


def other_blocks(op: Op, _: Chip, makers: Makers) -> bool:
    made = makers.get(op.operands[1]) if blocks_of(op) and len(op.operands) > 1 else None
    if made is None or made.name != "ttnn.prepare_conv3d_weights":
        return False
    whole = op.attributes["in_channels"]
    return (made.attributes["c_in_block"] or whole) != (blocks_of(op).get("c_in_block") or whole)


def illegal_channels(op: Op, *_) -> bool:
    blocks = blocks_of(op)
    taps = math.prod(op.attributes["kernel_size"]) if blocks else 1
    five = blocks.get("c_out_block", 0) == C_OUT_TILES * TILE
    return five or (blocks.get("c_in_block") or 0) * taps % TILE != 0


def unstated_chunks(op: Op, *_) -> bool:
    attention = op.name == "ttnn.scaled_dot_product_attention"
    return attention and not op.attributes.get("is_causal", True) and "program_config" not in op.attributes


def own_grid(op: Op, *_) -> bool:
    return op.name == "ttnn.group_norm" and "core_grid" in op.attributes


HAZARDS = (
    Hazard(
        "wormhole products", "HiFi4 with fp32 accumulation on a Wormhole",
        "single results off by powers of two", "tt-metal#38306, open", wide_products,
    ),
    Hazard(
        "conv3d pixels", "a block's T·H·W over 64 and no multiple of 32, on a Blackhole",
        "the op hangs", "tt_dit's notes, 2026-10", uneven_pixels,
    ),
    Hazard(
        "conv3d frames", "a last block of frames that isn't full, with fewer than 32 output channels",
        "wrong results, no error", "tt-metal#44792, fixed by #44973 (2026-05)", cut_frames,
    ),
    Hazard(
        "conv3d weights", "weights prepared for another C_in_block than the op's",
        "PCC near zero, no error", "tt-metal#47316", other_blocks,
    ),
    Hazard(
        "conv3d channels",
        "a C_out_block of five tiles, or a C_in_block that with the taps fills no whole tiles",
        "illegal with fp32 accumulation", "tt_dit's notes, 2026-10", illegal_channels,
    ),
    Hazard(
        "attention chunks", "non-causal attention without chunk sizes",
        "results differ from run to run, up to 3.75 times slower", "tt-metal#52284, #51911", unstated_chunks,
    ),
    Hazard(
        "group_norm grid", "ttnn.group_norm with a grid given by hand", "can hang", "tt_dit's known issues",
        own_grid,
    ),
)  # fmt: skip


def hazards(program: Program) -> dict[Hazard, int]:
    """The hazards that a card's run of the program has, each with the number of ops that have it;
    const-eval's too."""
    makers = makers_of(program)
    found: Counter[Hazard] = Counter()
    for function in program.functions.values():
        for op in function.ops:
            found.update(of_op(op, program.chip, makers))
    return {hazard: found[hazard] for hazard in HAZARDS if hazard in found}


def of_op(op: Op, chip: Chip, makers: Makers | None = None) -> list[Hazard]:
    return [hazard for hazard in HAZARDS if hazard.applies(op, chip, makers or {})]


def makers_of(program: Program) -> dict[Value, Op]:
    """What made each value, through const-eval functions to the op inside."""
    makers = {
        value: op for function in program.functions.values() for op in function.ops for value in op.results
    }
    for value, op in list(makers.items()):
        if op.name == "ttcore.load_cached":
            returned = program.functions[op.attributes["callee"]].returns[op.results.index(value)]
            makers[value] = makers.get(returned, op)
    return makers
