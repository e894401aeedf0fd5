"""The lane p150-sim: what is handed to the simulated chip, what comes back, and what its faults look like.

Tests marked `needs_lane` run where `make sim` was run.
"""

import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from compiled import module_and_input, text
from torch import nn

from lib.basics.compare import compare
from lib.basics.errors import Refused
from lib.notebook.silicon import measure
from lib.notebook.silicon.cases import cases, exact
from lib.notebook.stored import stored
from lib.programs.evaluate import evaluate
from lib.programs.program import TensorType, read
from lib.ttnn import handmade, lane
from lib.ttnn.canary import canary, canary_fault
from lib.ttnn.description import describe
from lib.ttnn.lane import Launched, Ran, run, why_not

needs_lane = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def described_canary():
    program, arguments, answer = canary()
    return describe(program, arguments), answer


def processes() -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if any("lib/ttnn/" in part for part in p.info["cmdline"] or [])]


def test_a_compiled_program_becomes_plain_steps():
    program = read(text("linear"))
    module, x = module_and_input("linear")
    description = describe(program, {**dict(module.named_parameters()), "x": x})
    assert [step["op"] for step in description.steps] == ["to_layout", "reshape", "matmul", "add", "reshape"]
    assert set(description.tensors) == set(description.inputs)
    known = set(description.inputs)
    for step in description.steps:
        assert set(step["operands"]) <= known
        known |= {result["name"] for result in step["results"]}
    assert set(description.returns) <= known


def test_a_tensor_in_l1_is_refused():
    program, arguments, _ = canary()
    first, *rest = program.main.ops
    value = first.results[0]
    sharded = replace(value, type=TensorType(value.type.shape, "bf16", "tile", "l1", value.type.buffer))
    main = replace(program.main, ops=(replace(first, results=(sharded,)), *rest))
    with pytest.raises(Refused, match="L1"):
        describe(replace(program, main=main, functions={"main": main}), arguments)


def test_the_canary_is_known_and_exact():
    program, arguments, answer = canary()
    assert torch.equal(evaluate(program, arguments)[0], answer)
    assert answer.abs().max() > 8


def test_handmade_conv3d_is_torchs():
    torch.manual_seed(0)
    conv = nn.Conv3d(32, 64, (3, 2, 1), stride=(1, 2, 1), padding=(1, 0, 0)).bfloat16()
    x = torch.randn(1, 3, 4, 5, 32).bfloat16()
    program, arguments = handmade.conv3d(conv, x, (1, 4, 4))
    want = conv.double()(x.double().permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
    assert compare(evaluate(program, arguments)[0], want).pcc > 0.99999


def test_a_wrong_result_is_a_fault_and_not_an_accuracy():
    program, arguments, answer = canary()
    case = measure.Case("canary", "sum", program, arguments, answer.double())
    right = Ran([answer], [Launched("linear", [100, 200], 0.1)])
    assert measure.row(case, right, None).status == "ok"
    assert measure.row(case, right, None).cycles == 300
    wrong = Ran([answer.roll(1)], right.steps)
    assert measure.row(case, wrong, None).status.startswith("simulator or kernel fault: PCC")
    assert measure.row(case, Ran([answer * float("nan")], []), None).status.startswith("simulator or kernel fault")
    assert measure.row(case, Ran(error="timed out"), None).status == "simulator or kernel fault: timed out"
    assert "off by 1" in canary_fault(Ran([answer + 1], []), answer)
    # Where the canary is wrong, nothing else counts.
    assert measure.row(case, right, "the canary is off").status == "the canary is off"


def test_bf16_steps():
    assert measure.bf16_step(torch.tensor([1.0, -1.5])) == 2**-7
    assert measure.bf16_step(torch.tensor([-4.0])) == 2**-5


def test_every_stored_case_is_ok_and_agrees_with_the_evaluator():
    rows = measure.stored_silicon()
    assert {row.status for row in rows} == {"ok"}
    assert max(row.evaluator_steps for row in rows) < 2  # a program that adds rounded results may be one and a half off
    assert min(row.pcc for row in rows) > 0.9999
    assert set(stored("silicon")["faults"]) >= set(lane.FAULTS)


def test_a_lane_that_is_not_set_up_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(lane, "READY", tmp_path / "ready")
    with pytest.raises(Refused, match="make sim"):
        run({})


def test_an_unknown_fault_is_refused(monkeypatch, tmp_path):
    (tmp_path / "ready").touch()
    monkeypatch.setattr(lane, "READY", tmp_path / "ready")
    with pytest.raises(Refused, match="SFPADD"):
        run({}, provoke="gremlins")


@needs_lane
def test_the_canary_and_a_compiled_layer_on_the_simulated_chip():
    rows = measure.measure(cases(lambda name: name == "1×1×1, linear"))
    assert [row.status for row in rows] == ["ok"]
    (kept,) = (row for row in measure.stored_silicon() if (row.group, row.case) == ("1×1×1", "linear"))
    assert rows[0].evaluator_steps <= 1
    # The host polls every 100 cycles, so a launch may be seen to end one poll later.
    assert abs(rows[0].cycles - kept.cycles) <= 100 * kept.launches
    assert not processes()


@needs_lane
@pytest.mark.parametrize("fault", ["SFPADD", "SFPLOAD"])
def test_the_canary_catches_what_the_repairs_put_right(fault):
    description, answer = described_canary()
    ran = run({"canary": description}, provoke=fault)["canary"]
    assert canary_fault(ran, answer).startswith("simulator or kernel fault: the canary")
    assert not processes()


@needs_lane
def test_a_program_that_tt_nn_refuses_leaves_the_others():
    description, answer = described_canary()
    unknown = replace(description, steps=[{**description.steps[0], "op": "frobnicate"}, *description.steps[1:]])

    def left_by_ttnn():
        return {path for name in ("sm_segment", "tt_device_0") for path in Path("/dev/shm").glob(f"{name}*")}

    before = left_by_ttnn()
    ran = run({"unknown": unknown, "canary": description})
    assert "frobnicate" in ran["unknown"].error
    assert torch.equal(ran["canary"].outputs[0], answer)
    assert left_by_ttnn() == before


@needs_lane
def test_a_time_out_ends_host_and_simulator():
    description, _ = described_canary()
    ran = run({str(i): description for i in range(100)}, timeout=6)
    assert ran["99"].error == "timed out after 6 s"
    assert not processes()


@needs_lane
def test_a_killed_host_takes_its_simulator_along():
    description, _ = described_canary()
    ran = {}
    thread = threading.Thread(target=lambda: ran.update(run({str(i): description for i in range(20)})))
    thread.start()
    while not any("server.py" in part for p in processes() for part in p.info["cmdline"]):
        time.sleep(0.1)
    for process in processes():
        if any("host.py" in part for part in process.info["cmdline"]):
            process.kill()
    thread.join()
    assert "SIGKILL" in ran["19"].error
    deadline = time.monotonic() + 10
    while processes() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not processes()


@needs_lane
def test_two_runs_at_one_time():
    description, answer = described_canary()
    results = [None, None]

    def one(i):
        results[i] = run({"canary": description})["canary"]

    threads = [threading.Thread(target=one, args=(i,)) for i in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert all(torch.equal(result.outputs[0], answer) for result in results)


def test_exact_leaves_the_module_in_bf16():
    layer = nn.Linear(4, 4).bfloat16()
    assert exact(layer, (torch.ones(1, 4).bfloat16(),)).dtype == torch.float64
    assert layer.weight.dtype == torch.bfloat16
