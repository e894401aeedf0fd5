"""Reading a compiled module: what is in it, and what isn't one."""

import pytest

from tests import compiled
from ttvideo.basics.errors import Refused
from ttvideo.programs.program import TensorType, read
from ttvideo.targets.boards import BLACKHOLE

LINEAR = compiled.text("linear")


@pytest.fixture(scope="module")
def conv3d():
    return read(compiled.text("conv3d"))


def test_arguments_carry_the_modules_names(conv3d):
    assert [(a.name, a.kind, a.type.shape) for a in conv3d.arguments] == [
        ("bias", "parameter", (64,)),
        ("weight", "parameter", (64, 32, 3, 3, 3)),
        ("x", "input", (1, 32, 3, 16, 16)),
    ]
    module, _ = compiled.module_and_input("conv3d")
    assert {a.name for a in conv3d.arguments if a.kind == "parameter"} == set(dict(module.named_parameters()))


def test_an_op_is_read_whole(conv3d):
    (conv,) = [op for op in conv3d.main.ops if op.name == "ttnn.conv3d"]
    assert conv.attributes["kernel_size"] == [3, 3, 3]
    assert conv.attributes["padding_mode"] == "zeros"
    assert conv.attributes["compute_config"] == {"math_fidelity": "hifi4", "fp32_dest_acc_en": True}
    assert conv.attributes["conv3d_config"]["c_in_block"] == 32
    assert conv.location == "convolution.9"
    x, weight, bias, device = conv.operands
    assert x.type == TensorType((1, 3, 16, 16, 32), "bf16", "row_major", "dram", (768, 32))
    assert weight.type == TensorType((864, 64), "bf16", "tile", "dram", (27, 2))
    assert device.type is None
    producer = {result: op for op in conv3d.main.ops for result in op.results}
    assert producer[weight].name == "ttcore.load_cached"


def test_sizes(conv3d):
    (conv,) = [op for op in conv3d.main.ops if op.name == "ttnn.conv3d"]
    bias = conv.operands[2].type
    assert bias.shape == (1, 64) and bias.logical_bytes == 128 and bias.stored_bytes == 32 * 64 * 2
    assert conv3d.arguments[0].type.memory == "system"
    assert conv3d.chip is BLACKHOLE


def test_every_op_of_a_text_is_read():
    text = compiled.text("decoder")
    program = read(text)
    called = {op.attributes["callee"] for op in program.main.ops if op.name == "ttcore.load_cached"}
    assert called == {f.name for f in program.functions.values() if f.const_eval} - {program.main.name}
    names = [op.name for f in program.functions.values() for op in f.ops]
    assert sum(n.startswith("ttnn.") for n in names) == text.count('"ttnn.') > 1000
    assert names.count("ttcore.load_cached") == text.count("ttcore.load_cached(")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "module {}",
        LINEAR[:-800],
        LINEAR + "}",
        LINEAR.replace("-> tensor<2x40x96", "-> tensor<2x41x96", 1),  # types disagree
        LINEAR.replace("@main_const_eval_0, ", "@nowhere, "),
        LINEAR.replace("!ttcore.tile<32x32", "!ttcore.tile<16x32"),
    ],
    ids=["empty", "none", "cut_short", "unbalanced", "types_disagree", "callee_missing", "other_tiles"],
)
def test_what_is_no_program_is_refused(text):
    with pytest.raises(Refused):
        read(text)
