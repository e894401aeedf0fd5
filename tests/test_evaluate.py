"""The evaluated program against the module in float64, unfaulted and with faults planted in its text."""

import re

import pytest
import torch
from torch import nn

from tests import compiled
from ttvideo.basics.compare import compare
from ttvideo.basics.errors import Refused
from ttvideo.decompositions.decompose import decompose
from ttvideo.probing.probe import probe
from ttvideo.programs.evaluate import OPS, evaluate, knows
from ttvideo.programs.program import read

# Max difference, as a share of the output's largest value, that an unfaulted program stays under. bf16 keeps
# 8 bits, so one rounding costs up to 1/512 of a value, and these programs round 1 to some hundred times.
WITHIN = {
    "conv3d": 0.004,
    "conv2d": 0.004,
    "linear": 0.008,
    "tap_sum": 0.008,
    "resnet": 0.008,
    "decoder": 0.03,
}


def run(name: str, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    module, x = compiled.module_and_input(name)
    arguments = dict(module.named_parameters()) | {"x": x}
    return evaluate(read(text), arguments)[0], compiled.expected(module, x)


def error(got: torch.Tensor, want: torch.Tensor) -> float:
    return compare(got, want).max_abs / want.abs().max().item()


@pytest.mark.parametrize("name", compiled.CASES)
def test_evaluated_program_is_the_module(name):
    got, want = run(name, compiled.text(name))
    assert got.dtype == torch.bfloat16
    assert error(got, want) < WITHIN[name]
    assert compare(got, want).pcc > 0.999


# name, what stands in the text, what is put there, id
# fmt: off
FAULTS = [
    ("conv3d", "permutation = array<i64: 0, 2, 3, 4, 1>", "permutation = array<i64: 0, 2, 4, 3, 1>",
     "swapped_permutation"),
    ("conv3d", "c_in_block = 32 : i32, groups", "c_in_block = 16 : i32, groups", "weights_blocked_otherwise"),
    ("conv3d", r"(%\d+), (%\d+), (%\d+), (%\d+)\) <\{batch_size", r"\1, \2, \4) <{batch_size",
     "dropped_bias_3d"),
    ("conv3d", "padding = array<i32: 1, 1, 1>", "padding = array<i32: 0, 1, 1>", "padding_left_out"),
    ("conv3d", "stride = array<i32: 1, 1, 1>", "stride = array<i32: 1, 1, 2>", "stride_changed"),
    ("conv2d", "permutation = array<i64: 0, 3, 1, 2>", "permutation = array<i64: 0, 3, 2, 1>",
     "swapped_permutation_2d"),
    ("conv2d", r"(%\d+), %arg1, (%\d+), (%\d+)\) <\{batch_size", r"\1, %arg1, \3) <{batch_size",
     "dropped_bias_2d"),
    ("conv2d", "padding = array<i32: 1, 1, 1, 1>", "padding = array<i32: 2, 0, 1, 1>", "padding_shifted"),
    ("linear", "transpose_b = true", "transpose_b = false", "weight_not_transposed"),
    ("linear", r'"ttnn.add"\((%\d+), %\d+\)', r'"ttnn.add"(\1, \1)', "bias_replaced"),
    ("linear", '"ttnn.add"', '"ttnn.subtract"', "bias_subtracted"),
    ("tap_sum", "begins = [0 : i32, 0 : i32, 1", "begins = [0 : i32, 0 : i32, 0", "slice_begins_earlier"),
    ("tap_sum", r"begins = \[0 : i32, 0 : i32, 1(.*?)ends = \[1 : i32, 32 : i32, 4",
     r"begins = [0 : i32, 0 : i32, 0\1ends = [1 : i32, 32 : i32, 3", "slice_one_frame_off"),
    ("tap_sum", r'"ttnn.add"\((%\d+), %\d+\)', r'"ttnn.multiply"(\1, \1)', "dropped_add"),
    ("tap_sum", r'"ttnn.concat"\((%\d+), (%\d+), (%\d+)\)', r'"ttnn.concat"(\3, \2, \1)',
     "frames_in_another_order"),
    ("resnet", r"epsilon = [\d.E-]+ : f32", "epsilon = 1.0 : f32", "epsilon_changed"),
    ("resnet", '"ttnn.silu"', '"ttnn.relu"', "another_activation"),
    ("resnet", r'"ttnn.add"\((%\d+), (%\d+)\)(?=[^\n]*tensor<1x64x3x16x16xbf16)', r'"ttnn.add"(\1, \1)',
     "residual_left_out"),
    ("decoder", "permutation = array<i64: 0, 1, 5, 2, 6, 3, 7, 4>",
     "permutation = array<i64: 0, 1, 5, 2, 6, 4, 7, 3>", "pixel_shuffle_axes"),
]
# fmt: on


@pytest.mark.parametrize("name, there, instead", [f[:3] for f in FAULTS], ids=[f[3] for f in FAULTS])
def test_planted_fault_is_caught(name, there, instead):
    """It is refused, for the shapes no longer fit, or the numbers leave the unfaulted program's bound."""
    text, faulted = compiled.text(name), faulty(compiled.text(name), there, instead)
    assert faulted != text
    try:
        got, want = run(name, faulted)
    except Refused:
        return
    if got.shape == want.shape:
        assert error(got, want) > 2 * WITHIN[name]


def faulty(text: str, there: str, instead: str) -> str:
    """With one place changed; operands and operand types that the change made unequal in number are put
    right."""
    pattern = there if "\\" in there else re.escape(there)
    faulted = re.sub(pattern, instead, text, count=1)
    lines = faulted.splitlines(keepends=True)
    for i, (before, line) in enumerate(zip(text.splitlines(keepends=True), lines)):
        if before == line or '"(' not in line:
            continue
        types = dict(zip(_operands(before), _split(re.search(r" : \((.*)\) -> ", before).group(1))))
        if set(_operands(line)) <= set(types):
            stated = ", ".join(types[o] for o in _operands(line))
            lines[i] = re.sub(r" : \(.*\) -> ", lambda _: f" : ({stated}) -> ", line)
    return "".join(lines)


def _operands(line: str) -> list[str]:
    return re.search(r'"ttnn\.\w+"\((.*?)\)', line).group(1).split(", ")


def _split(types: str) -> list[str]:
    return re.split(r", (?=tensor<|!)", types)


def test_weights_scaled_while_prepared():
    module, x = compiled.module_and_input("conv3d")
    arguments = dict(module.named_parameters()) | {"x": x}
    want = compiled.expected(module, x)
    got = evaluate(
        read(compiled.text("conv3d")), arguments | {"weight": arguments["weight"].bfloat16() * 1.05}
    )[0]
    assert error(got, want) > 2 * WITHIN["conv3d"]


@pytest.mark.parametrize(
    "there, instead, says",
    [
        pytest.param('"ttnn.permute"', '"ttnn.permute_oddly"', "ttnn.permute_oddly", id="unknown_op"),
        pytest.param("<{permutation", "<{oddly = 1 : i32, permutation", "oddly", id="unknown_attribute"),
        pytest.param(
            "fp32_dest_acc_en = true", "fp32_dest_acc_en = false", "float32", id="narrow_accumulation"
        ),
        pytest.param(
            "math_fidelity = hifi4", "math_fidelity = hifi5", "hifi4 or hifi3", id="unknown_fidelity"
        ),
        pytest.param('padding_mode = "zeros"', 'padding_mode = "reflect"', "reflect", id="padding_mode"),
        pytest.param("conv3d_config<", "conv3d_config<oddly = 1, ", "oddly", id="unknown_config"),
    ],
)
def test_what_it_does_not_know_it_refuses(there, instead, says):
    text = compiled.text("conv3d")
    assert there in text
    with pytest.raises(Refused, match=says):
        run("conv3d", text.replace(there, instead))


def test_arguments_are_checked():
    program = read(compiled.text("linear"))
    with pytest.raises(Refused, match="l.weight"):
        evaluate(program, {"x": torch.zeros(2, 40, 64), "l.bias": torch.zeros(96)})
    with pytest.raises(Refused, match=r"\(96, 64\)"):
        evaluate(
            program, {"x": torch.zeros(2, 40, 64), "l.bias": torch.zeros(96), "l.weight": torch.zeros(64, 96)}
        )


def test_knows_names_what_is_missing():
    text = compiled.text("linear")
    assert knows(read(text)) == set()
    assert knows(read(text.replace('"ttnn.add"', '"ttnn.append"'))) == {"ttnn.append"}
    assert "ttnn.conv3d" in OPS


def test_norm_keeps_a_small_variance():
    """At a mean of 30 deviations E[x²] − E[x]² in bf16 would drown; the variance of the distances to the mean
    doesn't."""
    torch.manual_seed(0)
    x = (torch.randn(1, 32, 16, 16) * 0.1 + 3).bfloat16()
    module = nn.GroupNorm(2, 32).bfloat16()
    text = probe(module, (x,), "p150-compile").ttnn
    got = evaluate(read(text), dict(module.named_parameters()) | {"input.0": x})[0]
    assert "batch_norm_training" in text
    spread = x.square().mean() - x.mean().square()
    assert not 0.5 < spread / x.double().var() < 2
    assert error(got, compiled.expected(module, x)) < 0.01


@pytest.mark.parametrize("strategy", ["sum", "stacked"])
def test_rewritten_block_as_compiled_now(strategy):
    module, x = compiled.module_and_input("resnet")
    rewritten, _ = decompose(module, strategy)
    verdict = probe(rewritten, (x,), "p150-compile")
    names = dict(rewritten.named_parameters()) | dict(rewritten.named_buffers())
    got = evaluate(read(verdict.ttnn), names | {"input.0": x})[0]
    assert error(got, compiled.expected(module, x)) < 2 * WITHIN["resnet"]


class Gathers(nn.Module):
    """Rows, then columns, repeated and out of order; x [40, 64]."""

    def forward(self, x):
        rows, columns = (torch.arange(n, dtype=torch.int32, device=x.device) for n in (50, 96))
        return x.index_select(0, 39 - rows.clamp(3, 39)).index_select(1, columns.clamp(0, 63).flip(0))


def test_gathers_of_rows_and_columns():
    x = torch.randn(40, 64).bfloat16()
    text = probe(Gathers(), (x,), "p150-compile").ttnn
    assert "column = true" in text and "column = false" in text
    assert torch.equal(evaluate(read(text), {"input.0": x})[0], Gathers()(x))
    for fault in (("column = true", "column = false"), ("column = false", "column = true")):
        with pytest.raises((Refused, IndexError)):
            evaluate(read(text.replace(*fault)), {"input.0": x})
