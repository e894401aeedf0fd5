"""In TT-NN's environment: comparisons with zero in two forms, over signs, zeros, infinities, NaN, denormals
and extremes."""

import json
import os
import sys
from pathlib import Path

import ttnn

HERE = Path(__file__).parent
HALF = (0x00000000, 0x3F800000, 0x7F800000, 0x7FC00000, 0x7F800001, 0x00000001, 0x00800000, 0x7F7FFFFF)
NUMBERS = [*HALF, *(bits | 1 << 31 for bits in HALF)]
BYTES = 4096

device = ttnn.open_device(device_id=0, l1_small_size=32768)
out = ttnn.allocate_tensor_on_device(
    ttnn.Shape([32, 32]), ttnn.float32, ttnn.TILE_LAYOUT, device, ttnn.DRAM_MEMORY_CONFIG
)
core = ttnn.CoreCoord(0, 0)
cores = ttnn.CoreRangeSet([ttnn.CoreRange(core, core)])


def buffer(index):
    form = ttnn.CBFormatDescriptor(buffer_index=index, data_format=ttnn.float32, page_size=BYTES)
    return ttnn.CBDescriptor(total_size=BYTES, core_ranges=cores, format_descriptors=[form])


def kernel(name, config, static, given):
    arguments = ttnn.RuntimeArgs()
    arguments[0][0] = given
    return ttnn.KernelDescriptor(
        kernel_source=str(HERE / f"{name}.cpp"), core_ranges=cores, compile_time_args=static,
        runtime_args=arguments, config=config,
    )  # fmt: skip


compute = ttnn.ComputeConfigDescriptor(math_fidelity=ttnn.MathFidelity.HiFi4, fp32_dest_acc_en=True)
static = list(ttnn.TensorAccessorArgs(out).get_compile_time_args())
kernels = [
    kernel("comparisons_compute", compute, [], NUMBERS),
    kernel("one_tile_writer", ttnn.WriterConfigDescriptor(), static, [out.buffer_address()]),
]
ttnn.generic_op(
    [out, out], ttnn.ProgramDescriptor(kernels=kernels, semaphores=[], cbs=[buffer(0), buffer(2)])
)
tile = out.cpu().to_list()
found = {}
for i, bits in enumerate(NUMBERS):  # a tile is four faces of 16 by 16
    row, column = i // 8 * 16 + i % 4 * 4, i // 4 % 2 * 16
    answers = {tile[row + r][column + c] for r in range(4) for c in range(16)}
    (answer,) = answers
    found[f"{bits:08x}"] = [int(answer) >> place & 1 for place in range(4)]
print("FOUND", json.dumps(found))
sys.stdout.flush()
os._exit(0)
