"""What a convolution asks of DRAM besides each operand once: rules read off the transfers of TT-NN 0.81.1's
kernels.

Counted on Tenstorrent's simulator, request by request (`findings/transfers.py`): a conv2d's rule is close at
the first three sizes of the Mochi decoder, on both chips; a conv3d's is right to the byte.

`ttnn.conv2d` wants input, output and one block of work in L1. Where that doesn't fit, it goes slice by slice
along the output's width, in whole tiles of 32 columns, and each slice reads the weights again, and its halo.
Their output is as wide as whole tiles; where the width isn't, a reshape follows, with a map of its own
(`ttvideo.programs.reshape`), that no program states: 212, 424 and 848 columns, all but the first size of a
480×848 clip. On a Blackhole, 11 columns of cores hold runs of channels that don't begin at its DRAM's 64
bytes, so more is read than asked for.

`ttnn.conv3d` reads its input again for each block of output channels, and with each block of outputs its
halo, but for what a core keeps along the width; its weights once, as cores hand them on, and its bias on each
core. The compiler's blocks of 1×1×1 outputs by 32 channels read an input of 768 channels about 200 times.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ttvideo.programs.program import TILE, Op
from ttvideo.programs.reshape import Shape3, map_bytes, tiles_read
from ttvideo.targets.boards import Chip

BF16 = 2
TILE_BYTES = TILE * TILE * BF16
LANE_UNIT = 8  # channels: 16 bytes, the alignment in L1
L1_SMALL_BYTES = 32768
LAUNCHES = 5  # input into L1, its halo, a move, the convolution, output out of L1; for each slice


@dataclass(frozen=True)
class Passes:
    """Bytes of device memory read and written, programs launched, a buffer that only lives meanwhile."""

    read: int
    written: int
    launches: int
    scratch: int = 0


@dataclass(frozen=True)
class Conv2d:
    """A `ttnn.conv2d` on a chip: each column of cores holds `lane` channels, each core a share of pixels."""

    height: int
    width: int
    in_height: int
    in_width: int
    channels: int
    out_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    chip: Chip

    @property
    def lane(self) -> int:
        return _up(-(-self.channels // self.chip.grid_yx[1]), LANE_UNIT)

    @property
    def block_tiles(self) -> int:
        """Columns of one block of work: a row of the kernel for one lane."""
        return -(-self.kernel[1] * self.lane // TILE)

    @property
    def out_tiles(self) -> int:
        """Columns of the output that one core makes."""
        return -(-_tiles(self.out_channels) // self.chip.grid_yx[1])

    @property
    def weight_bytes(self) -> int:
        lanes = -(-self.channels // self.lane)
        return lanes * self.kernel[0] * self.block_tiles * _tiles(self.out_channels) * TILE_BYTES

    def fits(self, rows_of_tiles: int, in_pixels: int) -> bool:
        """Does L1 hold so much output, the input under it, and two blocks of work?"""
        cores = self.chip.grid_yx[0]
        rows = -(-rows_of_tiles // cores)
        work = rows * (2 * self.block_tiles + self.out_tiles) + self.block_tiles * self.out_tiles
        held = -(-in_pixels // cores) * self.lane * BF16
        free = self.chip.l1_bytes - self.chip.l1_unreserved_base - L1_SMALL_BYTES
        return work * TILE_BYTES + held <= free

    def columns(self, tiles: int) -> list[int]:
        """Columns of input under each slice of so many tiles of output columns."""
        widths = [min(tiles * TILE, self.width - begin) for begin in range(0, self.width, tiles * TILE)]
        reach = self.dilation[1] * (self.kernel[1] - 1) + 1
        return [(width - 1) * self.stride[1] + reach for width in widths]

    def slices(self) -> list[int]:
        """Columns of input under each slice; all of them, once, where nothing has to be cut."""
        if self.fits(-(-self.height * self.width // TILE), self.in_height * self.in_width):
            return [self.in_width]
        across = _tiles(self.width)
        fitting = (
            n
            for n in range(across, 1, -1)
            if self.fits(self.height * n, self.in_height * max(self.columns(n)))
        )
        return self.columns(next(fitting, 1))

    @property
    def reshaped(self) -> tuple[Shape3, Shape3] | None:
        """The shapes of the reshape at the end, if there is one."""
        if len(self.slices()) == 1 or self.width % TILE == 0:
            return None
        channels = self.out_channels
        return (self.height, self.width, channels), (1, self.height * self.width, channels)

    def pixel_bytes(self) -> int:
        """What reading one pixel's channels takes, a lane at a time, each from the aligned address before."""
        lane, all_channels, align = self.lane * BF16, self.channels * BF16, self.chip.noc_dram_align_bytes
        return sum(min(lane, all_channels - begin) + begin % align for begin in range(0, all_channels, lane))


