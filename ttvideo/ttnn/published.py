"""Failures that upstream published from real cards: the allocation that failed, made again on a mocked board.

A tensor's size in DRAM is arithmetic on its shape, its layout and the board's banks, so what a card refused
the mock must refuse with the same bytes. Each case is the op that upstream's analysis names, alone: compilers
have moved on, and today's may not write it. Where the card said how full its banks were, they are filled
likewise first. What can differ is the size of a bank: how much of it the runtime keeps for itself moves from
version to version.
"""

from dataclasses import dataclass

from ttvideo.programs.allocator import OutOfMemory, read_out_of_memory
from ttvideo.programs.cost import Sizes
from ttvideo.programs.program import ELEMENT_BYTES, Op, Program, Value
from ttvideo.targets.boards import BOARDS
from ttvideo.ttnn.chip import Broke, Chip
from ttvideo.ttnn.handmade import op, program, tensor


@dataclass(frozen=True)
class Published:
    """`said` is the card's message, as far as the issue has it. `operand` and `result` are shapes, `op` what
    is run.

    `inferred` where the issue gives no shape: it is then the one that the model has at this place and of
    these bytes.
    """

    issue: str
    model: str
    board: str
    said: str
    op: str
    operand: tuple[int, ...]
    result: tuple[int, ...]
    dtype: str = "bf16"
    layout: str = "tile"
    attributes: tuple = ()
    inferred: bool = False

    @property
    def card(self) -> OutOfMemory:
        return read_out_of_memory(self.said)

    @property
    def fits_the_card(self) -> bool:
        """Can what the op reads be part of what the card said was allocated? Else upstream's read something
        smaller."""
        if not self.operand or self.card.allocated_a_bank is None:
            return True
        operand = tensor("operand", self.operand, self.dtype, self.layout)
        return bank_bytes(operand, self.board) <= self.card.allocated_a_bank


def permute(*order: int) -> dict:
    return {"op": "permute", "attributes": (("permutation", order),)}


# What GroupNorm's decomposition subtracts a group's mean from: [1, H * W, 32 groups, C / 32] in float32,
# where the last dimension is stored as 32.
SUBTRACT = {"op": "subtract", "dtype": "f32", "inferred": True}
NO_ACTIVATIONS = {f"{which}activations": [] for which in ("", "input_tensor_a_", "input_tensor_b_")}


def no_room(
    buffer: int, banks: int, each: int = 0, size: int = 0, held: int = 0, free: int = 0, largest: int = 0
):
    """As TT-NN's allocator says it, as far as these bytes are known."""
    said = f"Not enough space to allocate {buffer} B DRAM buffer across {banks} banks"
    said += f", where each bank needs to store {each} B" if each else ""
    said += f", but bank size is {size} B" if size else ""
    return said + (f" (allocated: {held} B, free: {free} B, largest free block: {largest} B)" if held else "")


PUBLISHED = (
    Published(
        "tt-xla#4653", "Mochi, whole clip", "n150", no_room(21139292160, 12, 1761607680, 1071821792),
        operand=(1, 512, 3, 2, 2, 14, 60, 106), result=(1, 512, 14, 3, 60, 2, 106, 2), inferred=True,
        **permute(0, 1, 5, 2, 6, 3, 7, 4),
    ),
    Published(
        "tt-xla#4252", "Mochi, sharded over 8 chips", "n150", no_room(12079595520, 12),
        operand=(1, 512, 3, 2, 2, 8, 60, 106), result=(1, 512, 8, 3, 60, 2, 106, 2),
        **permute(0, 1, 5, 2, 6, 3, 7, 4),
    ),
    Published(
        "tt-xla#6048", "HunyuanVideo-1.5", "p150",
        no_room(14973665280, 8, 1871708160, 4272341376, 1853463296, 2418878080, 1729517248),
        operand=(1, 1, 2, 2, 256, 17, 120, 212), result=(1, 256, 17, 1, 120, 2, 212, 2),
        **permute(0, 4, 5, 1, 6, 2, 7, 3),
    ),
    Published(
        "tt-xla#6048, with the option", "HunyuanVideo-1.5", "p150", no_room(28343009280, 8),
        operand=(1, 1, 2, 2, 128, 17, 240, 424), result=(1, 128, 17, 1, 240, 2, 424, 2), layout="row_major",
        **permute(0, 4, 5, 1, 6, 2, 7, 3),
    ),
    Published(
        "tt-mlir#7168", "Qwen3-VL, Conv3d of patches", "n150",
        no_room(23085449216, 12, 1923788800, 1071821792, 33292992, 1038528800, 1035598112),
        operand=(11008, 1, 1, 1, 1024), result=(11008, 1024, 1, 1, 1), inferred=True,
        **permute(0, 4, 1, 2, 3),
    ),
    Published(
        "tt-xla#4648", "CogVideoX", "n150", no_room(3185049600, 12, 265420800),
        operand=(1, 9 * 240 * 360, 32, 8), result=(1, 9 * 240 * 360, 32, 8), **SUBTRACT,
    ),
    Published(
        "tt-xla#4755", "Z-Image at 1280×720", "n150",
        no_room(3774873600, 12, 314572800, 1071821792, 692396736, 379425056, 167335424),
        operand=(1, 1280 * 720, 32, 4), result=(1, 1280 * 720, 32, 4), **SUBTRACT,
    ),
    Published(
        "tt-xla#4728", "SDXL-Lightning at 1024×1024", "n150",
        no_room(4294967296, 12, 357916672, 1071821792, 470056640, 601765152, 318584608),
        operand=(1, 1024 * 1024, 32, 8), result=(1, 1024 * 1024, 32, 8), **SUBTRACT,
    ),
    Published(
        "tt-xla#4762", "HiDream-I1 at 1024×1024", "n150",
        no_room(4294967296, 12, 357916672, 1071821792, 527808576, 544013216, 306904160),
        operand=(1, 1024 * 1024, 32, 8), result=(1, 1024 * 1024, 32, 8), **SUBTRACT,
    ),
    Published(
        "tt-metal#39222", "Mochi, hand-written, 8 chips", "n150",
        no_room(2188247040, 12, 182353920, 1073741792, 744359936, 329381856, 145704928),
        operand=(), result=(1, 21, 480, 848, 128), layout="row_major", op="empty", inferred=True,
    ),
)  # fmt: skip


