"""What kernels ask of DRAM, where the simulator counts it: ttsim as it is released doesn't.

One that does maps the file that TTSIM_DRAM_COUNT names, 2 times 16,385 little-endian 64-bit integers, and
adds one to entry n of the first half for each request of n bytes that a core reads from DRAM, of the second
for each that it writes. What the host transfers isn't counted.
"""

import mmap
import os

import numpy as np

VARIABLE = "TTSIM_DRAM_COUNT"
SIZES = 16385  # requests of 0 to 16,384 bytes


class Transfers:
    """Bytes read and written since the last time they were asked for; None from a simulator that doesn't
    count."""

    def __init__(self):
        self.counts = None
        if VARIABLE in os.environ:
            with open(os.environ[VARIABLE], "r+b") as file:
                self.counts = np.frombuffer(mmap.mmap(file.fileno(), 0), np.uint64).reshape(2, SIZES)
            self.seen = self.bytes()

    def bytes(self) -> np.ndarray:
        return self.counts.astype(np.int64) @ np.arange(SIZES)

    def since(self) -> list[int]:
        """[read, written]; [] where nothing is counted."""
        if self.counts is None or not self.counts.any():
            return []
        now = self.bytes()
        before, self.seen = self.seen, now
        return (now - before).tolist()
