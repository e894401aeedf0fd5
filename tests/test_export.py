"""What a verdict leaves for others: files that compile again without this project, and a text for the
tracker."""

import os
import subprocess
import sys

import pytest
import torch

from ttvideo import Refused, probe
from ttvideo.programs.program import read

INPUT = (torch.zeros(1, 12, 3, 8, 8, dtype=torch.bfloat16),)
MESSAGE = "ttnn PrepareConv3dWeightsOp is not linked in this libtt build"


CONV = torch.nn.Conv3d(12, 16, 3, padding=1).bfloat16()


@pytest.fixture(scope="module")
def refused():
    return probe(CONV, INPUT, "p150-mock", name="conv")


def again(folder):
    """repro.py, with nothing of this project in its path, and what the plugin unpacks not left in /tmp."""
    (folder / "tmp").mkdir()
    environment = os.environ | {"TMPDIR": str(folder / "tmp")}
    asked = [sys.executable, "-P", folder / "repro.py"]
    return subprocess.run(asked, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_a_failure_is_reproduced_by_what_it_saved(refused, tmp_path):
    folder = refused.save(tmp_path / "kept")
    names = {path.name for path in folder.iterdir()}
    assert names >= {"stablehlo.mlir", "ttir.mlir", "log.txt", "repro.py"}
    assert str(tmp_path) not in (folder / "environment.json").read_text()  # the folder may be sent elsewhere
    assert read((folder / "ttnn.mlir").read_text()).main.ops
    assert len((folder / "README.md").read_text().splitlines()) == 3
    moved = folder.rename(tmp_path / "moved")
    done = again(moved)
    assert done.returncode and "compiled" in done.stdout and MESSAGE in done.stderr


def test_what_compiles_compiles_again(tmp_path):
    x = torch.zeros(4, 32, dtype=torch.bfloat16)
    verdict = probe(torch.nn.Linear(32, 32).bfloat16(), (x,), "n150-compile")
    done = again(verdict.save(tmp_path))
    assert done.returncode == 0 and done.stdout.strip() == "compiled"


def test_an_issue_has_what_a_maintainer_asks_for(refused):
    text = refused.issue()
    title, *_ = text.splitlines()
    assert title == f"# ttnn.prepare_conv3d_weights: {MESSAGE}"
    for part in (refused.plugin, "torch 2.9", "stablehlo.convolution", "jax.devices()"):
        assert part in text
    assert len(text) < 65_536 and text.count("```") % 2 == 0


def test_the_log_is_kept_without_the_modules(refused):
    assert (refused.status, refused.stage, refused.kind) == ("fail", "kernels", "op not linked")
    assert refused.op == "ttnn.prepare_conv3d_weights" and "\n" not in refused.message
    assert "[module ttnn]" in refused.log and MESSAGE in refused.log and "func.func" not in refused.log


def test_there_is_no_issue_where_nothing_of_the_compilers_failed(tmp_path):
    passed = probe(CONV, INPUT, "cpu")
    with pytest.raises(Refused, match="issue: got Conv3d on cpu"):
        passed.issue()
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="one that can be written"):
        passed.save(tmp_path / "file")