def provoke(chip: Chip, case: Published) -> OutOfMemory | None:
    """What the mocked board's allocator says, None if it gave it. Raises `Broke` for other failures."""
    try:
        chip.run(made(case), {}, fetch=())
    except Broke as broke:
        refused = read_out_of_memory(broke.said)
        if refused is None or broke.op != f"ttnn.{case.op}":
            raise
        return refused
    return None


def made(case: Published) -> Program:
    """What the op reads, then banks as full as the card's, then the op."""
    operands = []
    if case.operand:
        operands.append(tensor("operand", case.operand, case.dtype, case.layout))
    if case.op == "subtract":
        operands.append(tensor("mean", (1, 1, case.operand[-2], 1), case.dtype, case.layout))
    result = tensor("result", case.result, case.dtype, case.layout)
    ops = [
        *(op("empty", [], operand) for operand in operands),
        *fill(
            case, sum(bank_bytes(operand, case.board) for operand in operands), bank_bytes(result, case.board)
        ),
        op(case.op, operands, result, **NO_ACTIVATIONS, **dict(case.attributes)),
    ]
    return program([], ops, [result], BOARDS[case.board].chip)


def fill(case: Published, operands: int, wanted: int) -> list[Op]:
    """Buffers that leave each bank as the card's was: so much taken, and no free block larger than its
    largest.

    With no word from the card, a bank is filled until what is wanted can't fit. All in bytes of a bank.
    """
    card = case.card
    if card.allocated_a_bank is None:
        spare = BOARDS[case.board].chip.dram_channel_bytes - operands - wanted
        return [hold("full", spare, case.board)] if spare > 0 else []
    holes = card.bank_bytes - card.allocated_a_bank - card.largest_free_a_bank
    rest = max(card.allocated_a_bank - operands, 0)
    pieces = -(-holes // (min(wanted, card.largest_free_a_bank) - 1))
    filled, freed = [], []
    for i, (empty, full) in enumerate(
        zip(shares(holes, pieces, case.board), shares(rest, pieces, case.board))
    ):
        hole = hold(f"hole{i}", empty, case.board)
        filled += [hole, hold(f"full{i}", full, case.board)]
        freed.append(Op("ttnn.deallocate", hole.results, (), {}, ""))
    return filled + freed


def shares(total: int, parts: int, board: str) -> list[int]:
    """Bytes in so many parts of whole pages, the last one the largest."""
    page = BOARDS[board].chip.noc_dram_align_bytes
    part = total // parts // page * page
    return [part] * (parts - 1) + [total - part * (parts - 1)]


def hold(name: str, bytes_a_bank: int, board: str) -> Op:
    """So many bytes of every bank, in pages of the board's alignment; rounded down to those."""
    chip = BOARDS[board].chip
    page = chip.noc_dram_align_bytes
    pages, columns = bytes_a_bank // page, page // ELEMENT_BYTES["bf16"]
    return op("empty", [], tensor(name, (pages * chip.dram_channels, columns), layout="row_major"))


def bank_bytes(value: Value, board: str) -> int:
    """What one bank must hold of an interleaved tensor."""
    chip = BOARDS[board].chip
    return Sizes.of_chip(chip).of(value) // chip.dram_channels
