"""The evaluated program against the module in float64, unfaulted and with faults planted in its text; what
autoencoders compile to besides convolutions, a rule each; and what torch_xla 2.9 can't trace as torch means
it, in other words."""

import re

import pytest
import torch
import torch.nn.functional as F
from seeded import far, seeded
from torch import nn

from tests import compiled
from ttvideo.basics.compare import compare
from ttvideo.basics.errors import Refused
from ttvideo.decoders.rows import keep_row_major
from ttvideo.decompositions.decompose import decompose
from ttvideo.probing.aten import IN_OTHER_WORDS
from ttvideo.probing.probe import probe, probe_each
from ttvideo.programs.evaluate import OPS, evaluate, knows
from ttvideo.programs.program import read

aten = torch.ops.aten

# Max difference, as a share of the output's largest value, that an unfaulted program stays under. bf16 keeps
# 8 bits, so one rounding costs up to 1/512 of a value, and these programs round 1 to some hundred times.
WITHIN = dict.fromkeys(("conv3d", "conv2d"), 0.004) | dict.fromkeys(("linear", "tap_sum", "resnet"), 0.008)
WITHIN |= {"decoder": 0.03}


def run(name: str, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    module, x = compiled.module_and_input(name)
    arguments = dict(module.named_parameters()) | {"x": x}
    return evaluate(read(text), arguments)[0], compiled.expected(module, x)


@pytest.mark.parametrize("name", compiled.CASES)
def test_evaluated_program_is_the_module(name):
    got, want = run(name, compiled.text(name))
    assert got.dtype == torch.bfloat16
    assert far(got, want) < WITHIN[name]
    assert compare(got, want).pcc > 0.999


# name, what stands in the text, what is put there, id
# fmt: off
FAULTS = [
    ("conv3d", "permutation = array<i64: 0, 2, 3, 4, 1>", "permutation = array<i64: 0, 2, 4, 3, 1>",
     "swapped_permutation"),
    ("conv3d", "c_in_block = 32 : i32, groups", "c_in_block = 16 : i32, groups", "weights_blocked_otherwise"),
    ("conv3d", r"(%\d+), (%\d+), (%\d+), (%\d+)\) <\{batch_size", r"\1, \2, \4) <{batch_size",
     "dropped_bias_3d"),
    ("conv2d", "padding = array<i32: 1, 1, 1, 1>", "padding = array<i32: 2, 0, 1, 1>", "padding_shifted"),
    ("linear", "transpose_b = true", "transpose_b = false", "weight_not_transposed"),
    ("linear", r'"ttnn.add"\((%\d+), %\d+\)', r'"ttnn.add"(\1, \1)', "bias_replaced"),
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
        assert far(got, want) > 2 * WITHIN[name]


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


@pytest.mark.parametrize(
    "there, instead, says",
    [
        ('"ttnn.permute"', '"ttnn.permute_oddly"', "ttnn.permute_oddly"),
        ("<{permutation", "<{oddly = 1 : i32, permutation", "oddly"),
        ("fp32_dest_acc_en = true", "fp32_dest_acc_en = false", "float32"),
        ("math_fidelity = hifi4", "math_fidelity = hifi5", "hifi4 or hifi3"),
        ('padding_mode = "zeros"', 'padding_mode = "reflect"', "reflect"),
        ("conv3d_config<", "conv3d_config<oddly = 1, ", "oddly"),
    ],
)
def test_what_it_does_not_know_it_refuses(there, instead, says):
    text = compiled.text("conv3d")
    assert there in text
    with pytest.raises(Refused, match=says):
        run("conv3d", text.replace(there, instead))


def test_arguments_are_checked():
    program = read(compiled.text("linear"))
    arguments = {"x": torch.zeros(2, 40, 64), "l.bias": torch.zeros(96)}
    with pytest.raises(Refused, match="l.weight"):
        evaluate(program, arguments)
    with pytest.raises(Refused, match=r"\(96, 64\)"):
        evaluate(program, arguments | {"l.weight": torch.zeros(64, 96)})


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
    assert far(got, compiled.expected(module, x)) < 0.01


@pytest.mark.parametrize("strategy", ["sum", "stacked"])
def test_rewritten_block_as_compiled_now(strategy):
    module, x = compiled.module_and_input("resnet")
    rewritten, _ = decompose(module, strategy)
    verdict = probe(rewritten, (x,), "p150-compile")
    names = dict(rewritten.named_parameters()) | dict(rewritten.named_buffers())
    got = evaluate(read(verdict.ttnn), names | {"input.0": x})[0]
    assert far(got, compiled.expected(module, x)) < 2 * WITHIN["resnet"]


# What autoencoders compile to


class Does(nn.Module):
    def __init__(self, function, *parameters):
        super().__init__()
        self.function, self.parts = function, nn.ParameterList(nn.Parameter(p) for p in parameters)

    def forward(self, x):
        return self.function(x, *self.parts)


def causal_mask(x):
    """[1, 4, 4, C] as HunyuanVideo-1.5 makes its own: row after row of an empty one."""
    mask = torch.full((4, 4), 1.0, dtype=x.dtype, device=x.device)
    for i in range(4):
        mask[i, : i + 1] = 0
    return x + mask[:, :, None]


class Hazards(nn.Module):
    def forward(self, x):
        """[1, 32, 1, 4, 4] -> [1, 32, 2, 8, 8], by all that torch_xla can't trace as torch means it."""
        x = torch.cat([x[:, :, :1].repeat(1, 1, 0, 1, 1), x[:, :, -2:]], 2)
        x = F.interpolate(x, scale_factor=(2.0, 1.0, 1.0), mode="nearest")
        x = F.interpolate(x[0].transpose(0, 1), scale_factor=(2.0, 2.0), mode="nearest-exact")
        return x.transpose(0, 1)[None]


class Written(nn.Module):
    def forward(self, x):
        made = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        made[:, :2], made[:, 2:] = 2 * x[:, :2], x[:, 2:]
        return made


class Gathers(nn.Module):
    """Rows, then columns, repeated and out of order; x [40, 64]."""

    def forward(self, x):
        rows, columns = (torch.arange(n, dtype=torch.int32, device=x.device) for n in (50, 96))
        return x.index_select(0, 39 - rows.clamp(3, 39)).index_select(1, columns.clamp(0, 63).flip(0))


MOVED = None  # to the last bit
# name: op, module, input shape
RULES = {
    "rms_norm": ("ttnn.rms_norm", Does(lambda x, g: F.rms_norm(x, (64,), g, 1e-3), 1 + seeded(64)), (40, 64)),
    "rms_norm_without_gain": ("ttnn.rms_norm", Does(lambda x: F.rms_norm(x, (64,), None, 1e-3)), (40, 64)),
    "conv1d": (
        "ttnn.conv1d",
        Does(lambda x, w, b: F.conv1d(x, w, b, 2, 1), seeded(16, 32, 3), seeded(16)),
        (2, 32, 12),
    ),
    "trilinear": (
        "ttnn.rows_gather",
        Does(lambda x: F.interpolate(x, scale_factor=2.0, mode="trilinear")),
        (1, 8, 3, 4, 5),
    ),
    "only_row": ("ttnn.rows_gather", Does(keep_row_major), (1, 1, 64, 32)),
    "mask": ("ttnn.rows_scatter", Does(causal_mask), (1, 4, 4, 32)),
    "moved": (MOVED, Hazards(), (1, 32, 1, 4, 4)),
    "written": (MOVED, Written(), (1, 4, 32, 32)),
    "gathered": (MOVED, Gathers(), (40, 64)),
}


@pytest.fixture(scope="module")
def verdicts():
    cases = {
        name: (module.bfloat16(), (seeded(*shape).bfloat16(),)) for name, (_, module, shape) in RULES.items()
    }
    return probe_each(cases, "p150-compile", evaluate=True)


@pytest.mark.parametrize("name", RULES)
@torch.no_grad()
def test_rule(verdicts, name):
    op, module, shape = RULES[name]
    verdict = verdicts[name]
    assert verdict.passed and not verdict.cut, verdict
    want = module.double()(seeded(*shape).bfloat16().double())
    assert compare(verdict.outputs, want).max_abs <= (op is not MOVED) * 0.008 * want.abs().max()
    assert op is MOVED or verdict.op_counts[op], dict(verdict.op_counts)


def test_rows_and_columns_are_gathered_apart(verdicts):
    text, x = verdicts["gathered"].ttnn, seeded(40, 64).bfloat16()
    for fault in (("column = true", "column = false"), ("column = false", "column = true")):
        assert fault[0] in text
        with pytest.raises((Refused, IndexError)):
            evaluate(read(text.replace(*fault)), {"input.0": x})


def test_what_a_mask_hides_has_no_weight():
    """As on ttsim, where it is 0; an exponent below the least would be a NaN."""
    mask = torch.zeros(64).bfloat16()
    mask[40:], mask[:3] = -1e9, -torch.inf
    module = Does(lambda x, m: torch.softmax(x + m, -1), mask)
    verdict = probe(module, (seeded(32, 64).bfloat16(),), "p150-compile", evaluate=True)
    assert (verdict.outputs[:, mask < 0] == 0).all() and (verdict.outputs[:, mask == 0] > 0).all()


# In other words


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize(
    "shape, options",
    [
        ((2, 3, 2, 4, 5), {"scale_factor": 2.0}),
        ((1, 3, 2, 4, 5), {"scale_factor": (1.0, 2.0, 2.0)}),
        ((1, 3, 3, 4, 5), {"size": (5, 8, 7)}),
        ((1, 3, 8, 9, 4), {"size": (4, 3, 3)}),
        ((1, 3, 4, 5), {"scale_factor": 2.5}),
        ((1, 3, 7), {"size": 11}),
    ],
)
def test_nearest_is_torch_s(mode, shape, options):
    x = torch.randn(shape)
    with Counted() as mended:
        got = F.interpolate(x, mode=mode, **options)
    assert mended.count == 1 and torch.equal(got, F.interpolate(x, mode=mode, **options))


@pytest.mark.parametrize(
    "start, end", [(-2, 9), (-2, -1), (-5, None), (0, -7), (1, 3), (None, None)], ids=str
)
@pytest.mark.parametrize("size", [1, 4])
def test_slice_is_torch_s(start, end, size):
    x = torch.randn(3, size)
    mended = IN_OTHER_WORDS[aten.slice_copy.Tensor]
    assert torch.equal(mended(x, 1, start, end), aten.slice_copy.Tensor(x, 1, start, end))


@pytest.mark.parametrize("repeats", [(2, 3), (0, 1), (2, 0, 3)], ids=str)
def test_repeat_is_torch_s(repeats):
    x = torch.randn(2, 3)
    assert torch.equal(IN_OTHER_WORDS[aten.repeat.default](x, repeats), x.repeat(repeats))


class Counted(torch.utils._python_dispatch.TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function in IN_OTHER_WORDS
        return IN_OTHER_WORDS.get(function, function)(*args, **(kwargs or {}))
