"""Batches: what a grid asks for, how a run can end, what is told of it, and that nothing of it stays."""

import contextlib
import json
import sys
import threading
import time
from collections import Counter

import pandas as pd
import psutil
import pytest

from batches import grid as grids
from batches.__main__ import main
from batches.cluster import connected, gigabytes, run_all
from batches.grid import Run, read_grid, whole
from batches.report import changes, label, read_table, report, table, varying
from batches.run import FAIL, PASS, STOPPED, execute, kept, write
from ttvideo.basics.errors import Refused

pytestmark = pytest.mark.long

QUICK = {"notebook": "01_repro", "plugin": "installed", "parameters": {"target": "cpu", "latent_heigth": 2}}
ENDED = {"status": PASS, "reason": None, "seconds": 1.0, "gb": 1.0}
LONG = QUICK | {"parameters": whole("01_repro", {"target": "p150-mock"})}


def written(tmp_path, text: str):
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    return path


def test_a_grid_is_every_combination_and_its_cases_each_once(tmp_path):
    text = """
    notebooks: [01_repro, 02_decompose]
    parameters: {target: [n150-compile, p150-compile], latent_height: [4, 8], strategy: [linear, sum]}
    cases: [{notebook: 03_full_decoder, target: cpu, latent_frames: 3}, {target: p150-mock}]
    """
    runs = read_grid(written(tmp_path, text), {})
    count = Counter(run.notebook for run in runs)
    assert count == {"01_repro": 4 + 1, "02_decompose": 8 + 1, "03_full_decoder": 1}
    assert len({run.name for run in runs}) == len(runs)
    (third,) = (run for run in runs if run.notebook == "03_full_decoder")
    assert third.parameters.items() >= {"latent_frames": 3, "target": "cpu", "seed": 0}.items()
    text = "notebooks: [01_repro]\nparameters: {target: [cpu]}\nplugins: [0.1.2, 0.1.3]"
    assert [run.plugin for run in read_grid(written(tmp_path, text), {})] == ["0.1.2", "0.1.3"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "grid: got .*YAML"),
        ("notebooks: [09_none]", "notebook: got '09_none'"),
        ("notebooks: [01_repro]\nparameter: {}", "grid: got parameter, need a mapping of notebooks"),
        ("notebooks: [01_repro]\nparameters: {target: cpu}", "target: got 'cpu', need a list"),
        ("notebooks: [01_repro]\nparameters: {strategy: [linear]}", "parameters: got strategy"),
        ("notebooks: [01_repro]\nparameters: {latent_height: [0]}", "latent_height: got 0"),
        ("notebooks: [01_repro]\nparameters: {target: [n150]}", "target: got 'n150'"),
        ("cases: [{notebook: 03_full_decoder, strategy: linear}]", "streaming: got strategy 'linear'"),
        ("cases: [{notebook: 01_repro, output_dir: x}]", "case: got output_dir"),
        ("parameters: {target: [cpu]}", "no runs"),
    ],
)
def test_what_no_run_could_take_is_refused_before_any(tmp_path, text, said):
    with pytest.raises(Refused, match=said):
        read_grid(written(tmp_path, text), {})


def test_a_run_is_known_by_all_that_decides_its_outcome(monkeypatch):
    given = {"notebook": "01_repro", "parameters": {"target": "cpu"}, "versions": {"torch": "1"}}
    changes = [{"notebook": "02_decompose"}, {"parameters": {"target": "tt"}}, {"versions": {"torch": "2"}}]
    found = [Run(**given | changed).hash for changed in [{}, {}, *changes, {"plugin": "0.1.2"}]]
    monkeypatch.setattr(grids, "library", lambda: "another")
    assert found[0] == found[1] and len({*found, Run(**given).hash}) == 6