def conv2d(op: Op, chip: Chip) -> Passes:
    conv = geometry(op, chip)
    slices = conv.slices()
    image, a = op.operands[0].type, op.attributes
    padding = conv.in_width - a["input_width"]  # is made in L1
    pixels = (sum(slices) - padding) * a["input_height"] * a["batch_size"]
    read = pixels * conv.pixel_bytes() if image.layout == "row_major" else image.stored_bytes
    read += len(slices) * conv.weight_bytes
    if len(op.operands) > 3:  # a bias before the device
        read += len(slices) * _tiles(conv.out_channels) * TILE_BYTES
    out = op.results[0].type.stored_bytes
    if len(slices) == 1:
        return Passes(read, out, LAUNCHES, conv.weight_bytes)
    padded = conv.height * _tiles(conv.width) * _tiles(conv.out_channels) * TILE_BYTES
    if not conv.reshaped:
        return Passes(read, out, LAUNCHES * len(slices), conv.weight_bytes)
    read += tiles_read(*conv.reshaped) * TILE_BYTES + map_bytes(*conv.reshaped)
    return Passes(read, padded + out, LAUNCHES * len(slices) + 1, conv.weight_bytes + padded)


def geometry(op: Op, chip: Chip) -> Conv2d:
    a = op.attributes
    top, bottom, left, right = (*a["padding"], *a["padding"])[:4] if len(a["padding"]) == 2 else a["padding"]
    in_height, in_width = a["input_height"] + top + bottom, a["input_width"] + left + right
    height, width = (
        (size - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel, stride, dilation in zip(
            (in_height, in_width), a["kernel_size"], a["stride"], a["dilation"], strict=True
        )
    )
    return Conv2d(
        height, width, in_height, in_width, a["in_channels"], a["out_channels"],
        tuple(a["kernel_size"]), tuple(a["stride"]), tuple(a["dilation"]), chip,
    )  # fmt: skip


def conv3d(op: Op, chip: Chip) -> Passes:
    a, out = op.attributes, op.results[0].type
    config = a["conv3d_config"]
    _, t, h, w, _ = out.shape
    blocks = [config["t_out_block"], config["h_out_block"], config["w_out_block"]]
    counts = [-(-size // block) for size, block in zip((t, h, w), blocks, strict=True)]
    halo = [
        d * (k - 1) + 1 - s
        for k, s, d in zip(a["kernel_size"], a["stride"], a.get("dilation", [1, 1, 1]), strict=True)
    ]
    parts = a["in_channels"] // (config.get("c_in_block") or a["in_channels"])
    again = -(-a["out_channels"] // config["c_out_block"])
    cores = spread((parts, again, *counts), chip)
    runs = [counts[0], counts[1], cores[4]]  # along the width a core keeps what its next block needs
    # Zeros around it are made, repeated edges are read.
    around = [2 * pad * (a.get("padding_mode", "zeros") == "zeros") for pad in a["padding"]]
    pixels = math.prod(
        size * stride + more * n - made
        for size, stride, more, n, made in zip((t, h, w), a["stride"], halo, runs, around, strict=True)
    )
    weight, *bias = (value.type.stored_bytes for value in op.operands[1:] if value.type is not None)
    read = (
        again * pixels * a["batch_size"] * a["in_channels"] * BF16 + weight + sum(bias) * math.prod(cores[2:])
    )
    return Passes(read, out.stored_bytes, 1)


def spread(counts: Iterable[int], chip: Chip) -> list[int]:
    """On how many cores a conv3d's blocks are: of input channels, output channels, frames, rows and columns,
    in turn."""
    left, found = math.prod(chip.grid_yx), []
    for count in counts:
        each = -(-count // min(count, left))
        left //= min(count, left)
        found.append(-(-count // each))
    return found


def _tiles(size: int) -> int:
    return -(-size // TILE)


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit
