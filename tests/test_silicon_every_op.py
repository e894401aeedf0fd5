"""Every op that TT-NN's process has a rule for, executed on both simulated chips and compared with the
evaluator."""

import ast
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from needs import needs_ttsim

from ttvideo.programs import own
from ttvideo.programs.evaluate import OPS, evaluate
from ttvideo.programs.fidelity import in_fidelity
from ttvideo.programs.program import Op, TensorType, Value
from ttvideo.targets.target import TARGETS
from ttvideo.ttnn.against_evaluator import op_by_op
from ttvideo.ttnn.chip import Broke, Chip
from ttvideo.ttnn.handmade import EXACT, op, program, tensor
from ttvideo.ttnn.places import HOST

pytestmark = pytest.mark.long

OWN = Path(own.__file__).parent / "launch"
FUSED = {"activations": [], "input_tensor_a_activations": [], "input_tensor_b_activations": []}
CONV = {"stride": [1, 1], "dilation": [1, 1], "groups": 1, "batch_size": 1}
ROWS, COLUMNS = 64, 96
SHAPE = (ROWS, COLUMNS)


def one(name, after=SHAPE, *, before=SHAPE, operands=1, dtype="bf16", layouts=("tile", "tile"), **attributes):
    xs = [tensor(f"x{i}", before, dtype, layouts[0]) for i in range(operands)]
    return xs, op(name, xs, tensor("y", after, attributes.pop("to", dtype), layouts[1]), **attributes)


def filled(name, **attributes):
    """An op without operands, added to an argument: a program has one."""
    x, made, y = tensor("x0", SHAPE), tensor("m", SHAPE), tensor("y", SHAPE)
    return [x], [op(name, [], made, **attributes), op("add", [x, made], y, **FUSED)]


def indexed(name, x, indices: list[int], y, *, index_shape=None, layout="tile", **attributes):
    shape = index_shape or (1, len(indices))
    index = tensor("i", shape, "si32", "row_major")
    xs = {"embedding": [index, x]}.get(name, [x, index])
    return xs, op(name, xs, y, **attributes), {"i": torch.tensor(indices, dtype=torch.int32).reshape(shape)}


TWO_AXES = (8, 4), (0, 7, 3, 1, 0, 3)


def rows_gather(column: bool, sizes=(ROWS,), indices=(3, 3, 0, 63)):
    count = len(indices) // len(sizes)
    rows = ROWS if len(sizes) == 1 else sizes[0] * sizes[1]
    x = tensor("x0", (32, rows) if column else (1, rows, COLUMNS), layout="row_major")
    y = tensor("y", (32, count) if column else (1, count, COLUMNS), layout="row_major")
    more = {"sizes": list(sizes), "column": column, "fill_out_of_bounds": False, "windows": [1] * len(sizes)}
    return indexed("rows_gather", x, list(indices), y, index_shape=(1, len(sizes), count), **more)


def product(name, a=(1, ROWS, COLUMNS), b=(COLUMNS, 32), y=(1, ROWS, 32), bias=False, **attributes):
    xs = [tensor("x0", a), tensor("x1", b)] + ([tensor("x2", (1, 32))] if bias else [])
    transposed = {"transpose_a": False, "transpose_b": False} | attributes
    return xs, op(name, xs, tensor("y", y), **transposed, **EXACT)