def test_more_pixels_and_simulated_chips_are_reckoned_to_hold_more(tmp_path):
    sizes = ({"latent_height": h, "latent_width": w} for h, w in ((4, 4), (60, 106)))
    whole_ones = (whole("03_full_decoder", size | {"target": "p150-mock"}) for size in sizes)
    small, large = (Run("03_full_decoder", parameters) for parameters in whole_ones)
    assert 12 < gigabytes(large) < 16 and gigabytes(small) < 6
    simulated = Run("01_repro", small.parameters | {"target": "n150-ttsim"})
    assert gigabytes(simulated) > gigabytes(Run("01_repro", small.parameters))
    text = "cases: [{notebook: 06_cost, latent_height: 4, latent_width: 4}]"
    (run,) = read_grid(written(tmp_path, text), {})
    assert "target" not in run.parameters and 3 < gigabytes(run) < 6


def test_a_run_that_fails_says_at_which_cell_and_why(tmp_path):
    row = execute(QUICK, tmp_path, sys.executable, timeout=300)
    assert row["status"] == FAIL and row["reason"].startswith("cell ") and "latent_heigth" in row["reason"]
    assert kept(tmp_path) == row and row["gb"] > 0


def started(name: str) -> psutil.Process:
    """The process under this one whose command has `name`, once it is there."""
    while True:
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if name in " ".join(child.cmdline()):
                    return child
        time.sleep(0.1)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "kills, timeout, reason", [(False, 15, "no end after 15 s"), (True, 100, "killed by SIGKILL")]
)
def test_a_run_that_hangs_or_is_killed_is_a_row_and_ended_with_its_kernel(tmp_path, kills, timeout, reason):
    rows = []
    run = lambda: rows.append(execute(LONG, tmp_path, sys.executable, timeout=timeout))
    thread = threading.Thread(target=run)
    thread.start()
    kernel = started("ipykernel_launcher")
    if kills:
        started("batches.run").kill()
    thread.join()
    assert rows[0]["status"] == FAIL and rows[0]["reason"] == reason
    psutil.wait_procs([kernel], timeout=20)
    assert not kernel.is_running()


@pytest.mark.timeout(120)
def test_a_run_that_is_stopped_leaves_no_row(tmp_path):
    begin = time.monotonic()
    row = execute(LONG, tmp_path, sys.executable, timeout=100, stopped=lambda: time.monotonic() - begin > 5)
    assert row["status"] == STOPPED and kept(tmp_path) is None


@pytest.mark.timeout(120)
def test_a_sweep_tries_all_and_goes_on_where_it_stopped(tmp_path, capsys, monkeypatch):
    cases = "cases: [{notebook: 01_repro, target: cpu, seed: 1}, {notebook: 01_repro, target: cpu, seed: 2}]"
    path = written(tmp_path, cases)
    tried = []

    def pretend(asked, folder, python, timeout, stopped):
        """The first passes, the second only when it is tried again."""
        seed = asked["parameters"]["seed"]
        tried.append(seed)
        failed = seed == 2 and tried.count(2) == 1
        row = ENDED | ({"status": FAIL, "reason": "no luck"} if failed else {})
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / "row.json", row)
        return row

    monkeypatch.setattr("batches.cluster.execute", pretend)
    asked = [str(path), "--out", str(tmp_path / "out")]
    assert main(asked) == 1 and sorted(tried) == [1, 2]
    said = capsys.readouterr().err
    assert "2 runs, 0 done before" in said and "no luck" in said and "Dask's dashboard: http" in said
    (tmp_path / "old.parquet").write_bytes((tmp_path / "out" / "records.parquet").read_bytes())
    assert main([*asked, "--compare", str(tmp_path / "old.parquet")]) == 0 and sorted(tried) == [1, 2, 2]
    told = capsys.readouterr()
    assert "1 done before" in told.err and "no luck" in told.out  # what it was before
    assert main(asked) == 0 and len(tried) == 3


@pytest.mark.timeout(120)
def test_what_runs_is_stopped_when_the_sweep_is(tmp_path, monkeypatch):
    """Ctrl-C, or the end of the loop that takes the rows: a run that hasn't ended is told to."""
    runs = [Run("01_repro", whole("01_repro", {"target": "cpu", "seed": seed})) for seed in range(3)]
    ended = []

    def pretend(asked, folder, python, timeout, stopped):
        while asked["parameters"]["seed"] and not stopped():
            time.sleep(0.05)
        ended.append(asked["parameters"]["seed"])
        return ENDED

    monkeypatch.setattr("batches.cluster.execute", pretend)
    with connected(None, jobs=2) as client:
        rows = run_all(client, runs, tmp_path, 60)
        assert next(rows)[0].parameters["seed"] == 0
        rows.close()
        deadline = time.monotonic() + 20
        while len(ended) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
    assert ended[0] == 0 and len(ended) >= 2


