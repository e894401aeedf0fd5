"""Compiled programs executed by TT-NN, in another process: what it is told, what comes back, what its failures are.

Tests marked `needs_ttnn` run where `make sim` was run, those marked `needs_ttsim` where it found a simulator.
"""

import pytest
import torch
from compiled import expected, module_and_input

from lib import probe
from lib.basics.compare import compare
from lib.basics.errors import Refused
from lib.probing.failures import classify
from lib.probing.verdict import MOCKED
from lib.targets.target import TARGETS
from lib.ttnn import places
from lib.ttnn.places import why_not

TTSIM, MOCKED_BOARDS = ("n150-ttsim", "p150-ttsim"), ("n150-ttnn", "p150-ttnn")


def needs(name: str):
    reason = why_not(TARGETS[name])
    return pytest.mark.skipif(reason is not None, reason=str(reason))


needs_ttnn, needs_ttsim = needs("p150-ttnn"), needs("p150-ttsim")


@needs_ttsim
@pytest.mark.parametrize("target", TTSIM)
def test_a_conv3d_runs_on_a_simulated_chip(target, clean_after):
    module, x = module_and_input("conv3d")
    verdict = probe(module, (x,), target)
    assert verdict.passed and "bit-exact" in verdict.outputs_from
    assert compare(verdict.outputs, expected(module, x)).pcc > 0.99999


@needs_ttnn
@pytest.mark.parametrize("target", MOCKED_BOARDS)
def test_a_mocked_board_hands_on_no_output(target, clean_after):
    module, x = module_and_input("linear")
    verdict = probe(module, (x,), target)
    assert verdict.stages["run"] == MOCKED and verdict.outputs is None
    assert verdict.ran.peak_dram_bytes > verdict.program.arguments[-1].type.stored_bytes


def test_a_card_is_told_what_the_simulator_is_told_but_for_where_the_chip_is(monkeypatch, tmp_path):
    monkeypatch.setattr(places, "runtime_root", lambda _: tmp_path)
    monkeypatch.setattr(places, "packages", lambda: tmp_path)
    simulated = places.environment(TARGETS["n150-ttsim"], tmp_path)
    card = places.environment(TARGETS["ttnn"], tmp_path)
    assert card.items() <= simulated.items()
    assert {name for name in simulated if name not in card} == {
        "TT_METAL_SIMULATOR",
        "TT_METAL_SLOW_DISPATCH_MODE",
        "TT_METAL_DISABLE_SFPLOADMACRO",
    }


def test_a_place_that_is_not_set_up_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(places, "READY", tmp_path / "ready")
    with pytest.raises(Refused, match="make sim"):
        probe(torch.nn.Linear(32, 32), (torch.zeros(1, 32),), "p150-ttsim")


def test_a_stop_of_the_simulator_is_not_the_ops_failure():
    log = "[219] ERROR: UnsupportedFunctionality: tensix_unpacr: cfg_context_id=1\nTT_FATAL: beside it"
    told = classify(log)
    assert (told.kind, told.message) == (
        "simulator stop",
        "UnsupportedFunctionality: tensix_unpacr: cfg_context_id=1",
    )
    assert classify("TT_FATAL: ERROR: unknown").kind == "runtime check"