def conv2d(prepared: bool):
    """8 x 10 positions, 32 channels to 64; the weight as it is, or prepared by a const-eval function's op."""
    how = CONV | dict(
        in_channels=32, out_channels=64, input_height=8, input_width=10, kernel_size=[3, 3],
        padding=[1, 1, 1, 1], conv2d_config={"config_tensors_in_dram": True}, **EXACT,
    )  # fmt: skip
    x, y = tensor("x0", (1, 1, 80, 32), layout="row_major"), tensor("y", (1, 1, 80, 64))
    weight = Value("x1", TensorType((64, 32, 3, 3), "bf16", "row_major", "system", (64 * 32 * 3, 3)))
    bias = Value("x2", TensorType((1, 1, 1, 64), "bf16", "row_major", "system", (1, 64)))
    if not prepared:
        return [x, weight, bias], op("conv2d", [x, weight, bias], y, **how)
    # Else it may differ from the preparation to the use.
    how["conv2d_config"]["shard_layout"] = "height_sharded"
    w, b = tensor("w", (1, 1, 288, 64)), tensor("b", (1, 1, 1, 64))
    steps = [
        op("prepare_conv2d_weights", [weight], w, weights_format="OIHW", has_bias=True, **how),
        op("prepare_conv2d_bias", [bias], b, **how),
        op("conv2d", [x, w, b], y, **how),
    ]
    return [x, weight, bias], steps


def rows(name: str, *shape: int, dtype: str = "bf16") -> Value:
    return tensor(name, shape, dtype, "row_major")


def conv1d():
    x, y = rows("x0", 1, 40, 32), tensor("y", (1, 1, 40, 64))
    weight = Value("x1", TensorType((64, 32, 3), "bf16", "row_major", "system", (64 * 32, 3)))
    attributes = dict(
        batch_size=1, in_channels=32, out_channels=64, input_length=40, kernel_size=3, stride=1,
        padding=[1, 1], dilation=1, groups=1,
    )  # fmt: skip
    return [x, weight], op("conv1d", [x, weight], y, **attributes, **EXACT)


def conv3d(padding_mode: str):
    attributes = dict(
        batch_size=1, in_channels=32, out_channels=32, input_depth=3, input_height=6, input_width=8, groups=1,
        kernel_size=[3, 3, 3], stride=[1, 1, 1], padding=[0, 1, 1], padding_mode=padding_mode,
        dilation=[1, 1, 1],
        conv3d_config={"t_out_block": 1, "h_out_block": 2, "w_out_block": 8, "c_out_block": 32,
                       "c_in_block": 32},
    )  # fmt: skip
    x, y = rows("x0", 1, 3, 6, 8, 32), rows("y", 1, 1, 6, 8, 32)
    weight = Value("x1", TensorType((32, 32, 3, 3, 3), "bf16", "row_major", "system", (32 * 32 * 9, 3)))
    bias, w = tensor("x2", (1, 32)), tensor("w", (864, 32))
    steps = [
        op("prepare_conv3d_weights", [weight], w, groups=1, c_in_block=32, alignment=32),
        op("conv3d", [x, w, bias], y, **attributes, **EXACT),
    ]
    return [x, weight, bias], steps


def batch_norm_training():
    shape, each = (2, 32, 8, 8), (1, 32, 1, 1)
    xs = [tensor("x0", shape), tensor("x1", each), tensor("x2", each)]
    results = (tensor("y", shape), tensor("mean", each), tensor("variance", each))
    attributes = {"operandSegmentSizes": [1, 0, 0, 1, 1], "epsilon": 1e-5, "momentum": 1.0}
    return xs, Op("ttnn.batch_norm_training", tuple(xs), results, attributes | EXACT, "")


def moments(channels: int, clips: int = 1):
    """Of a clip, or of two, whose sum comes too."""
    xs = [rows(f"x{i}", 1, 2, 5, 7, channels) for i in range(clips)]
    sums = rows("y", 2 * 2 * 2, 1024, dtype="f32"), *(rows("sum", *x.type.shape) for x in xs[1:])
    return xs, Op("ttnn.generic_op.frame_moments", tuple(xs), sums, {"parts": 2} | EXACT, "")


def moments_of_pixels(channels: int, expansion=(2, 2, 3)):
    """Of what channels are spread to, which comes too."""
    x, pixels = rows("x0", 1, 1, 3, 5, 12 * channels), rows("pixels", 1, 2, 6, 15, channels)
    how = {"parts": 2, "expansion": list(expansion)} | EXACT
    sums = rows("y", 2 * 2 * 2, 1024, dtype="f32")
    return [x], Op("ttnn.generic_op.frame_moments", (x,), (sums, pixels), how, "")


