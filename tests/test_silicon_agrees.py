"""The evaluator against the chip: random programs of ops that it knows, each op given the same on both."""

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from needs import needs_ttsim

from ttvideo.programs.evaluate import OPS
from ttvideo.programs.evaluate.values import rounded
from ttvideo.programs.program import Program, TensorType, Value
from ttvideo.targets.target import TARGETS
from ttvideo.ttnn.against_evaluator import apart, op_by_op
from ttvideo.ttnn.chip import Chip
from ttvideo.ttnn.handmade import EXACT, conv3d, op, program, tensor

pytestmark = pytest.mark.long

SHAPE = (32, 64)
FUSED = {"activations": [], "input_tensor_a_activations": [], "input_tensor_b_activations": []}
MOVES = st.sampled_from("permute reshape slice_static concat repeat".split())
COMPUTES = st.sampled_from(
    "add subtract multiply silu sigmoid exp tanh pow_scalar sum mean matmul where softmax".split()
)


def step(name: str, x, dtype: str, number: int):
    """One op on x [rows, columns] of a type: the op, with its result."""
    rows, columns = x.type.shape

    def result(shape):
        return tensor(f"%{number}", shape, dtype)

    match name:
        case "permute":
            return op("permute", [x], result((columns, rows)), permutation=[1, 0])
        case "reshape":
            shape = (rows // 2, columns * 2)
            return op("reshape", [x], result(shape), shape=list(shape))
        case "slice_static":
            part = dict(begins=[rows // 4, 0], ends=[rows // 4 + rows // 2, columns], step=[1, 1])
            return op(name, [x], result((rows // 2, columns)), **part)
        case "concat":
            return op("concat", [x, x], result((2 * rows, columns)), dim=0)
        case "repeat":
            return op("repeat", [x], result((rows, 2 * columns)), repeat_dims="1x2")
        case "pow_scalar":
            return op("pow_scalar", [x], result(x.type.shape), rhs=2.0)
        case "sum" | "mean":
            return op(name, [x], result((1, columns)), dim_arg=[0], keep_dim=True, **EXACT)
        case "matmul":
            return op("matmul", [x, x], result((rows, rows)), transpose_a=False, transpose_b=True, **EXACT)
        case "softmax":
            return op(name, [x], result(x.type.shape), dimension=1, numericStable=True, **EXACT)
        case "where":
            return op("where", [x, x, x], result(x.type.shape))
        case "add" | "subtract" | "multiply":
            return op(name, [x, x], result(x.type.shape), **FUSED)
    return op(name, [x], result(x.type.shape))


@st.composite
def programs(draw) -> Program:
    dtype = draw(st.sampled_from(["bf16", "f32"]))
    value = first = tensor("x", SHAPE, dtype)
    ops = []
    for number in range(draw(st.integers(1, 3))):
        ops.append(step(draw(COMPUTES | MOVES), value, dtype, number))
        value = ops[-1].results[0]
        if min(value.type.shape) < 8 or max(value.type.shape) > 256:
            break
    return program([first], ops)


@st.composite
def convolutions(draw) -> tuple[Program, dict[str, torch.Tensor]]:
    """A Conv2d as the compiler writes it, or a Conv3d in blocks, of random sizes; with its arguments."""
    channels, out = draw(st.sampled_from([32, 64])), draw(st.sampled_from([32, 64]))
    height, width, pad = draw(st.integers(4, 12)), draw(st.integers(4, 12)), draw(st.integers(0, 1))
    numbers = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    if draw(st.booleans()):
        conv = torch.nn.Conv3d(channels, out, 3, padding=(0, pad, pad))
        x = torch.randn(1, draw(st.integers(3, 4)), height, width, channels, generator=numbers)
        return conv3d(conv, x, (1, 2, 4))
    stride = draw(st.integers(1, 2))
    high, across = ((size + 2 * pad - 3) // stride + 1 for size in (height, width))
    x = tensor("x", (1, 1, height * width, channels), layout="row_major")
    y = tensor("y", (1, 1, high * across, out))
    shape = (out, channels, 3, 3)
    weight = Value("w", TensorType(shape, "bf16", "row_major", "system", (out * channels * 3, 3)))
    step = op(
        "conv2d", [x, weight], y, batch_size=1, in_channels=channels, out_channels=out, input_height=height,
        input_width=width, groups=1, kernel_size=[3, 3], stride=[stride] * 2, padding=[pad] * 4,
        dilation=[1, 1], conv2d_config={"config_tensors_in_dram": True}, **EXACT,
    )  # fmt: skip
    values = {v.name: torch.randn(v.type.shape, generator=numbers) for v in (x, weight)}
    return program([x, weight], [step]), values


@pytest.fixture(scope="module", params=["n150", "p150"])
def chip(request):
    with Chip(TARGETS[f"{request.param}-ttsim"]) as chip:
        yield chip


few = settings(
    max_examples=10, deadline=None, derandomize=True, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


@needs_ttsim
@few
@given(made=programs(), seed=st.integers(0, 99))
def test_random_programs_agree_op_by_op(chip, made, seed):
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))
    for one in op_by_op(chip, made, {"x": x}):
        assert one.scaled_steps <= OPS[one.op].within, one


@needs_ttsim
@settings(few, max_examples=6)  # each has kernels of its own to be built
@given(made=convolutions())
def test_random_convolutions_agree(chip, made):
    for one in op_by_op(chip, *made):
        assert one.scaled_steps <= OPS[one.op].within, one


def test_a_result_that_is_off_shows():
    made = program([x := tensor("x", SHAPE)], [added := op("add", [x, x], tensor("y", SHAPE), **FUSED)])
    want = torch.ones(SHAPE).bfloat16()
    assert made.main.ops == (added,)
    assert apart(added, want, want).scaled_steps == 0
    assert apart(added, want + 2**-7, want).scaled_steps == 1
    assert apart(added, want * 1.5, want).scaled_steps == 64


def test_half_a_step_goes_away_from_zero():
    x = torch.tensor([1 + 2**-8, -1 - 2**-8, 1 + 3 * 2**-8, float("inf"), 1e-40])
    assert rounded(x, torch.bfloat16).tolist() == [1 + 2**-7, -1 - 2**-7, 1 + 2**-6, float("inf"), 0]
    assert rounded(torch.tensor([float("nan"), 3.4e38]), torch.bfloat16).isnan().tolist() == [True, False]
    assert x.bfloat16()[0] == 1  # torch rounds it to the even neighbour
