"""The stored findings are of what the code says, and of all of it (notebooks assert what they found)."""

import json
import re
import sys
import warnings
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLMochi
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d
from safetensors.torch import load_file
from torch import nn

from findings import __main__ as findings
from findings import inputs, store
from findings.families import family_row
from findings.without import REWRITES
from lib import stored as module
from lib.project import PROJECT
from lib.stored import stored, stored_decompositions
from lib.versions import git, versions
from tests import compiled
from ttvideo.basics.errors import Refused
from ttvideo.decompositions.convolutions import CONVOLUTIONS
from ttvideo.decompositions.measure import candidates
from ttvideo.probing.verdict import Verdict


def form(conv: nn.Module) -> tuple:
    conv = conv.conv if isinstance(conv, CogVideoXCausalConv3d) else conv
    return conv.kernel_size, conv.stride, conv.in_channels, conv.out_channels


def test_kernels_are_those_of_mochi():
    """Every distinct Conv3d of the decoder, and every one of the encoder that strides."""
    with torch.device("meta"):
        vae = AutoencoderKLMochi()
    convs = [(name, module) for name, module in vae.named_modules() if isinstance(module, nn.Conv3d)]
    mochi = {form(conv) for name, conv in convs if name.startswith("decoder") or conv.stride != (1, 1, 1)}
    stored_ones = [kernel for name, kernel in CONVOLUTIONS.items() if name.startswith(("decoder", "encoder"))]
    assert mochi == {form(kernel.make()) for kernel in stored_ones}


def test_stored_decompositions_are_all_that_apply():
    found = {}
    for row in stored_decompositions():
        found.setdefault(row.kernel, set()).add(row.decomposition.split(",")[0])
    assert found.keys() == CONVOLUTIONS.keys()
    for name in ("decoder 3×3×3, 128", "encoder 2×2×2, 128 to 256", "flat in space 3×1×1, 128"):
        assert found[name] == {name.split(",")[0] for name in candidates(CONVOLUTIONS[name].make())}


def test_the_stored_costs_are_of_every_rewrite():
    costs = stored("decoder_cost")
    step, clip = costs["step"], costs["clip"]
    assert step["cases"].keys() >= {f"tiles without {name}" for name in REWRITES}
    assert sum(name.startswith("tiles without") for name in step["cases"]) == len(REWRITES)
    assert {case["status"] for result in (step, clip) for case in result["cases"].values()} == {"pass"}


def test_the_figures_that_texts_say_in_words():
    """Exact, and nowhere else: where others come of making a result again, what says so is to be read."""
    gb = lambda row: round(row["dram_bytes_moved"] / row.get("latent_frames", 1) / 1e9)
    written = {row["board"]: row for row in stored("native")["cost"] if row["program"] == "steady step"}
    counted = {board: (row["ops"], gb(row)) for board, row in written.items()}
    assert counted == {"n150": (162, 60), "p150": (162, 56)}
    step = stored("decoder_cost")["step"]["cases"]
    tiles, single = step["tiles"], step["tiles without pairs"]
    assert (tiles["ops"], gb(tiles), single["ops"], gb(single)) == (2454, 218, 3321, 267)
    with_pairs, without = tiles["seconds_in_turn"], single["seconds_in_turn"]
    assert [round(with_pairs[board] / without[board], 2) for board in ("n150", "p150")] == [1.05, 0.97]
    mb = {}
    for row in stored_decompositions():
        figures = row.dram_bytes_moved, row.peak_dram_bytes
        mb[row.kernel, row.decomposition] = tuple(round(figure / 1e6) for figure in figures)
    assert [mb["decoder 3×3×3, 768", name] for name in ("sum", "stacked")] == [(125, 15), (134, 38)]
    assert [mb["decoder 3×3×3, 128", name] for name in ("sum", "stacked")] == [(685, 59), (630, 85)]
    encoder = "encoder 2×2×2, 128 to 256"
    assert [mb[encoder, name][0] for name in ("unrolled", "sum", "stacked")] == [224, 286, 287]