def group_affine(sums: int = 2 * 2 * 2, **other):
    """Of sums that a frame of positive numbers has: the first of x, the second of x * x, which is larger."""
    xs = [rows("x0", sums, 1024, dtype="f32"), rows("x1", 2, 64)]
    attributes = dict(rows=35, groups=32, parts=2, pieces=4, epsilon=1e-5) | other
    return xs, op("generic_op.group_affine", xs, rows("y", 4, 64), **attributes)


def depth_to_space(expansion=(3, 2, 1), repeats=(1, 1, 1), **other):
    t, h, w = (n * by * again for n, by, again in zip((2, 3, 5), expansion, repeats))
    t -= (expansion[0] * repeats[0] - 1) * ("single" in other)
    x, y = rows("x0", 1, 2, 3, 5, 32 * math.prod(expansion)), rows("y", 1, t, h, w, 32)
    attributes = {"expansion": list(expansion), "repeats": list(repeats)} | other
    return [x], op("generic_op.depth_to_space", [x], y, **attributes)


def behind(
    name: str, c: int, before: str, *more: Value, frames: int = 3, clips: int = 1, given=True, **attributes
):
    """An op that puts a clip of so many frames, or the sum of two, which may be `given`, too, after its past;
    `more` are its operands after the clip."""
    edges, kept = 2 * ("reflected" in attributes), before != "nothing"
    frame, beyond = (5 + edges, 7 + edges, c), attributes.get("lead", 2) + attributes.get("tail", 0)
    xs = [rows("x0", 1, frames, 5, 7, c), *more]
    xs += [rows("x2", 1, 2, *frame)] * (before == "given")
    xs += [rows("x3", 1, frames, 5, 7, c)] * (clips - 1)
    results = (rows("y", 1, frames + beyond * kept, *frame),) + (rows("kept", 1, 2, *frame),) * kept
    results += (rows("sum", 1, frames, 5, 7, c),) * (clips - 1 if given else 0)
    return xs, Op(f"ttnn.generic_op.{name}", tuple(xs), results, {"before": before} | attributes, "")


def norm_of_pixels(c: int, before: str, silu: bool = True, **other):
    how = dict(channels=c - 8, epsilon=1e-6, silu=silu, parts=2) | other | EXACT
    return behind("rms_norm", c, before, rows("x1", 2, c), **how)


def norm_of_spread(before: str):
    """Of pixels that come as channels, (2, 1, 2) of them."""
    x, affine, past = rows("x0", 1, 2, 5, 7, 4 * 96), rows("x1", 2, 96), rows("x2", 1, 2, 5, 14, 96)
    y, kept, clip = (rows(name, 1, n, 5, 14, 96) for name, n in (("y", 6), ("kept", 2), ("clip", 4)))
    how = dict(before=before, channels=88, epsilon=1e-6, silu=True, parts=2, expansion=[2, 1, 2]) | EXACT
    xs = [x, affine] + [past] * (before == "given")
    return xs, Op("ttnn.generic_op.rms_norm", tuple(xs), (y, kept, clip), how, "")


def sum_behind(channels: int, before: str, **other):
    how = dict(offset=1, parts=2) | other | EXACT
    return behind("add_after_past", channels, before, rows("x1", 1, 5, 5, 7, channels), **how)


def norm_silu(before: str, frames: int = 3, silu: bool = True, of: int | None = None):
    """Scale and shift are of each frame, or `of` so many."""
    affine = rows("x1", 2 * (of or frames), 64)
    return behind("norm_silu", 64, before, affine, frames=frames, silu=silu, parts=2, **EXACT)


def norm_silu_of_a_piece():
    """Behind the last frames of the piece before it; nothing stays."""
    (x, affine, _), one = norm_silu("given", of=1)
    xs = [x, affine, rows("x2", 1, 4, 5, 7, 64)]
    return xs, Op(one.name, tuple(xs), one.results[:1], one.attributes, "")


