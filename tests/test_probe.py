"""One module, one target, one verdict: on the real compiler and the mocked chip."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import NamedTuple

import psutil
import pytest
import torch
from hostile import Aborts, Hangs, Killed, Raises, ReadsBack
from torch import nn

from lib.project import PROJECT
from ttvideo import Refused, compare, probe, probe_all, replay
from ttvideo.basics.folders import FOLDER_PREFIX, places
from ttvideo.probing.on_plugin import Worker, warm_workers
from ttvideo.probing.probe import probe_each
from ttvideo.probing.verdict import MOCKED, PASS

pytestmark = pytest.mark.usefixtures("clean_after")


def test_each_lane_gets_as_far_as_it_says(clip):
    conv, x = nn.Conv3d(8, 64, 1).bfloat16(), clip.bfloat16()
    host, compiled = probe_all(conv, (x,), ["cpu", "p150-compile"])
    assert host.passed and host.stage == "run" and compare(host.outputs, conv(x)).max_abs < 1e-5
    assert compiled.passed and compiled.stage == "TTNN" and compiled.outputs is None, "nothing ran"
    assert compiled.op_counts["ttnn.linear"] == 1 and compiled.op_counts["ttnn.conv3d"] == 0
    assert "plugin" in repr(compiled.plugin) and compiled.cost.dram_bytes_moved > 0
    assert compiled.cut is None and "cut" not in compiled.record()


class Pair(NamedTuple):
    larger: torch.Tensor
    less: torch.Tensor


class ThreeResults(nn.Module):
    def forward(self, x):
        later = x * 3
        return {"sum": x + x, "pair": Pair(later, x - 1)}


@pytest.mark.parametrize("target", ["cpu", "p150-compile"])
def test_results_keep_their_places_and_their_kind(clip, target):
    verdict = probe(ThreeResults(), (clip,), target, evaluate=True)
    sum_, pair = verdict.outputs["sum"], verdict.outputs["pair"]
    for got, want in ((sum_, clip * 2), (pair.larger, clip * 3), (pair.less, clip - 1)):
        assert compare(got, want).max_abs < 1e-2
    assert target == "cpu" or verdict.results == {"sum": 0, "pair": Pair(1, 2)}


class ReturnsOther(nn.Module):
    def forward(self, x, opaque):
        return SimpleNamespace(x=x) if opaque else None


@pytest.mark.parametrize("opaque, got", [(True, "a SimpleNamespace, need"), (False, "None, need a tensor")])
def test_what_a_module_may_not_return_is_told_as_such(clip, opaque, got):
    verdict = probe(ReturnsOther(), (clip,), "p150-compile", opaque=opaque)
    assert (verdict.kind, verdict.stage) == ("Refused", "trace") and got in verdict.message
    with pytest.raises(Refused, match="ReturnsOther on p150-compile, which got to trace"):
        verdict.cost


class Keeps(nn.Module):
    """Tensors that `Module.to` leaves where they are, alone and in a list."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.table, self.more = torch.full((8,), 3.0), [torch.full((8,), 5.0), self.layer.bias]

    def forward(self, x):
        return self.layer(x) * self.table + self.more[0]


@pytest.mark.parametrize("target", ["xla-cpu", "p150-compile"])
def test_tensors_kept_as_plain_attributes_go_along(target):
    module, x = Keeps(), torch.randn(32, 8)
    verdict = probe(module, (x,), target, evaluate=True)
    assert verdict.passed and compare(verdict.outputs, module(x)).pcc > 0.9999
    if target == "p150-compile":
        kinds = {argument.name: argument.kind for argument in verdict.program.arguments}
        weights = dict.fromkeys(("layer.weight", "layer.bias", "table", "more.0"), "parameter")
        assert kinds == weights | {"input.0": "input"}


class Sums(nn.Module):
    """A step that takes a list, a dict, a flag and a state; hands on one entry as it came."""

    def forward(self, frames, by=None, minus=False, state=None):
        total = sum(frames) * by["factor"] + (state["total"] if state else 0)
        return (-total if minus else total), {"total": total} | ({"seen": state["seen"]} if state else {})

    def halved(self, x):
        return x / 2, x


def test_a_module_gets_its_keywords_and_its_state_and_gives_its_state_back():
    one = torch.ones(32, 32)
    state, by = {"total": one * 7, "seen": one * 9}, {"factor": one * 2}
    for target in ("cpu", "p150-compile"):
        verdict = probe(Sums(), ([one, one],), target, evaluate=True, state=state, by=by, minus=True)
        result, new = verdict.outputs
        assert (result.unique(), new["total"].unique(), new["seen"].unique()) == (-11, 11, 9)
    names = {argument.name for argument in verdict.program.arguments}
    assert names == {"input.0.0", "input.0.1", "input.by.factor", "input.state.total"}
    assert verdict.results[1] == {"total": 1, "seen": None}


def test_a_method_is_called_and_one_of_its_results_wanted():
    verdict = probe(Sums().halved, (torch.ones(32, 32),), "p150-compile", evaluate=True, result=0)
    assert verdict.outputs.unique() == 0.5 and len(verdict.program.main.returns) == 1


def test_a_keyword_that_the_module_does_not_take_is_refused_first():
    with pytest.raises(Refused, match="keyword 'evalute', need keywords of Sums.forward: frames, by, "):
        probe(Sums(), ([torch.ones(1)],), "cpu", evalute=True)
    with pytest.raises(Refused, match="keyword 'state'"):
        probe(nn.Linear(1, 1), (torch.ones(1),), "cpu", state={"past": torch.ones(1)})


def test_the_mocked_chip_builds_kernels_and_runs_none(clip):
    verdict = probe(nn.Linear(8, 32).bfloat16(), (clip.bfloat16(),), "p150-mock")
    assert verdict.passed and verdict.stages["kernels"] == PASS and verdict.stages["run"] == MOCKED
    assert verdict.outputs is None, "the mock's memory holds no results"


