"""Ops of the project's own, by `ttnn.generic_op`: what TT-NN has no op for, or only one that wants tiles.

A frame's pixels are rows of channels, row-major, as TT-NN's conv3d takes and gives them. Arithmetic on each element alone
doesn't ask in which order 1,024 of them lie, so kernels take whole rows as they come for a tile, with what belongs to a
channel repeated as often; nothing is tilized. (A row is at most 1,024 channels, a multiple of 32.)
"""

import struct
from pathlib import Path

import ttnn
from ops import DTYPES, LAYOUTS, op

KERNELS = Path(__file__).parent / "kernels"
CHUNK = 1024  # elements of a tile
BF16, F32 = ttnn.bfloat16, ttnn.float32


class Own:
    """One program on all cores, or as many as have something to do."""

    def __init__(self, step, items: int):
        grid = step.device.compute_with_storage_grid_size()
        self.step, self.kernels, self.cbs = step, [], []
        self.count = min(items, grid.x * grid.y)
        self.cores = [(i % grid.x, i // grid.x) for i in range(self.count)]
        self.ranges = ttnn.CoreRangeSet(
            [ttnn.CoreRange(ttnn.CoreCoord(*c), ttnn.CoreCoord(*c)) for c in self.cores]
        )

    def shares(self, items: int) -> list[list[int]]:
        """For each core where its share of the items begins and ends."""
        return [[i * items // self.count, (i + 1) * items // self.count] for i in range(self.count)]

    def buffer(self, index: int, pages: int, page: int, dtype=BF16) -> None:
        """A circular buffer."""
        form = ttnn.CBFormatDescriptor(buffer_index=index, data_format=dtype, page_size=page)
        self.cbs.append(
            ttnn.CBDescriptor(total_size=pages * page, core_ranges=self.ranges, format_descriptors=[form])
        )

    def kernel(self, name: str, config, static: list[int], tensors: list, shares: list[list[int]]) -> None:
        """It is compiled for `static` and the tensors' layout, and is told their addresses and each core's share."""
        for tensor in tensors:
            static = static + list(ttnn.TensorAccessorArgs(tensor).get_compile_time_args())
        given = ttnn.RuntimeArgs()
        for (x, y), share in zip(self.cores, shares, strict=True):
            given[x][y] = [tensor.buffer_address() for tensor in tensors] + share
        self.kernels.append(
            ttnn.KernelDescriptor(
                kernel_source=str(KERNELS / f"{name}.cpp"), core_ranges=self.ranges, compile_time_args=static,
                runtime_args=given, config=config,
            )
        )  # fmt: skip

    def run(self, tensors: list) -> None:
        ttnn.generic_op(tensors, ttnn.ProgramDescriptor(kernels=self.kernels, semaphores=[], cbs=self.cbs))


def arithmetic(step):
    """In float32; products in the fidelity that the step states, HiFi4 where it doesn't."""
    return ttnn.ComputeConfigDescriptor(math_fidelity=step.fidelity, fp32_dest_acc_en=True)


def results(step) -> list[ttnn.Tensor]:
    """Room for what the op gives, as its types say."""
    return [
        ttnn.allocate_tensor_on_device(
            ttnn.Shape(type["shape"]),
            DTYPES[type["dtype"]],
            LAYOUTS[type["layout"]],
            step.device,
            ttnn.DRAM_MEMORY_CONFIG,
        )
        for type in step.types
    ]


def geometry(x) -> tuple[int, int, int, int]:
    """[1, T, H, W, C]: frames, rows in one, channels, rows in a chunk."""
    _, frames, height, width, channels = x.shape
    return frames, height * width, channels, CHUNK // channels


def bits(value: float) -> int:
    """Those of a float32."""
    return struct.unpack("<I", struct.pack("<f", value))[0]


@op("generic_op.frame_moments")
def frame_moments(step, x):
    frames, rows, channels, together = geometry(x)
    parts = step.attributes["parts"]
    (sums,) = results(step)
    own = Own(step, frames * parts)
    shares = own.shares(frames * parts)
    own.buffer(0, 4, 2 * CHUNK)
    own.buffer(1, 1, 2 * CHUNK)
    own.buffer(2, 2, 4 * CHUNK, F32)
    chunks = -(-rows // together)
    static = [rows, together, 2 * channels, parts]
    own.kernel("frame_moments_reader", ttnn.ReaderConfigDescriptor(), static, [x], shares)
    own.kernel("frame_moments_compute", arithmetic(step), [parts, chunks], [], shares)
    own.kernel("frame_moments_writer", ttnn.WriterConfigDescriptor(), [], [sums], shares)
    own.run([x, sums])
    return sums


@op("generic_op.group_affine")
def group_affine(step, sums, affine):
    a = step.attributes
    (out,) = results(step)
    frames, channels = out.shape[0] // 2, out.shape[1]
    pieces = a["pieces"]
    own = Own(step, frames * pieces)
    own.buffer(0, 1, 4 * CHUNK, F32)
    own.buffer(1, 2, 2 * channels)
    own.buffer(2, 2, 2 * channels)
    own.buffer(3, 2, 4 * channels, F32)
    share = a["groups"] / (channels * a["rows"])
    static = [CHUNK // channels, channels, a["groups"], a["parts"], pieces, bits(a["epsilon"]), bits(share)]
    shares = own.shares(frames * pieces)
    operands = [sums, affine, out]
    own.kernel("group_affine", ttnn.ReaderConfigDescriptor(), static, operands, shares)
    own.run(operands)
    return out


@op("generic_op.norm_silu")
def norm_silu(step, x, affine, *past):
    frames, rows, channels, together = geometry(x)
    parts = step.attributes["parts"]
    clip, kept = results(step)
    before = past[0] if past else x
    own = Own(step, frames * parts)
    for index, pages in ((0, 4), (1, 1), (2, 1), (3, 1), (4, 4), (5, 4)):
        own.buffer(index, pages, 2 * CHUNK)
    shares = own.shares(frames * parts)
    of_past = own.shares(2 * rows) if past else [[0, 0]] * own.count
    both = [mine + old for mine, old in zip(shares, of_past, strict=True)]
    static, chunks = [rows, together, 2 * channels, parts], -(-rows // together)
    read = [x, affine, before]
    own.kernel("norm_silu_reader", ttnn.ReaderConfigDescriptor(), static, read, both)
    own.kernel("norm_silu_compute", arithmetic(step), [parts, chunks], [], shares)
    begins = 0 if past else 1
    own.kernel(
        "norm_silu_writer", ttnn.WriterConfigDescriptor(), [*static, frames, begins], [clip, kept], both
    )
    own.run([x, affine, *past, clip, kept])
    return clip, kept


@op("generic_op.depth_to_space")
def depth_to_space(step, x):
    _, frames, height, width, channels = x.shape
    st, sh, sw = step.attributes["expansion"]
    (y,) = results(step)
    own = Own(step, frames * height * width)
    own.buffer(0, 1, 2 * channels)
    static = [height, width, st, sh, sw, 2 * channels // (st * sh * sw)]
    shares = own.shares(frames * height * width)
    own.kernel("depth_to_space", ttnn.ReaderConfigDescriptor(), static, [x, y], shares)
    own.run([x, y])
    return y
