"""Costs against counts done by hand, and against the allocator's own log."""

import dataclasses
import math

import matplotlib.pyplot as plt
import pytest

from lib.pictures import plot_live
from tests import compiled
from ttvideo.programs import own
from ttvideo.programs.allocator import read_out_of_memory
from ttvideo.programs.convolution import geometry
from ttvideo.programs.cost import DATA_MOVEMENT, Roofline, Sizes, cost, in_turn, op_cost, roofline
from ttvideo.programs.fidelity import in_fidelity
from ttvideo.programs.own import COSTS
from ttvideo.programs.program import Op, TensorType, Value, read
from ttvideo.programs.reshape import is_view, map_bytes
from ttvideo.targets.boards import BLACKHOLE, BOARDS, WORMHOLE


@pytest.fixture(scope="module")
def conv3d():
    return cost(read(compiled.text("conv3d")))


@pytest.fixture(scope="module")
def decoder():
    return cost(read(compiled.text("decoder")))


def dram(shape, layout="tile", dtype="bf16"):
    buffer = (math.prod(shape[:-1]), shape[-1])
    if layout == "tile":
        rows = math.prod(shape[:-2]) * -(-(1, *shape)[-2] // 32)
        buffer = (rows, -(-shape[-1] // 32))
    return Value("%0", TensorType(shape, dtype, layout, "dram", buffer))


def reshape(before, after):
    return Op("ttnn.reshape", (before,), (after,), {"shape": list(after.type.shape)}, "")


def test_a_convolution_by_hand(conv3d):
    """x [1, 32, 3, 16, 16] -> tiles, NDHWC, rows, conv, tiles, NCDHW; 2 bytes an element, 32-row tiles."""
    # A row of 16 is half a line of a tile's: what is filled is all that the permutation reads of it.
    tiles_in, nhwc_tiles, rows_in, filled = 96 * 2048, 48 * 2048, 768 * 32 * 2, 768 * 32 * 2
    rows_out, nhwc_out, tiles_out = 768 * 64 * 2, 48 * 2 * 2048, 192 * 2048
    # Blocks of 1 output by 32 channels, twice 3x16x16 of them on 110 cores: of two halves by three frames by
    # 16 rows, each a core's, which reads 3 frames of 3 rows but for the zeros around it, and the bias.
    blocks_read = 2 * (3 * 3 - 2) * (16 * 3 - 2) * 16 * 32 * 2
    weights = 27 * 2 * 2048 + 3 * 16 * 2 * 2048
    moved = [
        rows_in + tiles_in, filled + nhwc_tiles, nhwc_tiles + rows_in, blocks_read + weights + rows_out,
        rows_out + nhwc_out, nhwc_out + tiles_out,
    ]  # fmt: skip
    assert [op.moved for op in conv3d.ops] == moved
    assert conv3d.flops == 2 * 3 * 16 * 16 * 64 * 32 * 27
    assert conv3d.data_movement_share == pytest.approx(1 - moved[3] / sum(moved))
    assert conv3d.largest_tensor_bytes == tiles_out
    assert conv3d.const_eval_bytes_moved > 0


def test_weights_left_on_the_host_go_through_dram():
    (conv,) = [op for op in cost(read(compiled.text("conv2d"))).ops if op.name == "ttnn.conv2d"]
    # 4 columns of cores hold 8 channels each, 16 bytes, read from the 64 bytes' boundary before them; a row
    # of the kernel for 8 channels is one tile wide.
    x, out, weight, bias = 256 * (16 + 32 + 48 + 64), 8 * 2 * 2048, 64 * 32 * 9 * 2, 64 * 2
    assert (conv.read, conv.written) == (x + 4 * 3 * 2 * 2048 + 2 * 2048, out + weight + bias)


def test_live_ends_with_what_outlives_the_run(conv3d):
    """Argument x, the cached weight and bias, the output. Rows of 16 take 64 bytes; tiles fill 8 banks
    evenly."""
    x, weight, bias, out = 1536 * 64, 56 * 2048, 8 * 2048, 192 * 2048
    assert conv3d.live[0] == x + weight + bias
    assert conv3d.live[-1] == x + weight + bias + out
    assert conv3d.peak_dram_bytes == max(conv3d.live)


def test_padding_is_what_costs():
    sizes = Sizes()
    assert sizes.of(dram((1024, 64, 2))) == 16 * 1024 * 64 * 2 * 2
    rounded = Sizes(banks=8, alignment=64)
    assert rounded.of(dram((1000, 3), "row_major")) == 1000 * 64
    assert rounded.of(dram((32, 32))) == 8 * 2048


@pytest.mark.parametrize(
    "before, after, layout, view",
    [
        ((3, 64, 32), (192, 32), "tile", True),
        ((3, 48, 32), (144, 32), "tile", False),  # rows are padded
        ((2, 3, 48, 40), (6, 48, 40), "tile", True),
        ((64,), (1, 1, 64), "tile", True),
        ((64, 64), (128, 32), "tile", False),
        ((3, 48, 32), (144, 32), "row_major", True),
        ((64, 64), (128, 32), "row_major", False),
    ],
)
def test_view_rule(before, after, layout, view):
    assert is_view(reshape(dram((1, *before), layout), dram((1, *after), layout))) is view


def test_reshape_maps_are_the_allocators():
    """Sizes that tt-metal 's allocator logged on the mocked p150 for these reshapes."""
    assert map_bytes((8, 1000, 512), (1, 8000, 512)) == 6_144_000
    assert map_bytes((1, 8000, 1024), (8, 1000, 1024)) == 12_582_912


def test_a_dropped_deallocation_raises_the_peak(decoder):
    kept = [line for line in compiled.text("decoder").splitlines() if '"ttnn.deallocate"' not in line]
    leaking = cost(read("\n".join(kept)))
    assert leaking.peak_dram_bytes > 3 * decoder.peak_dram_bytes
    assert leaking.dram_bytes_moved == decoder.dram_bytes_moved


def test_roofline_is_of_bytes_flops_and_launches(decoder):
    line = roofline(decoder, BOARDS["n150"])
    assert line.dram_seconds == pytest.approx(sum(decoder.bytes_by_kind().values()) / 288e9)
    assert line.arithmetic_seconds == pytest.approx(decoder.hifi4_flops / 65.5e12, rel=2e-3)
    assert line.launch_seconds == pytest.approx((decoder.launches * 2e-6, decoder.launches * 22e-6))


def test_fewer_passes_take_less_of_the_multiplier():
    board, program = BOARDS["n150"], read(compiled.text("conv3d"))
    four = cost(program)
    three = cost(in_fidelity(program, "hifi3"))
    assert three.flops == four.flops == four.hifi4_flops and three.dram_bytes_moved == four.dram_bytes_moved
    assert three.hifi4_flops == pytest.approx(0.75 * four.flops)
    assert roofline(three, board).arithmetic_seconds == pytest.approx(
        0.75 * roofline(four, board).arithmetic_seconds
    )


def test_ops_in_turn_take_longer_than_the_longest_resource(decoder):
    board = BOARDS["p150"]
    line = roofline(decoder, board)
    both = line.arithmetic_seconds + line.dram_seconds
    assert max(line.arithmetic_seconds, line.dram_seconds) < in_turn(decoder, board) < both
    one = dataclasses.replace(decoder, ops=decoder.ops[:1])
    assert in_turn(one, board) == max(
        roofline(one, board).arithmetic_seconds, roofline(one, board).dram_seconds
    )


@pytest.mark.parametrize(
    "arithmetic, dram, launches, binds",
    [
        (3, 2, (0.1, 1), "arithmetic"),
        (1, 2, (0.1, 1), "DRAM"),
        (1, 2, (0.5, 5), "DRAM or launches"),
        (1, 2, (2.5, 5), "launches"),
    ],
)
def test_what_binds(arithmetic, dram, launches, binds):
    line = Roofline("p150", arithmetic, dram, launches)
    assert line.binds == binds
    assert line.seconds == max(arithmetic, dram, launches[0])


def test_a_view_launches_nothing(decoder):
    views = [op for op in decoder.ops if op.launches == 0]
    assert len(views) == sum(map(is_view, read(compiled.text("decoder")).main.ops)) > 5
    assert all(op.name == "ttnn.reshape" and op.moved == 0 for op in views)
    assert len(decoder.ops) - len(views) <= decoder.launches


def test_a_product_with_itself_reads_it_twice():
    x, out = dram((1, 6400, 128)), dram((1, 128, 128))
    product = Op("ttnn.matmul", (x, x), (out,), {"transpose_a": True, "transpose_b": False}, "")
    assert op_cost(product, BLACKHOLE).read == 2 * 6400 * 128 * 2 == 3276800  # as counted


def moved(op):
    spent = op_cost(op, BLACKHOLE)
    return spent.read, spent.written


def test_ops_that_cut_tiles_go_through_rows():
    """All as counted (findings/results/transfers.json)."""
    x, half = dram((1024, 256)), dram((512, 256))
    cut = {"begins": [5, 0], "ends": [505, 256], "step": [1, 1]}
    whole = {"begins": [256, 0], "ends": [768, 256], "step": [1, 1]}
    assert moved(Op("ttnn.slice_static", (x,), (dram((500, 256)),), cut, "")) == (1036288, 1042432)
    assert moved(Op("ttnn.slice_static", (x,), (half,), whole, "")) == (262144, 262144)
    short = dram((500, 256)), dram((500, 256))
    assert moved(Op("ttnn.concat", short, (dram((1000, 256)),), {"dim": 0}, "")) == (1548288, 1548288)
    assert moved(Op("ttnn.concat", (half, dram((512, 256))), (x,), {"dim": 0}, "")) == (524288, 524288)


def test_a_sum_over_rows_is_stored_twice():
    rows = {"dim_arg": [1], "keep_dim": False}
    read, written = moved(Op("ttnn.mean", (dram((12, 320, 256)),), (dram((12, 256)),), rows, ""))
    assert (read, written) == (pytest.approx(2166784, rel=0.002), 212992)
    kept = {"dim_arg": [0], "keep_dim": True}
    assert moved(Op("ttnn.mean", (dram((320, 256)),), (dram((256,)),), kept, ""))[1] == 16384


FRAME, MEANS, ROW = (1, 64, 16, 1), (1, 64, 1, 1), "row_major"
# Operands, result and what is said of an op of a compiled decoder: bytes read and written, as counted on both
# simulated chips.
OF_COMPILED = {
    "add": ([(6, 1024), (6, 1)], (6, 1024), {}, (131072, 65536)),
    "where": ([(64, 64), (1, 64), (1, 1)], (64, 64), {}, (24576, 8192)),
    "linear": ([(256, 64), (64, 64), (1, 64)], (256, 64), {"activation": "silu"}, (77824, 65536)),
    "permute": ([(1, 16, 1, 4, 4)], (1, 1, 4, 4, 16), {"permutation": [0, 2, 3, 4, 1]}, (2048, 8192)),
    "concat": ([(1, 32), (1, 32)], (2, 32), {"dim": 0}, (4352, 2304)),
    "repeat": ([(1, 32, 1, 6, 6)], (1, 32, 2, 6, 6), {"repeat_dims": "1x1x2x1x1"}, (72448, 137984)),
    "rms_norm": ([(1, 4, 4, 16), (16,)], (1, 4, 4, 16), {}, (16384, 8192)),
    "batch_norm_training": ([FRAME, MEANS, MEANS], FRAME, {}, (3670016, 2883584)),
}


@pytest.mark.parametrize("name", OF_COMPILED)
def test_an_op_moves_what_was_counted(name):
    shapes, shape, said, counted = OF_COMPILED[name]
    op = Op(f"ttnn.{name}", tuple(map(dram, shapes)), (dram(shape),), said, "")
    assert moved(op) == counted != moved(dataclasses.replace(op, name="ttnn.an_op_without_a_rule"))


def test_taken_rows_are_read_and_their_numbers_written_anew():
    x, index = dram((1, 1024, 64), ROW), dram((1, 1, 1024), ROW, "si32")
    said = {"column": False, "sizes": [1024], "windows": [1]}
    assert moved(Op("ttnn.rows_gather", (x, index), (x,), said, "")) == (139264, 135168)  # as counted


# rows, columns and channels of the padded frame: bytes read and written, as counted (results/transfers.json)
COUNTED = {
    (BLACKHOLE, 62, 108, 768): (23256328, 9781248),
    (BLACKHOLE, 122, 214, 512): (118487880, 53575680),
    (BLACKHOLE, 242, 426, 256): (223983920, 107151360),
    (WORMHOLE, 62, 108, 768): (20908288, 9781248),
    (WORMHOLE, 122, 214, 512): (123151872, 53575680),
    (WORMHOLE, 242, 426, 256): (195612672, 107151360),
}


def conv2d(height, width, channels):
    pixels = (height - 2) * (width - 2)
    attributes = dict(
        batch_size=1, input_height=height, input_width=width, in_channels=channels, out_channels=channels,
        groups=1, kernel_size=[3, 3], stride=[1, 1], padding=[0, 0, 0, 0], dilation=[1, 1],
    )  # fmt: skip
    x = dram((1, 1, height * width, channels), "row_major")
    weight = Value(
        "w", TensorType((channels, channels, 3, 3), "bf16", "row_major", "dram", (channels**2 * 3, 3))
    )
    device = Value("d", None)
    return Op("ttnn.conv2d", (x, weight, device), (dram((1, 1, pixels, channels)),), attributes, "")


@pytest.mark.parametrize("case", COUNTED, ids=lambda case: f"{case[0].arch}_{case[1]}x{case[2]}x{case[3]}")
def test_a_convolution_reads_what_was_counted(case):
    chip, *size = case
    spent, (read, written) = op_cost(conv2d(*size), chip), COUNTED[case]
    assert spent.read == pytest.approx(read, rel=0.02)
    assert spent.written == written


@pytest.mark.parametrize("chip, slices", [(BLACKHOLE, (1, 2, 5, 27)), (WORMHOLE, (1, 4, 7, 27))])
def test_slices_are_those_that_tt_nn_makes(chip, slices):
    """As its graph capture shows them on a mocked board, at the sizes of a 480x848 clip."""
    sizes = ((62, 108, 768), (122, 214, 512), (242, 426, 256), (482, 850, 256))
    assert tuple(len(geometry(conv2d(*size), chip).slices()) for size in sizes) == slices


def test_whole_tiles_of_columns_need_no_reshape():
    assert geometry(conv2d(242, 426, 256), BLACKHOLE).reshaped
    assert not geometry(conv2d(242, 450, 256), BLACKHOLE).reshaped


def test_plot(conv3d, decoder):
    figure = plot_live({"one conv": conv3d, "decoder": decoder})
    over_time, by_kind = figure.axes
    begins = [line.get_ydata()[0] for line in over_time.get_lines()]
    assert begins == [conv3d.live[0] / 1e9, decoder.live[0] / 1e9]
    bars = dict(zip((tick.get_text() for tick in by_kind.get_yticklabels()), by_kind.containers[1]))
    moved = decoder.bytes_by_kind()
    for name, bar in bars.items():
        kind = f"ttnn.{name.removesuffix(' (moves)')}"
        assert bar.get_width() == pytest.approx(moved[kind] / 1e9)
        assert name.endswith(")") == (kind in DATA_MOVEMENT)
    assert {name.endswith(")") for name in bars} == {True, False} and not plt.get_fignums()


def test_out_of_memory_message():
    said = (
        "Out of Memory: Not enough space to allocate 21139292160 B DRAM buffer across 8 banks, where each "
        "bank needs to store 2642411520 B, but bank size is 4270674816 B (allocated: 2000000000 B, free: "
        "2270674816 B, largest"
    )
    full = read_out_of_memory(said)
    assert (full.memory, full.wanted_bytes, full.banks) == ("DRAM", 21139292160, 8)
    assert (full.wanted_a_bank, full.allocated_a_bank) == (2642411520, 2000000000)
    assert read_out_of_memory("fine") is None


def test_every_own_op_that_reads_again_is_costed_so():
    assert COSTS == {one.NAME: one.read_again for one in own.OPS if hasattr(one, "read_again")}
