"""The stored findings are of what the code says, and of all of it."""

import json
import warnings

import pytest
import torch
from diffusers import AutoencoderKLMochi
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d
from torch import nn

from findings import __main__ as findings
from findings.decoder_cost import REWRITES
from lib import stored as module
from lib.native import native_frames
from lib.silicon import CHIPS
from lib.silicon_frames import stored_frames
from lib.stored import stored, stored_ways
from lib.versions import versions
from ttvideo.basics.errors import Refused
from ttvideo.decoders.native_writer import Arithmetic
from ttvideo.ways.convolutions import CONVOLUTIONS
from ttvideo.ways.measure import candidates

DEFAULT = Arithmetic().fidelity


def form(conv: nn.Module) -> tuple:
    conv = conv.conv if isinstance(conv, CogVideoXCausalConv3d) else conv
    return conv.kernel_size, conv.stride, conv.in_channels, conv.out_channels


def test_kernels_are_those_of_mochi():
    """Every distinct Conv3d of the decoder, and every one of the encoder that strides."""
    with torch.device("meta"):
        vae = AutoencoderKLMochi()
    convs = {name: module for name, module in vae.named_modules() if isinstance(module, nn.Conv3d)}
    mochi = {form(m) for name, m in convs.items() if name.startswith("decoder") or m.stride != (1, 1, 1)}
    assert mochi == {form(k.make()) for name, k in CONVOLUTIONS.items() if name.startswith(("decoder", "encoder"))}


def test_stored_ways_are_all_that_apply():
    found = {}
    for row in stored_ways():
        found.setdefault(row.kernel, set()).add(row.way.split(",")[0])
    assert found.keys() == CONVOLUTIONS.keys()
    for name in ("decoder 3×3×3, 128", "encoder 2×2×2, 128 to 256", "flat in space 3×1×1, 128"):
        assert found[name] == {way.split(",")[0] for way in candidates(CONVOLUTIONS[name].make())}


def test_the_stored_costs_are_of_every_rewrite():
    costs = stored("decoder_cost")
    step, clip = costs["step"], costs["clip"]
    without = {name.removeprefix("tiles without ") for name in step["cases"] if name.startswith("tiles without")}
    assert without == set(REWRITES)
    assert {case["status"] for result in (step, clip) for case in result["cases"].values()} == {"pass"}


def test_the_stored_runs_at_full_resolution_went_through():
    run = stored("full_resolution")
    assert run["shape"] == [1, 12, 28, 60, 106] and list(run["steps"]) == ["p150-mock", "n150-ttnn", "p150-ttnn"]
    for steps in run["steps"].values():
        assert len(steps) == 28 and steps[-1]["compiled_programs"] == 2
        assert {(step["stage"], step["status"]) for step in steps} == {("run", "pass")}
    (steady,) = {step["ops"] for name in ("n150-ttnn", "p150-ttnn") for step in run["steps"][name][2:]}
    assert steady <= 2500


def test_the_stored_run_of_the_native_decoder_went_through_on_both_boards():
    found = stored("native")
    for board in ("n150", "p150"):
        rows = [row for row in found["mocked"] if row["board"] == board]
        assert [row["step"] for row in rows] == list(range(28)) and {row["status"] for row in rows} == {"pass"}
        assert max(row["peak_dram_bytes"] for row in rows) < 7e9
        (steady,) = (row for row in found["cost"] if (row["board"], row["program"]) == (board, "steady step"))
        assert steady["ops"] == rows[-1]["ops"] and steady["dram_bytes_moved"] < 75e9
        assert min(row["pcc"] for row in found["blocks"] if row["board"] == board and row["fidelity"] == DEFAULT) > 0.9999
    mean = {(row["chip"], row["fidelity"]): sum(row["psnr_db"]) / 19 for row in found["frames"]}
    compiled = {row.chip: sum(row.psnr_db) / 19 for row in stored_frames()[0]}
    assert list(native_frames()) == list(compiled) == list(CHIPS)
    assert all(mean[chip, DEFAULT] > max(compiled[chip], mean[chip, "hifi2"]) for chip in CHIPS)
    assert all(abs(mean[chip, "hifi4"] - mean[chip, "hifi3"]) < 0.2 for chip in CHIPS)


def test_the_native_decoders_bytes_are_as_counted():
    rows = [row for row in stored("transfers")["rows"] if row["case"].startswith("native")]
    assert len(rows) == 12 and all(row["exact"] == row["ops"] for row in rows)


def test_a_result_of_other_versions_says_so_where_it_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    module.store("found", {"rows": [1]}, ttnn="0.81.1")
    assert json.loads((tmp_path / "found.json").read_text())["made"]["commit"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert module.stored("found")["rows"] == [1]
    monkeypatch.setattr(module, "versions", lambda: {**versions(), "plugin": "jax-tt-plugin 9.9"})
    with pytest.warns(UserWarning, match=r"made by plugin jax-tt-plugin .* \(here jax-tt-plugin 9.9\)"):
        module.stored("found")


def test_an_unknown_result_is_refused():
    with pytest.raises(Refused, match="accuracy"):
        stored("acuracy")


def test_findings_lists_every_result_with_its_age(capsys):
    assert findings.main([]) == 0
    listed = capsys.readouterr().out
    for path in module.RESULTS.glob("*.json"):
        assert f"{path.stem}\n" in listed and findings.result(path.stem) == path
    assert "without its origin" not in listed and "not made yet" not in listed
    assert findings.main(["acuracy"]) == 2
