"""How an op of the project's own is launched, by `ttnn.generic_op`: kernels, buffers, and each core's share.

A frame's pixels are rows of channels, row-major, as TT-NN's conv3d takes and gives them. Arithmetic on each
element alone doesn't ask in which order 1,024 of them lie, so kernels take whole rows as they come for a
tile, with what belongs to a channel repeated as often; nothing is tilized. (A row is at most 1,024 channels,
a multiple of 32.)
"""

import math
import struct
from pathlib import Path
from types import SimpleNamespace

import ttnn
from ops import DTYPES, LAYOUTS
from sizes import CHUNK, PAST

KERNELS = Path(__file__).parent
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

    def kernel(
        self, name: str, config, static: list[int], tensors: list, shares: list[list[int]], **defined: str
    ) -> None:
        """It is compiled for `static`, the tensors' layout and what is `defined`, and is told their addresses
        and each core's share."""
        for tensor in tensors:
            static = static + list(ttnn.TensorAccessorArgs(tensor).get_compile_time_args())
        given = ttnn.RuntimeArgs()
        for (x, y), share in zip(self.cores, shares, strict=True):
            given[x][y] = [tensor.buffer_address() for tensor in tensors] + share
        self.kernels.append(
            ttnn.KernelDescriptor(
                kernel_source=str(KERNELS / f"{name}.cpp"), core_ranges=self.ranges, compile_time_args=static,
                runtime_args=given, config=config, defines=list(defined.items()),
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


def made(step, x) -> SimpleNamespace:
    """x, or what the op makes of it on its way: the shape alone."""
    (_, *sizes, channels), by = x.shape, expansion(step)
    sizes = (size * each for size, each in zip(sizes, by, strict=True))
    return SimpleNamespace(shape=(1, *sizes, channels // math.prod(by)))


def expansion(step) -> list[int]:
    return step.attributes.get("expansion", [1, 1, 1])


def how_made(own: Own, step, x, rest, given) -> list[int]:
    """What made.h takes, and room for what it and summed.h make."""
    for index in (8, 9, 10):
        own.buffer(index, 4, 2 * CHUNK)
    return [len(given), len(rest), *expansion(step), x.shape[2], x.shape[3]]


def beyond(step, frames: int) -> tuple[int, int, int]:
    """How many frames stand before a clip, how many after it, from which on they stay for the next step."""
    lead, tail = step.attributes.get("lead", PAST), step.attributes.get("tail", 0)
    if step.attributes["before"] == "nothing":
        return 0, 0, frames
    return lead, tail, lead + frames + tail - PAST


def placed(own: Own, step, x, static: list[int], shares: list[list[int]], clip, kept=None, given=()) -> None:
    """Have norm_silu_writer.cpp put x after its past into `clip`, what stays of that into `kept`, if there is
    one, and a sum made on the way into what is `given`."""
    (_, frames, height, width, _), before = x.shape, step.attributes["before"]
    lead, tail, stays = beyond(step, frames)
    kept, stays = (clip, lead + frames + tail) if kept is None else (kept, stays)
    where = [frames, int(before == "first frame"), lead, tail, stays, height, width, edge(step)]
    tensors = [clip, kept, *(given or [clip])]
    config = ttnn.WriterConfigDescriptor()
    own.kernel("norm_silu_writer", config, [*static, *where, len(given)], tensors, shares)


def edge(step) -> int:
    """How many pixels more a frame gets on each side."""
    return int(step.attributes.get("reflected", False))


def edged(step, x) -> int:
    """Rows in a frame that has them."""
    return (x.shape[2] + 2 * edge(step)) * (x.shape[3] + 2 * edge(step))


def bits(value: float) -> int:
    """Those of a float32."""
    return struct.unpack("<I", struct.pack("<f", value))[0]
