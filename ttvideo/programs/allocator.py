"""What the runtime's own allocator saw: DRAM peak from tt-metal's memory tracking.

With `TT_METAL_SHM_VERBOSE=1` in the environment tt-metal logs each buffer that is allocated and freed
(tt_metal/impl/memory_tracking/memory_stats_shm.cpp). It watches the thread that opened the device alone;
torch_xla runs programs in another thread and shows next to nothing, jax runs them in the calling one.
(`TT_RUNTIME_MEMORY_LOG_LEVEL` would be the runtime's own way: it is compiled out of release builds,
tt-mlir runtime/ttvideo/ttnn/program_executor.cpp, `TT_RUNTIME_DEBUG`.)

Where a program doesn't fit, `read_out_of_memory` says how full the banks were at that moment.
"""

import re
from dataclasses import dataclass

from ttvideo.basics.errors import Refused

ENVIRONMENT = {"TT_METAL_SHM_VERBOSE": "1"}
_EVENT = re.compile(r"SHM record_(allocation|deallocation): .*?type=(\w+), size=(\d+) B")
_FULL = re.compile(
    r"Not enough space to allocate (\d+) B (\w+) buffer across (\d+) banks"
    r"(?:, where each bank needs to store (\d+) B(?:, but bank size is (?:only )?(\d+) B"
    r"(?: \(allocated: (\d+) B, free: (\d+) B(?:, largest free block: (\d+) B)?)?)?)?"
)


@dataclass(frozen=True)
class Report:
    """Bytes of buffers alive after each allocation or release; before a bank's page rounding."""

    live: tuple[int, ...]

    @property
    def peak_bytes(self) -> int:
        return max(self.live)


def read_report(log: str, memory: str = "DRAM") -> Report:
    """The live bytes of one memory ("DRAM" or "L1") from a log. Raises `Refused` if it has no such events."""
    live, total = [], 0
    for what, kind, size in _EVENT.findall(log):
        if kind == memory:
            total += int(size) if what == "allocation" else -int(size)
            live.append(total)
    if not live:
        raise Refused("read_report", f"a log without {memory} events", f"one written with {ENVIRONMENT}")
    return Report(tuple(live))


@dataclass(frozen=True)
class OutOfMemory:
    """The first refused allocation: bytes asked for, in all and a bank, and the state of a bank then; None if unsaid."""

    memory: str
    wanted_bytes: int
    banks: int
    wanted_a_bank: int | None
    bank_bytes: int | None
    allocated_a_bank: int | None
    largest_free_a_bank: int | None

    @property
    def would_be_bytes(self) -> int | None:
        """All banks, had the allocation succeeded."""
        return None if self.allocated_a_bank is None else (self.allocated_a_bank + self.wanted_a_bank) * self.banks


def read_out_of_memory(log: str) -> OutOfMemory | None:
    """What tt-metal's allocator said when it refused, or None (tt_metal/impl/allocator/allocator.cpp)."""
    found = _FULL.search(log)
    if not found:
        return None
    size, memory, banks, *rest = found.groups()
    each, bank, allocated, _, largest = (int(n) if n else None for n in rest)
    return OutOfMemory(memory, int(size), int(banks), each, bank, allocated, largest)