def spatial_norm(before: str):
    """Of three frames, 6 x 10, with two latent frames of 3 x 5."""
    more = rows("x1", 2, 96), rows("m", 1, 2, 3, 5, 192)
    x, y, kept = (rows(n, 1, t, 6, 10, 96) for n, t in (("x0", 3), ("y", 5), ("kept", 2)))
    xs = [x, *more] + [rows("x2", 1, 2, 6, 10, 96)] * (before == "given")
    attributes = {"before": before, "parts": 2} | EXACT
    return xs, Op("ttnn.generic_op.spatial_norm_silu", tuple(xs), (y, kept), attributes, "")


def frames(patch: int, dtype: str, clamped: bool = True):
    x, y = rows("x0", 1, 2, 3, 5, 32), rows("y", 2, 3 * patch, 5 * patch * 3 + (dtype == "u8"), dtype=dtype)
    numbers = torch.randn(x.type.shape, generator=torch.Generator().manual_seed(0))
    if dtype == "u8":
        numbers[0, 1, 2, 3, :2] = torch.tensor([torch.inf, 0])
    return [x], op("generic_op.frames", [x], y, patch=patch, clamped=clamped), {"x0": numbers}


def attention(pixels: int, channels: int, frames: int = 1):
    """Of a frame's pixels to those of so many."""
    sizes = pixels, pixels * frames, pixels * frames
    q, k, v = (tensor(f"x{i}", (2, 1, size, channels)) for i, size in enumerate(sizes))
    y, chunks = tensor("y", (2, 1, pixels, channels)), {"q_chunk_size": 32, "k_chunk_size": 32}
    given = {"program_config": chunks, "is_causal": False, "scale": channels**-0.5}
    generator = torch.Generator().manual_seed(0)
    numbers = {x.name: torch.randn(x.type.shape, generator=generator) for x in (q, k, v)}
    return [q, k, v], op("scaled_dot_product_attention", [q, k, v], y, **given, **EXACT), numbers


def rms_norm():
    xs = [tensor("x0", SHAPE), tensor("x1", (COLUMNS,))]
    return xs, op("rms_norm", xs, tensor("y", SHAPE), epsilon=1e-6, operandSegmentSizes=[1, 1, 0], **EXACT)


def rows_scatter():
    xs = [rows("x0", 1, 8, 32), rows("i", 1, 1, 2, dtype="si32"), rows("x1", 1, 2, 32)]
    how = dict(column=False, reduce="invalid", sizes=[8], windows=[1])
    return xs, op("rows_scatter", xs, rows("y", 1, 8, 32), **how), {"i": torch.tensor([[[5, 2]]])}


