"""Parameters, records and notebooks as papermill meets them."""

import json

import nbformat
import papermill
import pytest

from lib.parameters import NOTEBOOKS, check_parameters
from lib.project import PROJECT
from lib.record import Record
from lib.run import parse
from ttvideo.probing.verdict import Verdict


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_and_its_checks_know_the_same_parameters(name):
    inspected = papermill.inspect_notebook(str(PROJECT / "notebooks" / f"{name}.ipynb"))
    assert set(inspected) == set(NOTEBOOKS[name])
    assert all(one["inferred_type_name"] != "None" and one["help"] for one in inspected.values())


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_stored_notebook_is_fresh_and_short(name):
    path = PROJECT / "notebooks" / f"{name}.ipynb"
    assert path.stat().st_size < 1_000_000
    notebook = nbformat.read(path, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    logic = [cell for cell in code if "parameters" not in cell.metadata.get("tags", [])]  # a line each
    assert max(len(cell.source.splitlines()) for cell in logic) <= 15
    assert max(len(line) for cell in logic for line in cell.source.splitlines()) <= 110
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)
    assert "assert" in code[-1].source
    lines = [line for cell in code for line in cell.source.splitlines()]
    # Of data, not of what a table shows.
    assert not [line for line in lines if line.lstrip().startswith("assert") and ("✓" in line or "✗" in line)]


def test_a_record_says_what_was_asked_and_found(tmp_path):
    parameters = {
        "target": "cpu", "dtype": "float32", "seed": 1, "latent_frames": 1, "latent_height": 2,
        "latent_width": 3, "output_dir": str(tmp_path),
    }  # fmt: skip
    record = Record(check_parameters("01_repro", parameters))
    record.add(Verdict(target="cpu", stages={"run": "pass"}, name="a"))
    record.metrics["psnr"] = float("inf")
    content = json.loads(record.write().read_text())
    assert content["notebook"] == "01_repro" and content["parameters"] == parameters
    assert set(content["versions"]) == {"plugin", "torch", "torch_xla", "diffusers", "python"}
    assert content["verdicts"] == [
        {"name": "a", "target": "cpu", "status": "pass", "stage": "run", "kind": None, "message": None}
    ]
    assert content["metrics"] == {"psnr": "inf", "programs": {}}


def test_make_run_takes_parameters():
    assert parse(["target=p150-compile", "latent_frames=5", "streaming=false"]) == {
        "target": "p150-compile", "latent_frames": 5, "streaming": False,
    }  # fmt: skip
