"""One module, one target, one verdict: on the real compiler and the mocked chip."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest
import torch
from hostile import Aborts, Hangs, Killed, Raises, ReadsBack
from torch import nn

from lib.project import PROJECT
from ttvideo import compare, probe, probe_all, replay
from ttvideo.basics.folders import FOLDER_PREFIX, places
from ttvideo.probing.probe import probe_each
from ttvideo.probing.verdict import MOCKED, PASS

pytestmark = pytest.mark.usefixtures("clean_after")


def test_host_lanes_return_what_torch_computes(clip):
    conv = nn.Conv3d(8, 4, 3)
    for verdict in probe_all(conv, (clip,), ["cpu", "xla-cpu"]):
        assert verdict.passed and verdict.stage == "run"
        assert compare(verdict.outputs, conv(clip)).max_abs < 1e-5


def test_every_board_compiles_a_pointwise_conv3d_to_a_linear(clip):
    verdicts = probe_all(
        nn.Conv3d(8, 64, 1).bfloat16(), (clip.bfloat16(),), ["n150-compile", "n300-compile", "p150-compile"]
    )
    for verdict in verdicts:
        assert verdict.passed and verdict.stage == "TTNN"
        assert verdict.op_counts["ttnn.linear"] == 1 and verdict.op_counts["ttnn.conv3d"] == 0
        assert verdict.outputs is None, "nothing ran"
        assert "plugin" in repr(verdict.plugin) and verdict.cost.dram_bytes_moved > 0


def test_two_boards_at_once_keep_to_their_own_descriptors(clip):
    wormhole, blackhole = probe_all(nn.Conv3d(8, 8, 1).bfloat16(), (clip.bfloat16(),), ["n150-compile", "p150-compile"])
    assert "arch = <wormhole_b0>" in wormhole.ttnn and "arch = <blackhole>" in blackhole.ttnn


def test_weights_are_marked_under_their_names(clip):
    verdict = probe(nn.Conv3d(8, 8, 1).bfloat16(), (clip.bfloat16(),), "p150-compile")
    kinds = {argument.name: argument.kind for argument in verdict.program.arguments}
    assert kinds == {"weight": "parameter", "bias": "parameter", "input.0": "input"}


def test_evaluated_outputs_are_those_of_the_compiled_program(clip):
    conv = nn.Conv3d(8, 32, 3, padding=1).bfloat16()
    verdict = probe(conv, (clip.bfloat16(),), "p150-compile", evaluate=True)
    assert verdict.outputs_from.startswith("evaluated")
    assert compare(verdict.outputs, conv.double()(clip.bfloat16().double())).pcc > 0.9999


class ThreeResults(nn.Module):
    def forward(self, x):
        later = x * 3
        return {"sum": x + x, "pair": (later, x - 1)}


def test_evaluated_results_keep_their_places(clip):
    outputs = probe(ThreeResults(), (clip,), "p150-compile", evaluate=True).outputs
    for got, want in ((outputs["sum"], clip * 2), (outputs["pair"][0], clip * 3), (outputs["pair"][1], clip - 1)):
        assert compare(got, want).max_abs < 1e-2


def test_the_mocked_chip_builds_kernels_and_runs_none(clip):
    verdict = probe(nn.Linear(8, 32).bfloat16(), (clip.bfloat16(),), "p150-mock")
    assert verdict.passed and verdict.stages["kernels"] == PASS and verdict.stages["run"] == MOCKED
    assert verdict.outputs is None, "the mock's memory holds no results"


def test_conv3d_is_not_linked_into_the_runtime(clip):
    verdict = probe(nn.Conv3d(8, 32, 3, padding=1).bfloat16(), (clip.bfloat16(),), "p150-mock")
    assert (verdict.status, verdict.stage, verdict.kind) == ("fail", "kernels", "op not linked")
    assert verdict.op == "ttnn.prepare_conv3d_weights" and "\n" not in verdict.message


class PlusOne(nn.Module):
    def forward(self, x):
        return x + 1.0


def test_the_mocked_chip_has_a_real_allocator():
    # 42 MB on the host; as tiles each single element is 32×32 of them, 43 GB in all.
    verdict = probe(PlusOne(), (torch.zeros(20 * 2**20, 1, 1, dtype=torch.bfloat16),), "p150-mock")
    assert (verdict.kind, verdict.stage) == ("DRAM out of memory", "run"), str(verdict)


@pytest.mark.parametrize(
    ("module", "kind", "says"),
    [(Aborts(), "crash", "SIGABRT"), (Killed(), "crash", "SIGKILL"), (Raises(), "RuntimeError", "")],
    ids=["aborts", "killed", "raises"],
)
@pytest.mark.parametrize("target", ["cpu", "p150-compile"])
def test_a_worker_that_fails_is_a_verdict(module, kind, says, target, clip):
    verdict = probe(module, (clip,), target)
    assert verdict.kind == kind and says in verdict.message and "Traceback" not in verdict.message


def test_a_time_out_ends_the_worker_and_all_it_started(clip):
    verdict = probe(Hangs(), (clip,), "cpu", timeout=8)
    assert verdict.kind == "time-out"
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "600"]]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill -9"])
def test_nothing_outlives_its_parent(how):
    script = textwrap.dedent(
        """
        import signal
        import torch
        from hostile import Hangs
        from ttvideo import probe
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's shell has it ignored
        probe(Hangs(), (torch.zeros(1),), "cpu")
        """
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "tests")])}
    parent = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.DEVNULL)
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
    assert verdict.message == "failed to legalize operation 'ttir.convolution' that was explicitly marked illegal"


def test_the_old_rule_lets_a_conv2d_pass(clip):
    assert replay(nn.Conv2d(3, 8, 1).bfloat16(), (clip[0].bfloat16(),)).passed


def test_modules_that_share_a_process():
    """Equal graphs are compiled once, and each verdict has the program with its own names; after a failure comes a new process."""
    torch.manual_seed(0)
    x = (torch.randn(32, 32).bfloat16(),)
    one, inner, wide = (nn.Linear(32, width).bfloat16() for width in (32, 32, 64))
    same = nn.Sequential(inner)
    cases = {"one": (one, x), "same": (same, x), "aborts": (Aborts(), x), "wide": (wide, x)}
    verdicts = probe_each(cases, "p150-compile", evaluate=True)
    assert [verdict.passed for verdict in verdicts.values()] == [True, True, False, True]
    assert verdicts["same"].compiled_programs == 1
    for name, module in {"one": one, "same": same, "wide": wide}.items():
        assert compare(verdicts[name].outputs.double(), module.double()(x[0].double())).pcc > 0.9999


READS_BACK = ["a branch", "item()", "numpy", "a mask"]


def test_a_value_read_where_none_was_computed_is_a_failure_of_its_own():
    x = torch.randn(4, 8).bfloat16()
    cases = {how: (ReadsBack(how).bfloat16(), (x,)) for how in READS_BACK}
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


def test_a_graph_in_one_piece_is_not_cut():
    verdict = probe(ReadsBack("nothing").bfloat16(), (torch.randn(4, 8).bfloat16(),), "p150-compile")
    assert verdict.passed and verdict.cut is None and "cut" not in verdict.record()