UNARY = (
    "abs", "neg", "sign", "ceil", "floor", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal",
    "sin", "cos", "tanh", "erf", "sigmoid", "silu", "relu", "relu6", "gelu", "logical_not", "isfinite",
    "square",
)  # fmt: skip
BINARY = (
    "add", "subtract", "multiply", "divide", "eq", "ne", "ge", "gt", "le", "lt", "logical_and", "logical_or",
    "logical_xor",
)  # fmt: skip
TURNED = (COLUMNS, ROWS)
ONCE = {"lead": 1, "tail": 1}  # frames around a clip that is looked ahead in
CASES = {
    **{name: (lambda name=name: one(name)) for name in UNARY},
    **{name: (lambda name=name: one(name, operands=2, **FUSED)) for name in BINARY},
    **{n: (lambda n=n: one(n, operands=2)) for n in ("maximum", "minimum", "pow_tensor", "remainder")},
    "pow_scalar": lambda: one("pow_scalar", rhs=2.0),
    "clamp_scalar": lambda: one("clamp_scalar", min=0.5, max=1.5),
    "where": lambda: one("where", operands=3),
    "to_layout": lambda: one("to_layout", layouts=("tile", "row_major")),
    "typecast": lambda: one("typecast", to="f32"),
    "assign": lambda: one("assign"),
    "to_memory_config": lambda: one("to_memory_config"),
    "reshape": lambda: one("reshape", (32, 192), shape=[32, 192]),
    "permute": lambda: one("permute", TURNED, permutation=[1, 0]),
    "transpose": lambda: one("transpose", TURNED, dim0=0, dim1=1),
    "slice_static": lambda: one("slice_static", (20, 50), begins=[5, 10], ends=[25, 60], step=[1, 1]),
    "concat": lambda: one("concat", (128, COLUMNS), operands=2, dim=0),
    "pad": lambda: one("pad", (66, 100), padding=[0, 2, 0, 4], value=0.0),
    "repeat": lambda: one("repeat", (ROWS, 192), repeat_dims="1x2"),
    "repeat_interleave": lambda: one("repeat_interleave", (128, COLUMNS), repeats=2, dim=0),
    "embedding": lambda: indexed("embedding", tensor("x0", SHAPE, layout="row_major"), [3, 3, 0, 63],
                                 tensor("y", (1, 4, COLUMNS), layout="row_major")),
    "gather": lambda: indexed("gather", tensor("x0", (32, 32)), list(range(32)) * 32, tensor("y", (32, 32)),
                              index_shape=(32, 32), dim=1),
    "rows_gather": lambda: rows_gather(column=False),
    "rows_gather of columns": lambda: rows_gather(column=True),
    "rows_gather along two axes": lambda: rows_gather(False, *TWO_AXES),
    "rows_gather of columns along two axes": lambda: rows_gather(True, *TWO_AXES),
    "rows_scatter": rows_scatter,
    "upsample": lambda: one("upsample", (1, 16, 24, 32), before=(1, 8, 8, 32), layouts=("row_major",) * 2,
                            scale_factor=[2, 3], mode="nearest"),
    "zeros": lambda: filled("zeros", shape=list(SHAPE)),
    "ones": lambda: filled("ones", shape=list(SHAPE)),
    "full": lambda: filled("full", shape=list(SHAPE), fill_value=1.5),
    "constant": lambda: filled("constant", value={"dense": 1.5}),
    "arange": lambda: filled("arange", start=0, end=ROWS * COLUMNS, step=1),
    **{n: (lambda n=n: one(n, (1, COLUMNS), dim_arg=[0], keep_dim=True, **EXACT))
       for n in ("sum", "mean", "max", "min")},
    "softmax": lambda: one("softmax", dimension=1, numericStable=True, **EXACT),
    "batch_norm_training": batch_norm_training,
    "rms_norm": rms_norm,
    "matmul": lambda: product("matmul"),
    "linear": lambda: product("linear", bias=True),
    "linear, transposed": lambda: product("linear", b=(32, COLUMNS), transpose_b=True),
    "conv1d": conv1d,
    "conv2d": lambda: conv2d(prepared=False),
    "conv2d, prepared": lambda: conv2d(prepared=True),
    "conv3d": lambda: conv3d("zeros"),
    "conv3d, edges repeated": lambda: conv3d("replicate"),
    "frame_moments": lambda: moments(64),
    "frame_moments, 10 rows a tile": lambda: moments(96),
    "frame_moments of a sum": lambda: moments(96, clips=2),
    "frame_moments of a sum, many chunks": lambda: moments(512, clips=2),
    "frame_moments of channels spread to pixels": lambda: moments_of_pixels(32),
    "frame_moments of channels spread to pixels, 10 a tile": lambda: moments_of_pixels(96),
    "group_affine": group_affine,
    "norm_silu": lambda: norm_silu("given"),
    "norm_silu of one frame": lambda: norm_silu("given", frames=1),
    "norm_silu, a clip begins": lambda: norm_silu("first frame", frames=2, of=1),
    "norm_silu, zeros before": lambda: norm_silu("zeros"),
    "norm_silu of a clip's next piece": norm_silu_of_a_piece,
    "norm alone": lambda: norm_silu("nothing", silu=False),
    "depth_to_space": depth_to_space,
    "depth_to_space, repeated": lambda: depth_to_space(repeats=[2, 1, 3]),
    "norm of pixels": lambda: norm_of_pixels(96, "zeros"),
    "norm of pixels of two a tile": lambda: norm_of_pixels(384, "given"),
    "norm of pixels of one a tile": lambda: norm_of_pixels(1024, "first frame"),
    "norm of pixels alone": lambda: norm_of_pixels(64, "nothing", silu=False),
    "norm of pixels without their mean": lambda: norm_of_pixels(
        96, "nothing", False, centred=True, channels=96),
    "norm of pixels, reflected": lambda: norm_of_pixels(96, "given", reflected=True),
    "norm of a sum's pixels": lambda: norm_of_pixels(96, "given", clips=2),
    "norm of a sum's pixels alone": lambda: norm_of_pixels(64, "nothing", silu=False, clips=2),
    "norm of channels spread to pixels": lambda: norm_of_spread("given"),
    "norm of channels spread to pixels, a clip begins": lambda: norm_of_spread("first frame"),
    "norm of pixels of what is summed up": lambda: norm_of_pixels(96, "first frame", clips=2, given=False),
    "norm of a sum's pixels, two a tile": lambda: norm_of_pixels(384, "zeros", clips=2),
    "norm of pixels of a whole clip": lambda: norm_of_pixels(256, "first frame", reflected=True, **ONCE),
    **{f"after_past, {b}": (lambda b=b: behind("after_past", 96, b))
       for b in ("given", "first frame", "zeros")},
    "after_past, a whole clip": lambda: behind("after_past", 96, "first frame", reflected=True, **ONCE),
    "after_past, a clip ends": lambda: behind("after_past", 1024, "given", tail=1),
    "after_past, edges alone": lambda: behind("after_past", 64, "nothing", reflected=True),
    "add_after_past": lambda: sum_behind(96, "given", offset=0),
    "add_after_past, a whole clip": lambda: sum_behind(256, "first frame", **ONCE),
    "add_after_past, a clip begins": lambda: sum_behind(64, "first frame", offset=2),
    "spatial norm": lambda: spatial_norm("given"),
    "spatial norm, a clip begins": lambda: spatial_norm("first frame"),
    "group_affine, filled up": lambda: group_affine(channels=48, groups=8, pieces=1),
    "group_affine, of many parts": lambda: group_affine(sums=2 * 2 * 24, parts=24),
    "depth_to_space, the first frame once": lambda: depth_to_space((1, 1, 1), (2, 2, 1), single=True),
    "depth_to_space, without the very first": lambda: depth_to_space((2, 2, 2), single=True),
    "frames": lambda: frames(1, "bf16"),
    "frames of patches, unclamped": lambda: frames(2, "bf16", clamped=False),
    "frames of 8 bits": lambda: frames(2, "u8"),
    "attention": lambda: attention(64, 64),
    "attention of less than a tile": lambda: attention(40, 32),
    "attention to frames before": lambda: attention(40, 64, frames=3),
}  # fmt: skip


