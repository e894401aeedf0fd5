"""In which blocks a `ttnn.conv3d` is expected to take the least time: asked upstream as tt-mlir#8295.

Where times are closer than the model can tell apart, a hundredth of the bytes weighs as much as one of the
time: bytes are counted, not predicted.
"""

from dataclasses import dataclass
from functools import lru_cache

from ttvideo.basics.errors import Refused
from ttvideo.programs.conv3d_blocks import Blocks, Size, candidates, l1_bytes, moved
from ttvideo.programs.program import TILE
from ttvideo.programs.seconds import expected_work
from ttvideo.programs.seconds.model import parts
from ttvideo.programs.seconds.work import conv3d_work, machine
from ttvideo.targets.boards import BOARDS

NEAR = 1.1  # of the least time; the model misses decoders that it was not fitted to by about that


@dataclass(frozen=True)
class Choice:
    """Blocks, the microseconds that a convolution is expected to take in them (with the model's range, and
    the roofline's least), bytes of a core's L1 and of DRAM, and the resource that binds."""

    blocks: Blocks
    us: float
    low_us: float
    high_us: float
    floor_us: float
    l1_bytes: int
    dram_bytes: int
    binds: str


@lru_cache(maxsize=256)
def ranked(size: Size, board: str, fidelity: str = "hifi3") -> tuple[Choice, ...]:
    """All that fit L1 and have no known hazard: those `NEAR` the least expected time by that times their
    bytes, then all others by time.

    Raises `Refused` where nothing fits, and for channels that aren't whole tiles.
    """
    chip = BOARDS[board].chip
    if size.c_in % TILE or size.c_out % TILE:
        raise Refused("conv3d", f"{size.c_in} to {size.c_out} channels", f"multiples of {TILE}")
    on, found = machine(chip), []
    for blocks in candidates(size, chip):
        work = conv3d_work(size, blocks, on, fidelity)
        time = expected_work(work)
        each = parts(work, time.fitted)
        found.append(
            Choice(
                blocks, time.us, time.low_us, time.high_us, work.floor_us,
                l1_bytes(size, blocks), moved(size, blocks, chip), max(each, key=each.get),
            )
        )  # fmt: skip
    if not found:
        raise Refused("conv3d", f"{size} on a {board}", "a block that fits its cores' L1")
    near = NEAR * min(choice.us for choice in found)

    def order(choice: Choice) -> tuple[bool, float]:
        far = choice.us > near
        return far, choice.us * (1 if far else choice.dram_bytes)

    return tuple(sorted(found, key=order))


def choose(size: Size, board: str, fidelity: str = "hifi3", c_in: int | None = None) -> Blocks:
    """The first of `ranked`; or of those with so many input channels, which tell in what order numbers are
    added up."""
    found = (choice.blocks for choice in ranked(size, board, fidelity))
    return next(blocks for blocks in found if c_in in (None, blocks.c_in))
