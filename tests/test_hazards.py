"""What is known to go wrong on silicon: each condition with an op that meets it and its like that doesn't."""

from dataclasses import replace

import pytest
import torch
from compiled import module_and_input
from needs import needs_ttnn

from ttvideo import compare, probe
from ttvideo.basics.errors import Refused
from ttvideo.programs.conv3d_blocks import Blocks, Size, candidates, op
from ttvideo.programs.evaluate import evaluate
from ttvideo.programs.fidelity import in_fidelity, stated, with_exact_exponentials
from ttvideo.programs.hazards import HAZARDS, hazards, of_op
from ttvideo.programs.program import Op
from ttvideo.targets import target as targets
from ttvideo.targets.boards import BLACKHOLE, BOARDS, WORMHOLE
from ttvideo.targets.target import resolve
from ttvideo.ttnn.handmade import EXACT, program, tensor

SIZE = Size((6, 24, 24), 128, 128, (3, 3, 3), (0, 1, 1))
NAMES = {hazard.name for hazard in HAZARDS}


def conv3d(*blocks: int, out_channels: int = 128, fidelity: str = "hifi3") -> Op:
    made = op(replace(SIZE, c_out=out_channels), Blocks(*blocks))
    config = {"compute_config": {"math_fidelity": fidelity, "fp32_dest_acc_en": True}}
    return replace(made, attributes=made.attributes | config)


def attention(**attributes) -> Op:
    x = tensor("x", (1, 8, 64, 64))
    return Op("ttnn.scaled_dot_product_attention", (x, x, x), (x,), {"is_causal": False} | attributes, "")


GRID = {"core_grid": "8x8"}
FINE = conv3d(1, 4, 8, 64, 64)
CASES = {
    "wormhole products": (WORMHOLE, conv3d(1, 4, 8, 64, 64, fidelity="hifi4"), FINE),
    "conv3d pixels": (BLACKHOLE, conv3d(1, 6, 12, 64, 64), conv3d(1, 8, 12, 64, 64)),
    "conv3d frames": (BLACKHOLE, *(conv3d(frames, 2, 4, 32, 64, out_channels=3) for frames in (4, 3))),
    "conv3d channels": (WORMHOLE, conv3d(1, 4, 8, 160, 64), conv3d(1, 4, 8, 128, 64)),
    "attention chunks": (BLACKHOLE, attention(), attention(program_config={})),
    "group_norm grid": (BLACKHOLE, *(Op("ttnn.group_norm", (), (), grid, "") for grid in (GRID, {}))),
}


@pytest.mark.parametrize("name", CASES)
def test_a_hazard_is_seen_where_it_is_and_nowhere_else(name):
    chip, has, has_not = CASES[name]
    assert name in {hazard.name for hazard in of_op(has, chip)}
    assert not of_op(has_not, chip)


def test_each_hazard_has_a_case():
    assert CASES.keys() | {"conv3d weights"} == NAMES


def test_other_chips_have_their_own():
    assert not of_op(conv3d(1, 4, 8, 64, 64, fidelity="hifi4"), BLACKHOLE)
    assert not of_op(conv3d(1, 6, 12, 64, 64), WORMHOLE)


@pytest.mark.parametrize("prepared, found", [(64, 0), (32, 1), (0, 1)])
def test_weights_prepared_for_other_blocks_are_seen(prepared, found):
    x, w = FINE.operands
    raw = tensor("raw", (128, 128, 3, 3, 3), layout="row_major")
    attributes = {"groups": 1, "c_in_block": prepared, "alignment": 32}
    made = program([x, raw], [Op("ttnn.prepare_conv3d_weights", (raw,), (w,), attributes, ""), FINE])
    assert [(hazard.name, ops) for hazard, ops in hazards(made).items()] == [("conv3d weights", 1)] * found


@pytest.mark.parametrize("board", ["n150", "p150"])
def test_no_block_that_is_chosen_from_has_one(board):
    chip = BOARDS[board].chip
    found = list(candidates(SIZE, chip))
    assert found and not any(of_op(op(SIZE, blocks), chip) for blocks in found)


@pytest.mark.parametrize("target, ops", [("n150-compile", 1), ("p150-compile", 0)])
def test_a_verdict_says_what_its_program_has(target, ops):
    module, x = module_and_input("linear")
    verdict = probe(module, (x,), target)
    said = "single results off by powers of two" if ops else ""
    assert sum(verdict.hazards.values()) == ops
    assert bool(ops) == ("tt-metal#38306" in str(verdict)) == ("hazards" in verdict.record())
    assert said in verdict._repr_html_()


@needs_ttnn
def test_a_target_has_programs_run_in_a_fidelity():
    module, x = module_and_input("linear")
    in_three = probe(module, (x,), "n150-ttnn@hifi3")
    assert {stated(op) for op in in_three.program.main.ops if "compute_config" in op.attributes} == {"hifi3"}
    assert not in_three.hazards and "hifi4" in in_three.ttnn
    assert in_three.label == "n150-ttnn@hifi3" and in_three.passed


@pytest.mark.parametrize(
    "name", ["n150-compile@hifi3", "p150-mock@hifi3", "n150-ttsim@hifi5", "n150-ttsim@", "cpu@lofi"]
)
def test_a_fidelity_that_cannot_be_had_is_refused(name):
    with pytest.raises(Refused, match="hifi4, hifi3, hifi2, lofi after one of n150-ttsim"):
        resolve(name)


@pytest.mark.parametrize("id, given, board, fidelity", [
    ("0x401e", "ttnn", "n150", "hifi3"), ("0x401e", "ttnn@hifi4", "n150", "hifi4"),
    ("0xb140", "ttnn", "p150", None), ("0xb140", "ttnn@hifi2", "p150", "hifi2"),
])  # fmt: skip
def test_a_card_is_of_a_board_and_a_wormholes_takes_three_passes_unless_asked(
    monkeypatch, tmp_path, id, given, board, fidelity
):
    monkeypatch.setattr(targets, "CARDS", tmp_path)
    monkeypatch.setattr(targets, "PCI_DEVICES", tmp_path)
    with pytest.raises(Refused, match="card"):
        targets.board_of_card()
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "device").write_text(f"{id}\n")
    assert (resolve(given).board.name, resolve(given).fidelity) == (board, fidelity)


def test_another_fidelity_is_the_same_program_otherwise():
    x, y = tensor("x", (32, 32)), tensor("y", (32, 32))
    product, sum_ = Op("ttnn.matmul", (x, x), (y,), EXACT, ""), Op("ttnn.add", (y, x), (y,), {}, "")
    made = program([x], [product, sum_])
    other = in_fidelity(made, "hifi2")
    assert [stated(op) for op in other.main.ops] == ["hifi2", "hifi4"] and other.main.ops[1] is sum_
    assert in_fidelity(made, None) is made is in_fidelity(made, "hifi4")


def test_an_exact_exponential_is_the_same_program_otherwise():
    x, y = tensor("x", (32, 32)), tensor("y", (32, 32), "f32")
    made = program([x], [Op("ttnn.softmax", (x,), (y,), {"dimension": -1, "numericStable": True}, "")])
    values = torch.randn(32, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    rough, exact = (evaluate(one, {"x": values})[0] for one in (made, with_exact_exponentials(made)))
    want = values.double().softmax(-1)
    assert compare(exact, want).max_abs < 1e-6 < 1e-3 < compare(rough, want).max_abs