def test_the_mocked_chip_has_a_real_allocator():
    # 42 MB on the host; as tiles each single element is 32×32 of them, 43 GB in all.
    verdict = probe(nn.ReLU(), (torch.zeros(20 * 2**20, 1, 1, dtype=torch.bfloat16),), "p150-mock")
    assert (verdict.kind, verdict.stage) == ("DRAM out of memory", "run"), str(verdict)


@pytest.mark.parametrize(
    "module, target, kind, says",
    [
        (Killed(), "cpu", "crash", "SIGKILL"),
        (Raises(), "cpu", "RuntimeError", ""),
        (Raises(), "p150-compile", "RuntimeError", ""),
    ],
)
def test_a_worker_that_fails_is_a_verdict(module, target, kind, says, clip):
    verdict = probe(module, (clip,), target)
    assert verdict.kind == kind and says in verdict.message and "Traceback" not in verdict.message


def test_a_time_out_ends_the_worker_and_all_it_started(clip):
    verdict = probe(Hangs(), (clip,), "cpu", timeout=8)
    assert verdict.kind == "time-out"
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "600"]]


HANGS = """
import signal
import torch
from hostile import Hangs
from ttvideo import probe
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's shell has it ignored
probe(Hangs(), (torch.zeros(1),), "cpu")
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_its_parent(how, cold):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "tests")])}
    parent = subprocess.Popen([sys.executable, "-c", HANGS], env=environment, stderr=subprocess.DEVNULL)
    worker = wait_for(lambda: psutil.Process(parent.pid).children())[0]
    wait_for(worker.children)
    parent.send_signal(how)
    parent.wait(120)
    assert wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    for child in [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "600"]]:
        child.kill()  # a killed parent can't end its worker's children; the kernel ends the worker alone
        assert how == signal.SIGKILL
    probe(nn.Linear(1, 1), (torch.zeros(1),), "cpu")  # the next probe sweeps up what a killed parent left
    assert not [path for place in places() for path in place.glob(f"{FOLDER_PREFIX}{parent.pid}-*")]


def wait_for(condition, seconds=180):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.1)
    raise TimeoutError


def test_a_replay_says_that_it_is_one(clip):
    verdict = replay(nn.Sequential(nn.Conv3d(8, 8, 1)).bfloat16(), (clip.bfloat16(),))
    assert verdict.replayed and "replay" in str(verdict) and "replay" in verdict._repr_html_()
    assert (verdict.kind, verdict.op) == ("legalisation", "ttir.convolution")
    assert verdict.location.startswith("Conv3d[0]/forward")
    illegal = "failed to legalize operation 'ttir.convolution' that was explicitly marked illegal"
    assert verdict.message == illegal
    assert replay(nn.Conv2d(3, 8, 1).bfloat16(), (clip[0].bfloat16(),)).passed


def test_modules_that_share_a_process():
    """Equal graphs are told apart by their names and places; after a failure comes a new process."""
    torch.manual_seed(0)
    x = (torch.randn(32, 32).bfloat16(),)
    one, inner, wide = (nn.Linear(32, width).bfloat16() for width in (32, 32, 64))
    same = nn.Sequential(inner)
    cases = {"one": (one, x), "same": (same, x), "aborts": (Aborts(), x), "wide": (wide, x)}
    verdicts = probe_each(cases, "p150-compile", evaluate=True)
    assert [verdict.passed for verdict in verdicts.values()] == [True, True, False, True]
    assert verdicts["aborts"].kind == "crash" and "SIGABRT" in verdicts["aborts"].message
    assert {a.name for a in verdicts["same"].program.arguments} == {"0.weight", "0.bias", "input.0"}
    assert "Linear[0]/forward" in verdicts["same"].ttnn and "Linear[0]" not in verdicts["one"].ttnn
    for name, module in {"one": one, "same": same, "wide": wide}.items():
        assert compare(verdicts[name].outputs.double(), module.double()(x[0].double())).pcc > 0.9999


def test_a_warm_worker_serves_the_next_module_and_one_that_failed_does_not():
    x = (torch.ones(32, 32),)
    with warm_workers(False), warm_workers():
        assert probe(nn.ReLU(), x, "cpu").passed
        (first,) = Worker.idle
        assert probe(nn.Linear(32, 8), x, "cpu").passed and Worker.idle == [first]
        assert not probe(Aborts(), x, "cpu").passed and not Worker.idle
        assert probe(nn.ReLU(), x, "cpu").passed and Worker.idle != [first]
    assert first.child.process.poll() is not None and not first.folder.exists()


def test_a_value_read_where_none_was_computed_is_a_failure_of_its_own():
    x = torch.randn(4, 8).bfloat16()
    cases = {how: (ReadsBack(how).bfloat16(), (x,)) for how in ("a branch", "item()", "numpy", "a mask")}
    for how, verdict in probe_each(cases, "p150-compile", evaluate=True).items():
        assert (verdict.kind, verdict.stage) == ("graph cut", "trace"), how
        assert "ReadsBack" in verdict.location and "(hostile.py:" in verdict.location
        assert "into 2 programs" in verdict.message and verdict.location in verdict.message
        assert verdict.outputs is None and verdict.record()["cut"] == verdict.cut


def test_where_values_are_real_a_cut_is_told_and_no_failure():
    module, x = ReadsBack("a branch"), torch.randn(4, 8)
    verdict = probe(module, (x,), "xla-cpu")
    assert verdict.passed and "into 2 programs" in verdict.cut and verdict.cut in str(verdict)
    assert compare(verdict.outputs, module(x)).max_abs < 1e-5