COUNTING = {"ttnn.generic_op.dram_counts"}  # of no values; in test_ttnn.py
MOVEMENT = {"ttnn.to_device", "ttnn.from_device", "ttnn.empty"}  # exercised by each run, or of no values


@pytest.fixture(scope="module", params=["n150", "p150"])
def chip(request):
    """A chip that is opened again after a simulator that stopped."""
    opened = Reopened(TARGETS[f"{request.param}-ttsim"])
    yield opened
    opened.close()


class Reopened:
    def __init__(self, target):
        self.target, self.chip = target, None

    def run(self, *arguments, **options):
        self.chip = self.chip or Chip(self.target)
        try:
            return self.chip.run(*arguments, **options)
        except Broke:
            self.close()
            raise

    def close(self):
        if self.chip:
            self.chip.close()
        self.chip = None


def ops_known_to_the_host() -> set[str]:
    """From the source, which imports TT-NN."""
    return {name for file in (HOST / "ops.py", *OWN.glob("*.py")) for name in ops_known_in(file)}


def ops_known_in(file: Path) -> set[str]:
    module = ast.parse(file.read_text())
    assigned = [n for n in module.body if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)]
    names = {n.targets[0].id: n.value for n in assigned}
    found = set()
    for function in module.body:
        for decorator in getattr(function, "decorator_list", []):
            for argument in decorator.args:
                value = names[argument.value.id] if isinstance(argument, ast.Starred) else argument
                literal = ast.literal_eval(value)
                found |= {literal} if isinstance(literal, str) else set(literal)
    return {f"ttnn.{name}" for name in found}