def test_a_result_of_other_versions_says_so_where_it_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    made = {"commit": "abc", "inputs": None, "versions": versions() | {"ttnn": "0.81.1"}}
    store.put(tmp_path / "found.json", ("rows", {"board": "n150"}), {"ops": 1}, made, 2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert module.stored("found")["rows"] == [{"board": "n150", "ops": 1}]
    monkeypatch.setattr(module, "versions", lambda: {**versions(), "plugin": "jax-tt-plugin 9.9"})
    with pytest.warns(UserWarning, match=r"made by plugin jax-tt-plugin .* \(here jax-tt-plugin 9.9\)"):
        module.stored("found")


def test_an_unknown_result_is_refused():
    with pytest.raises(Refused, match="accuracy"):
        stored("acuracy")


def test_a_verdicts_row_has_its_record_and_what_its_program_costs():
    made = Verdict("p150-compile", {"TTNN": "pass"}, "conv", ttnn=compiled.text("conv2d"))
    assert made.row().items() >= (made.record() | made.cost.record()).items()
    refused = Verdict("p150-compile", {"TTIR": "fail"}, "conv", kind="compiler", op="ttir.conv3d")
    assert refused.row() == refused.record() | {"op": "ttir.conv3d", "location": None}


def test_parts_keep_their_rows_and_what_made_them(tmp_path):
    path, old, new = tmp_path / "found.json", {"inputs": "a", "commit": "1"}, {"inputs": "b", "commit": "2"}
    for board in ("n150", "p150"):
        store.put(path, ("rows", {"board": board}), [{"step": 0}, {"step": 1}], old, 3.04)
    store.put(path, ("rows", {"board": "n150"}), {"step": 9}, new, 1)
    store.put(path, ("step", "cases", "stock"), ({"ops": 5}, {"frames": torch.ones(2)}), new, 1)
    found = json.loads(path.read_text())
    assert [(row["board"], row["step"]) for row in found["rows"]] == [("n150", 9), ("p150", 0), ("p150", 1)]
    assert found["step"] == {"cases": {"stock": {"ops": 5}}}
    parts = {"p150": 3.0}, {"n150": 1, "step, cases, stock": 1}
    assert found["made"] == [old | {"parts": parts[0]}, new | {"parts": parts[1]}]
    assert load_file(tmp_path / "found.safetensors")["frames"].tolist() == [1, 1]


@pytest.fixture
def checkout(tmp_path):
    """A commit of a finding, and of what it depends on in every way in which one can."""
    written = {
        "findings/found.py": FINDING,
        "ttvideo/engine.py": ENGINE,
        "ttvideo/worker.py": "from ttvideo.ops.silu import cost\n\ndef main():\n    return cost()\n",
        "ttvideo/table.py": "from ttvideo.engine import Other, step\n\nTABLE = [step, Other]\n",
        "ttvideo/ops/__init__.py": "",
        "ttvideo/ops/add.py": ADD,
        "ttvideo/ops/kernels/add.cpp": "int one;",
        "ttvideo/ops/kernels/silu.cpp": "int one;",
        "ttvideo/ops/silu.py": ADD.replace("add", "silu"),
        "ttvideo/other.py": "",
        "ttvideo/host/main.py": "",
    }
    for path, text in written.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    git("init", "--quiet", root=tmp_path)
    commit(tmp_path)
    return tmp_path


def commit(root: Path) -> None:
    git("add", ".", root=root)
    by = "-c", "user.name=test", "-c", "user.email=test@example.org"
    git(*by, "commit", "--quiet", "-m", "one", root=root)


FINDING = '''"""Why?"""
from ttvideo.ops import add, silu

def shown():
    return 1

def make(keys):
    from ttvideo.table import TABLE
    return add.write(), silu.NAME, TABLE
'''
ENGINE = """WORKER = 'ttvideo.worker'
SPARE = 1

def step(by=WORKER):
    return 1  # one

class Other:
    pass

def keep(rule):
    return rule
"""
COMMENTED = ENGINE.replace("return 1  # one", '"One."\n    # in all\n    return (\n        1)')
COMMENTED = COMMENTED.replace("'tt", "r'tt")
ADD = """from ttvideo.engine import keep

NAME = "add"

def write():
    return NAME

def cost():
    return 1

@keep
def rule():
    return 1
"""


@pytest.mark.parametrize(
    "path, old, new, place",
    [
        ("ttvideo/engine.py", "return 1", "return 2", "ttvideo/engine.py:step"),
        ("ttvideo/engine.py", ENGINE, COMMENTED, ""),
        ("ttvideo/engine.py", "SPARE = 1", "SPARE = 2", ""),
        ("ttvideo/engine.py", "SPARE = 1", "SPARE = 1\nstep.by = 1", "ttvideo/engine.py"),  # at its import
        ("ttvideo/engine.py", "    pass", "    by = 1", "ttvideo/engine.py:Other"),
        ("ttvideo/table.py", ", Other]", "]", "ttvideo/table.py:TABLE"),
        ("ttvideo/worker.py", "return cost()", "return 1", "ttvideo/worker.py:main"),  # started by its name
        ("ttvideo/ops/add.py", "return NAME", "return 2", "ttvideo/ops/add.py:write"),
        ("ttvideo/ops/silu.py", "return NAME", "return 2", ""),
        # Of an op that isn't written nothing counts, though a table of costs and the rules have it.
        ("ttvideo/ops/silu.py", "rule():\n    return 1", "rule():\n    return 2", ""),
        ("ttvideo/ops/silu.py", "return 1", "return 2", ""),
        ("ttvideo/ops/add.py", "rule():\n    return 1", "rule():\n    return 2", "ttvideo/ops/add.py"),
        ("ttvideo/ops/add.py", "return 1", "return 2", ""),
        ("ttvideo/ops/kernels/add.cpp", "one", "two", "ttvideo/ops/kernels/add.cpp"),
        ("ttvideo/ops/kernels/silu.cpp", "one", "two", ""),  # of an op that isn't written
        ("findings/found.py", "add.write(), ", "", "findings/found.py:make"),
        ("findings/found.py", "return 1", "return 2", ""),
        ("ttvideo/other.py", "", "import os\n", ""),
    ],
)
def test_a_result_is_stale_by_what_changed_in_the_definitions_it_comes_to(checkout, path, old, new, place):
    made, here = store.making("found", inputs.found_by("found", checkout), root=checkout), versions()

    def why(versions: dict, without=()) -> str:
        return store.stale(made, inputs.found_by("found", checkout, without), versions, checkout)

    assert why(here) == ""
    text = (checkout / path).read_text()
    assert old in text
    (checkout / path).write_text(text.replace(old, new, 1))
    commit(checkout)
    if place:
        assert re.match(rf"{place}( and \d+ more)? changed since {made['commit']}", why(here))
    else:
        assert why(here) == ""
    assert why(here, {"ttvideo/engine.py:Other"}) == ("" if place.endswith("Other") else why(here))
    assert store.making("found", {}, root=checkout)["commit"] != made["commit"]
    assert "(here 9.9)" in why(here | {"plugin": "9.9"})


def test_what_is_not_committed_is_stored_nowhere_but_in_a_file_of_ones_own(checkout):
    def making(own: bool = False) -> dict:
        return store.making("found", inputs.found_by("found", checkout), own=own, root=checkout)

    (checkout / "ttvideo/other.py").write_text("import os\n")
    assert not making()["commit"].endswith("-dirty")
    (checkout / "ttvideo/ops/kernels/add.cpp").write_text("int two;")
    with pytest.raises(Refused, match="uncommitted changes in ttvideo/ops/kernels/add.cpp, need a commit"):
        making()
    assert making(own=True)["commit"].endswith("-dirty")


def test_findings_lists_every_result_and_why_it_is_stale(capsys):
    assert findings.main([]) == 0
    listed = capsys.readouterr().out
    for path in module.RESULTS.glob("*.json"):
        assert f"{path.stem}\n" in listed and findings.result(path.stem) == path
    assert "no longer made" not in listed
    assert findings.main(["acuracy"]) == 2


def test_a_finding_depends_on_what_measures_and_on_nothing_that_shows():
    found = store.files(inputs.found_by("peaks"))
    for path in ("probing/worker.py", "programs/cost.py", "ttnn/host/ops.py", "ttnn/requirements.txt"):
        assert f"ttvideo/{path}" in found
    assert not any(path.startswith(("lib/", "findings/store", "ttvideo/decoders")) for path in found)
    weights = "ttvideo/media/weights/demo/diffusion_pytorch_model.safetensors"
    assert weights in inputs.found_by("silicon") and weights not in found


def test_a_row_of_one_family_depends_on_no_other_and_on_kernels_only_where_they_run():
    finding = findings.load("video_vaes")

    def found(case: str) -> set[str]:
        key = ("rows", {"model": "Wan 2.1", "board": "n150", "case": case})
        return set(inputs.found_by("video_vaes", without=finding.unused(key)))

    tiles, kernel = (
        "ttvideo/decoders/wan.py:WanTileDecoder",
        "ttvideo/programs/own/launch/rms_norm_compute.cpp",
    )
    assert tiles in found("first") and not {kernel, "ttvideo/decoders/native_wan.py:Wan"} & found("first")
    assert {tiles, kernel, "ttvideo/decoders/native_wan.py:Wan"} <= found("native")
    assert not any("hunyuan.py:Hunyuan" in one or "ltx.py:LTX" in one for one in found("native"))


@pytest.mark.long
def test_all_that_ran_is_among_what_a_part_depends_on():
    ran, key = set(), ("rows", {"model": "Wan 2.1", "target": "p150-compile"})

    def called(frame, event, argument) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PROJECT / "ttvideo"):
            ran.add(inputs.said_as((path, frame.f_code.co_qualname.split(".")[0])))

    sys.setprofile(called)
    try:
        family_row(*key[1].values())
    finally:
        sys.setprofile(None)
    finding = findings.load("small_video_vaes")
    found = inputs.found_by("small_video_vaes", without=finding.unused(key))
    missing = {place for place in ran if place not in found and not place.endswith(":<module>")}
    # The evaluator's rules are kept by their decorator, and so belong to the import.
    assert not [place for place in missing if "/evaluate/" not in place] and len(ran) > 100


class Fake:
    """A finding of two parts."""

    __name__ = "findings.fake"
    KEYS = [("rows", {"board": "n150"}), ("rows", {"board": "p150"})]
    made = []

    def make(self, keys, steps: int = 28):
        for key in keys:
            self.made.append(key)
            yield key, {"steps": steps}


def test_a_finding_makes_the_parts_that_are_asked_for(tmp_path, monkeypatch, capsys):
    fake, out = Fake(), tmp_path / "out.json"
    monkeypatch.setattr(findings, "load", lambda name: fake)
    monkeypatch.setattr(findings, "found", lambda name, unused: {})
    assert findings.main(["fake", "--only", "p150", "--steps", "2", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["rows"] == [{"board": "p150", "steps": 2}]
    assert findings.main(["fake", "--stale", "--out", str(out)]) == 0
    assert fake.made == [fake.KEYS[1], fake.KEYS[0]]
    assert findings.main(["fake", "--only", "q150"]) == 2
    assert findings.main(["fake", "--steps", "2"]) == 2
    assert "need a text in one of n150; p150" in capsys.readouterr().err