def test_a_scheduler_that_nobody_is_at_is_refused():
    with pytest.raises(Refused, match="scheduler: got tcp://127.0.0.1:1"), connected("tcp://127.0.0.1:1"):
        pass


def found(tmp_path, **row) -> pd.DataFrame:
    """A table of two runs, one of which ended with a record."""
    asked = {"target": "p150-compile"}
    runs = [Run("01_repro", whole("01_repro", asked | {"latent_height": height})) for height in (4, 8)]
    record = {
        "versions": {"plugin": "p 1"},
        "verdicts": [{"name": "conv", "target": "p150-compile", "status": "pass", "stage": "TTNN",
                      "kind": None, "message": None}],
        "metrics": {"psnr": "inf", "deep": {"er": 2.5}, "programs": {
            "conv, p150-compile": {"peak_dram_bytes": 1000, "dram_bytes_moved": 9, "ops": 3}}},
    }  # fmt: skip
    record["verdicts"][0] |= {key: value for key, value in row.items() if key in record["verdicts"][0]}
    record["metrics"]["programs"]["conv, p150-compile"]["ops"] = row.get("ops", 3)
    folder = tmp_path / "runs" / runs[0].name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").write_text(json.dumps(record))
    rows = {runs[0].name: ENDED, runs[1].name: ENDED | {"status": FAIL, "reason": "killed by SIGKILL"}}
    return table(runs, rows, tmp_path / "runs")


def test_the_table_has_a_row_a_verdict_and_one_a_run_without(tmp_path):
    records = found(tmp_path)
    assert list(records["run"]) == [PASS, FAIL] and list(records["verdict"].fillna("-")) == ["conv", "-"]
    first = records.iloc[0]
    found_first = [first[name] for name in ("peak_dram_bytes", "ops", "metric deep.er", "version plugin")]
    assert found_first == [1000, 3, 2.5, "p 1"]
    report(tmp_path, records, None)
    again = read_table(tmp_path / "records.parquet")
    assert list(again["parameter latent_height"]) == [4, 8]
    assert len(pd.read_csv(tmp_path / "records.csv")) == 2
    page = (tmp_path / "report.html").read_text()
    assert "killed by SIGKILL" in page and "1 pass, 1 fail" in page and "https://unpkg" not in page


def test_notebooks_of_other_parameters_share_a_page(tmp_path):
    records = found(tmp_path)
    more = {"parameter strategy": ["sum", "linear"], "parameter model": "demo"}
    others = records.assign(notebook="02_decompose", **more)
    both = pd.concat([records, others], ignore_index=True)
    assert varying(both) == ["parameter latent_height", "parameter strategy"]
    assert label([1.0, float("nan"), "sum", None]) == "1 · sum"
    report(tmp_path, both, None)
    assert "4 runs" in (tmp_path / "report.html").read_text()


def test_what_changed_is_told_and_nothing_else(tmp_path):
    old = found(tmp_path)
    assert len(changes(old, found(tmp_path))) == 0
    new = found(tmp_path, status="fail", kind="op not legal", ops=4)
    told = changes(old, new)
    assert {(row.what, row.before, row.after) for row in told.itertuples()} == {
        ("status", "pass", "fail"), ("kind", None, "op not legal"), ("ops", 3, 4),
    }  # fmt: skip
    report(tmp_path, new, told)
    gone = changes(old, new.iloc[1:])
    assert list(gone["what"]) == ["row"] and list(gone["after"]) == ["missing"]
    older, newer = old.assign(plugin="0.1.2"), found(tmp_path, ops=4).assign(plugin="0.1.3")
    assert list(changes(older, newer)["what"]) == ["ops"]


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(Refused, match="records.parquet of a sweep"):
        read_table(tmp_path / "x.parquet")