def built(name: str):
    values, ops, *given = CASES[name]()
    ops = ops if isinstance(ops, list) else [ops]
    numbers = torch.Generator().manual_seed(0)
    arguments = {value.name: torch.rand(value.type.shape, generator=numbers) * 2 + 0.25 for value in values}
    return program(values, ops), arguments | (given[0] if given else {})


def test_every_rule_has_a_case():
    made = {op.name for name in CASES for op in built(name)[0].main.ops}
    assert ops_known_to_the_host() - MOVEMENT - COUNTING == made
    assert made <= set(OPS)


@needs_ttsim
@pytest.mark.parametrize("name", CASES)
def test_the_evaluator_agrees(chip, name):
    made, arguments = built(name)
    for one in op_by_op(chip, made, arguments):
        assert one.scaled_steps <= OPS[one.op].within, one


def in_fewer_passes():
    """Each case whose op states a fidelity, with each lower one that the evaluator follows."""
    for name in CASES:
        op = built(name)[0].main.ops[-1]
        if "compute_config" in op.attributes:
            yield from ((name, fidelity) for fidelity in OPS[op.name].fidelities[1:])


@needs_ttsim
@pytest.mark.parametrize("name, fidelity", in_fewer_passes())
def test_the_evaluator_follows_the_fidelity(chip, name, fidelity):
    made, arguments = built(name)
    for one in op_by_op(chip, in_fidelity(made, fidelity), arguments):
        assert one.scaled_steps <= OPS[one.op].within, one


@needs_ttsim
@pytest.mark.parametrize("name", [name for name in CASES if "a sum" in name or "spread" in name])
def test_what_is_made_on_the_way_is_what_is_made_before(chip, name):
    """And then read as any other clip."""
    made, arguments = built(name)
    (step,) = made.main.ops
    (x, *others), attributes = step.operands, dict(step.attributes)
    clip = rows("clip", *step.results[-1].type.shape)
    if "spread" in name:
        before = op("generic_op.depth_to_space", [x], clip, expansion=attributes.pop("expansion"))
    else:
        before = op("add", [x, others.pop()], clip, **FUSED)
    numbers = torch.Generator().manual_seed(1)
    arguments |= {x.name: torch.randn(x.type.shape, generator=numbers) for x in before.operands}
    then = replace(step, operands=(clip, *others), results=step.results[:-1], attributes=attributes)
    apart = program(list(step.operands), [before, then], [*then.results, clip])
    for evaluated in (True, False):
        run = evaluate if evaluated else (lambda *of: list(chip.run(*of).outputs.values()))
        *found, on_the_way = run(made, arguments)
        *wanted, clip = run(apart, arguments)
        assert torch.equal(on_the_way, clip)
        if "moments" not in name or evaluated:
            assert all(map(torch.equal, found, wanted))
        else:  # added up in pieces, in float32
            assert torch.allclose(*found, *wanted, rtol=1e-5, atol=1e-4)


@needs_ttsim
def test_partial_sums_in_float32_are_nearer(chip):
    """Which shows where the difference of a conv2d comes from (see its rule's `because`)."""
    made, arguments = built("conv2d")
    (step,) = made.main.ops
    exact = {"compute_config": EXACT["compute_config"] | {"packer_l1_acc": True}}
    better = program([a.value for a in made.arguments], [replace(step, attributes=step.attributes | exact)])
    (as_is,), (kept_wide,) = op_by_op(chip, made, arguments), op_by_op(chip, better, arguments)
    assert kept_wide.differing < 0.6 * as_is.differing
