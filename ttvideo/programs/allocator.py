"""What tt-metal's allocator said when a program didn't fit: how full the banks were at that moment."""

import re
from dataclasses import dataclass

_FULL = re.compile(
    r"Not enough space to allocate (\d+) B (\w+) buffer across (\d+) banks"
    r"(?:, where each bank needs to store (\d+) B(?:, but bank size is (?:only )?(\d+) B"
    r"(?: \(allocated: (\d+) B, free: (\d+) B(?:, largest free block: (\d+) B)?)?)?)?"
)


@dataclass(frozen=True)
class OutOfMemory:
    """The first refused allocation: bytes asked for, in all and a bank, and the state of a bank then; None if
    unsaid."""

    memory: str
    wanted_bytes: int
    banks: int
    wanted_a_bank: int | None
    bank_bytes: int | None
    allocated_a_bank: int | None
    largest_free_a_bank: int | None


def read_out_of_memory(log: str) -> OutOfMemory | None:
    """What tt-metal's allocator said when it refused, or None (tt_metal/impl/allocator/allocator.cpp)."""
    found = _FULL.search(log)
    if not found:
        return None
    size, memory, banks, *rest = found.groups()
    each, bank, allocated, _, largest = (int(n) if n else None for n in rest)
    return OutOfMemory(memory, int(size), int(banks), each, bank, allocated, largest)
