"""In which blocks a `ttnn.conv3d` can be done: what L1 allows, and the bytes of DRAM that each asks for, by
the counted model.

A block is an output of (T, H, W) pixels by some output channels, made of some input channels: `Blocks`. Each
output block reads its halo again, each block of output channels the whole input, and cores that share the
input channels of an output add up over the network on the chip, which costs no DRAM. What a block takes of L1
are its patches (27 pixels' channels for each output of 3x3x3), the weights, the input that it reads, and
partial sums: as the op's program factory allocates them (tt-metal,
ttnn/cpp/ttnn/operations/experimental/conv3d/device/conv3d_program_factory.cpp).

Hazard: sums of one block of input channels are bf16, rounded before the bias is added and again after it; of
several they are float32, rounded once (findings/native.py, "roundings"). So there are at least two, where the
channels are more than 32. And no block is taken that silicon is known to hang at, or to get wrong
(`ttvideo.programs.hazards`).
"""

import itertools
import math
from dataclasses import dataclass

from ttvideo.programs.convolution import L1_SMALL_BYTES, conv3d, spread
from ttvideo.programs.hazards import of_op
from ttvideo.programs.program import TILE, Op, TensorType, Value
from ttvideo.targets.boards import Chip

BF16, F32 = 2, 4
KERNEL_BYTES = 200 * 1024  # which the factory leaves to code and stacks
GATHERED_BYTES = (
    500 * 1024
)  # the most input that a block gathers; with more, each patch reads DRAM for itself
LEAST_IN = (
    64  # channels, 128 bytes: smaller requests waste the network on the chip, which the model does not see
)
SIDES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32)


@dataclass(frozen=True)
class Blocks:
    """Output pixels (t, h, w) and channels of one block, and the input channels that it is made of."""

    t: int
    h: int
    w: int
    c_out: int
    c_in: int

    def config(self) -> dict[str, int]:
        """As `ttnn.conv3d`'s attribute `conv3d_config` has it."""
        return {
            "t_out_block": self.t, "h_out_block": self.h, "w_out_block": self.w,
            "c_out_block": self.c_out, "c_in_block": self.c_in,
        }  # fmt: skip


@dataclass(frozen=True)
class Size:
    """A convolution of stride 1: output (t, h, w), channels, kernel, and the padding of each side."""

    out: tuple[int, int, int]
    c_in: int
    c_out: int
    kernel: tuple[int, int, int]
    padding: tuple[int, int, int]
    padding_mode: str = "replicate"  # or "zeros"

    @property
    def input(self) -> tuple[int, int, int]:
        return tuple(o + k - 1 - 2 * p for o, k, p in zip(self.out, self.kernel, self.padding, strict=True))

    def attributes(self, blocks: Blocks) -> dict:
        depth, height, width = self.input
        return {
            "batch_size": 1, "input_depth": depth, "input_height": height, "input_width": width,
            "in_channels": self.c_in, "out_channels": self.c_out, "kernel_size": list(self.kernel),
            "stride": [1, 1, 1], "padding": list(self.padding), "padding_mode": self.padding_mode,
            "dilation": [1, 1, 1], "groups": 1, "conv3d_config": blocks.config(),
        }  # fmt: skip


def buffer_bytes(size: Size, blocks: Blocks) -> int:
    """What a core's buffers take, but for the gathered input."""
    patch = math.prod(size.kernel) * blocks.c_in
    pixels = blocks.t * blocks.h * blocks.w
    m, k, n = (-(-count // TILE) for count in (pixels, patch, blocks.c_out))
    tile, parts = TILE * TILE * BF16, size.c_in // blocks.c_in
    partial = TILE * TILE * (F32 if parts > 1 else BF16)
    taken = k * TILE * BF16 * min(pixels, 2 * TILE) + tile * (k + k * n + m * n + n) + partial * m * n
    if parts > 1:  # what other cores' sums come into, and their answer
        taken += partial * m * n + 2 * tile
    return taken


def l1_bytes(size: Size, blocks: Blocks) -> int | None:
    """What a core's buffers take, the gathered input included; None for one that can't be gathered."""
    taken = buffer_bytes(size, blocks)
    if size.kernel == (1, 1, 1):
        return taken
    gathered = math.prod(b + k - 1 for b, k in zip((blocks.t, blocks.h, blocks.w), size.kernel, strict=True))
    gathered *= blocks.c_in * BF16
    return taken + gathered if gathered <= GATHERED_BYTES else None


def free_bytes(chip: Chip) -> int:
    return chip.l1_bytes - chip.l1_unreserved_base - L1_SMALL_BYTES - KERNEL_BYTES


def shares(size: Size, blocks: Blocks, chip: Chip) -> list[tuple[int, int]]:
    """How many blocks there are of input channels, output channels, frames, rows and columns, and on how many
    cores."""
    of = (size.c_in // blocks.c_in, size.c_out // blocks.c_out)
    of += tuple(-(-o // b) for o, b in zip(size.out, (blocks.t, blocks.h, blocks.w), strict=True))
    return list(zip(of, spread(of, chip), strict=True))


def moved(size: Size, blocks: Blocks, chip: Chip) -> int:
    """Bytes that it reads and writes, by the counted model."""
    passes = conv3d(op(size, blocks), chip)
    return passes.read + passes.written


def op(size: Size, blocks: Blocks) -> Op:
    taps = math.prod(size.kernel) * size.c_in
    tiles = -(-taps // TILE), -(-size.c_out // TILE)
    weight = Value("w", TensorType((taps, size.c_out), "bf16", "tile", "dram", tiles))
    return Op(
        "ttnn.conv3d",
        (rows(size.input, size.c_in), weight),
        (rows(size.out, size.c_out),),
        size.attributes(blocks),
        "",
    )


def rows(pixels: tuple[int, int, int], channels: int) -> Value:
    return Value(
        "", TensorType((1, *pixels, channels), "bf16", "row_major", "dram", (math.prod(pixels), channels))
    )


def candidates(size: Size, chip: Chip):
    def divisors(channels: int, least: int, most: int) -> list[int]:
        return [c for c in range(least, min(channels, most) + 1, TILE) if channels % c == 0]

    cores = math.prod(chip.grid_yx)
    sides = [[s for s in SIDES if s < o] + [o] * (o <= SIDES[-1]) for o in size.out]
    into = divisors(size.c_in, LEAST_IN, size.c_in // 2) or [TILE]
    for c_in, c_out in itertools.product(into, divisors(size.c_out, TILE, 512)):
        # The matrix engine holds four tiles of float32: a block's columns are fewer, or whole fours.
        if size.c_in // c_in > cores or (c_out > 4 * TILE and c_out % (4 * TILE)):
            continue
        for t, h, w in itertools.product(*sides):
            blocks = Blocks(t, h, w, c_out, c_in)
            taken = l1_bytes(size, blocks)
            fits = t * h * w <= 1024 and taken is not None and taken <= free_bytes(chip)
            if fits and not of_op(op(size, blocks), chip):
                yield blocks
