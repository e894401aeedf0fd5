"""Options for the compiler reach it, change what it makes, and those it doesn't know are told."""

import pytest
import torch

from ttvideo import Refused, probe

MODULE = torch.nn.Conv2d(32, 32, 3, padding=1).bfloat16()
INPUT = (torch.zeros(1, 32, 8, 8, dtype=torch.bfloat16),)


@pytest.fixture(scope="module")
def plain():
    return probe(MODULE, INPUT, "p150-compile")


def test_a_level_of_optimisation_changes_the_program(plain):
    level = probe(MODULE, INPUT, "p150-compile", compiler_options={"optimization_level": 1})
    assert plain.passed and level.passed and not plain.compiler_options
    assert level.compiler_options == {"optimization_level": 1}
    assert level.record()["options"] == level.compiler_options and "options" not in plain.record()
    assert [one.op_counts["ttnn.prepare_conv2d_weights"] for one in (plain, level)] == [0, 1]


def test_a_flag_reaches_the_compiler(plain):
    without = probe(MODULE, INPUT, "p150-compile", compiler_options={"enable_const_eval": False})
    assert "const_eval" in plain.ttnn and without.passed and "const_eval" not in without.ttnn


@pytest.mark.parametrize(
    "options, said",
    [
        ({"optimization_level": "x"}, "Failed to parse optimization_level"),
        ({"optimisation_level": 1}, "optimisation_level"),
    ],
)
def test_what_the_compiler_can_not_read_or_does_not_know_is_told(options, said):
    verdict = probe(MODULE, INPUT, "p150-compile", compiler_options=options)
    assert not verdict.passed and said in verdict.message


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("cpu", {"optimization_level": 1}, "a target that Tenstorrent's compiler serves"),
        ("p150-compile", {"optimization_level": [1]}, "names with numbers, flags or texts"),
    ],
)
def test_what_can_not_be_an_option_is_refused_first(target, options, said):
    with pytest.raises(Refused, match=said):
        probe(MODULE, INPUT, target, compiler_options=options)
