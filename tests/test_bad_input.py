"""Each impossible request is one clear error, before long work starts: what was got, what was needed."""

import json
import os
from types import SimpleNamespace

import numpy
import pytest
import torch
from torch import nn

from lib.parameters import check_parameters
from lib.record import Record
from lib.run import parse
from ttvideo import Refused, compare, probe
from ttvideo.basics import folders
from ttvideo.decompositions.decompose import decompose
from ttvideo.media import latents as latents_module
from ttvideo.media.frames import to_uint8
from ttvideo.media.latents import check_latents, load_latents
from ttvideo.media.models import load_vae
from ttvideo.targets import plugins
from ttvideo.targets import target as targets
from ttvideo.targets.target import resolve

GOOD = {
    "target": "cpu", "dtype": "bfloat16", "seed": 0, "latent_frames": 1, "latent_height": 4,
    "latent_width": 4,
}  # fmt: skip


@pytest.fixture
def given(tmp_path):
    return {**GOOD, "output_dir": str(tmp_path / "out")}


def test_good_parameters_pass(given):
    p = check_parameters("01_repro", given)
    assert p.latent_shape == (1, 12, 1, 4, 4) and p.torch_dtype == torch.bfloat16 and p.folder.is_dir()


@pytest.mark.parametrize(
    ("name", "value", "need"),
    [
        ("target", "p151", "p150-mock"),
        ("target", None, "p150-mock"),
        ("dtype", "float16", "bfloat16"),
        ("seed", -1, "at least 0"),
        ("latent_frames", 0, "at least 1"),
        ("latent_frames", 1.5, "whole number"),
        ("latent_height", "32", "whole number"),
        ("latent_width", True, "whole number"),
        ("output_dir", "", "isn't empty"),
    ],
)
def test_a_parameter_with_an_impossible_value(given, name, value, need):
    with pytest.raises(Refused, match=name) as refused:
        check_parameters("01_repro", {**given, name: value})
    assert need in str(refused.value) and repr(value) in str(refused.value)


def test_a_parameter_that_nobody_knows(given):
    with pytest.raises(Refused, match="latent_heigth"):
        check_parameters("01_repro", {**given, "latent_heigth": 4})


def test_a_parameter_that_is_missing(given):
    del given["seed"]
    with pytest.raises(Refused, match="no seed"):
        check_parameters("01_repro", given)


def test_an_unknown_strategy(given):
    with pytest.raises(Refused, match="'guess'.*auto"):
        check_parameters("02_decompose", {**given, "strategy": "guess"})
    with pytest.raises(Refused, match="'guess'.*auto"):
        decompose(nn.Conv3d(1, 1, 1), strategy="guess")


DECODER = {
    "model": "small", "variant": "", "latents": "random", "latents_are": "auto", "strategy": "tiles",
    "streaming": True, "frames_per_step": 1, "host": "cpu", "host_dtype": "auto", "host_frames": 0,
    "evaluated_frames": 0, "keep": "", "fps": 12, "full_size": False,
}  # fmt: skip


def test_streaming_a_decoder_that_keeps_no_state(given):
    with pytest.raises(Refused, match="streaming.*'sum'.*tiles"):
        check_parameters("03_full_decoder", {**given, **DECODER, "strategy": "sum"})


@pytest.mark.parametrize(
    ("name", "value", "need"),
    [
        ("latents_are", "raw", "normalised"),
        ("host", "gpu", "cuda"),
        ("host_dtype", "float16", "float64"),
        ("host_frames", -1, "at least 0"),
        ("variant", None, "a text"),
    ],
)
def test_a_parameter_of_the_host_with_an_impossible_value(given, name, value, need):
    with pytest.raises(Refused, match=f"{name}.*{need}"):
        check_parameters("03_full_decoder", {**given, **DECODER, name: value})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["host", "target"])
def test_cuda_without_a_gpu(given, name):
    with pytest.raises(Refused, match="'cuda'.*without a CUDA device.*NVIDIA"):
        check_parameters("03_full_decoder", {**given, **DECODER, name: "cuda"})


def test_a_model_without_conv3d():
    with pytest.raises(Refused, match="Conv3d"):
        decompose(nn.Linear(1, 1))


def test_an_output_dir_that_is_a_file(given, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="output_dir"):
        check_parameters("01_repro", {**given, "output_dir": str(tmp_path / "file")})


def test_an_output_dir_that_cannot_be_written(given, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(Refused, match="not writable"):
        check_parameters("01_repro", given)


def test_a_record_on_a_full_disk_leaves_no_half_of_it(given, monkeypatch):
    record = Record(check_parameters("01_repro", given))
    path = record.write()
    before = json.loads(path.read_text())
    record.metrics["more"] = 1

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(Refused, match="No space left"):
        record.write()
    assert json.loads(path.read_text()) == before and list(path.parent.iterdir()) == [path]


def test_an_unknown_target():
    with pytest.raises(Refused, match="'h100'.*n150-compile.*auto"):
        resolve("h100")


def test_a_card_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(targets, "CARDS", tmp_path)
    with pytest.raises(Refused, match="no card.*p150-mock"):
        probe(nn.Linear(1, 1), (torch.zeros(1),), "tt")
    assert resolve("auto").name == "p150-mock"


def test_no_plugin_installed(monkeypatch):
    monkeypatch.setattr(plugins, "_packaged", lambda *_: None)
    with pytest.raises(Refused, match="none installed.*pip install jax-tt-plugin"):
        probe(nn.Linear(1, 1), (torch.zeros(1),), "p150-compile")


def test_a_notebook_without_a_target_needs_a_plugin_too(monkeypatch, tmp_path):
    monkeypatch.setattr(plugins, "_packaged", lambda *_: None)
    sizes = {"latent_frames": 1, "latent_height": 4, "latent_width": 4, "output_dir": str(tmp_path)}
    with pytest.raises(Refused, match="none installed.*pip install jax-tt-plugin"):
        check_parameters("06_cost", sizes)


def test_a_plugin_without_a_schema_hash(tmp_path):
    library = tmp_path / "other.so"
    library.write_bytes(b"\0" * 1000)
    with pytest.raises(Refused, match="no schema hash in other.so"):
        plugins.Plugin("other", "1", library, "test").schema_hash


def test_a_descriptor_of_another_schema(monkeypatch, cold):
    monkeypatch.setattr(plugins, "_schema_hash", lambda _: "0" * 64)
    verdict = probe(nn.Linear(1, 1), (torch.zeros(1),), "p150-compile")
    assert verdict.kind == "descriptor mismatch", str(verdict)


def test_a_disk_without_room(monkeypatch, clip, cold):
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(Refused, match="0.0 GB free.*TMPDIR"):
        probe(nn.Linear(1, 1), (clip,), "cpu")


@pytest.mark.parametrize(
    "inputs", [(), ("x",), (torch.zeros(1, 12, 0, 4, 4),)], ids=["none", "no tensor", "no frames"]
)
def test_inputs_that_are_none(inputs):
    with pytest.raises(Refused, match="input"):
        probe(nn.Linear(1, 1), inputs, "cpu")


def test_a_module_that_is_none():
    with pytest.raises(Refused, match="torch.nn.Module"):
        probe(lambda x: x, (torch.zeros(1),), "cpu")


@pytest.mark.parametrize(
    "shape", [(12, 1, 4, 4), (1, 11, 1, 4, 4), (1, 12, 0, 4, 4)], ids=["4-D", "11 channels", "no frames"]
)
def test_latents_of_a_wrong_shape(shape):
    with pytest.raises(Refused, match=r"\[B, 12, T, H, W\]"):
        check_latents(torch.zeros(shape), 12)


def test_latents_with_nan():
    with pytest.raises(Refused, match="NaN"):
        check_latents(torch.full((1, 12, 1, 4, 4), float("nan")), 12)


@pytest.mark.parametrize("name", ["missing.pt", "wrong.txt", "broken.npy", "ints.npy", "rank.npy"])
def test_a_latents_file_that_is_of_no_use(name, tmp_path):
    path = tmp_path / name
    if name == "ints.npy":
        numpy.save(path, numpy.zeros((1, 12, 1, 4, 4), dtype=int))
    elif name == "rank.npy":
        numpy.save(path, numpy.zeros((12, 1, 4, 4), dtype="float32"))
    elif name != "missing.pt":
        path.write_bytes(b"nothing")
    with pytest.raises(Refused, match="latents"):
        load_latents(str(path), load_vae("small"), (1, 12, 1, 4, 4))


def test_a_clip_that_is_too_short(tmp_path, monkeypatch):
    monkeypatch.setattr(
        latents_module.imageio, "imread", lambda *_, **__: numpy.zeros((3, 64, 64, 3), "uint8")
    )
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(Refused, match="3 frames.*7 of 32×32"):
        load_latents(str(tmp_path / "clip.mp4"), load_vae("small"), (1, 12, 2, 4, 4))


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(Refused, match="model"):
        load_vae(str(tmp_path))


def test_a_model_that_is_not_mochi(tmp_path):
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    with pytest.raises(Refused, match="AutoencoderKL.*AutoencoderKLMochi"):
        load_vae(str(tmp_path))


def test_weights_with_nan(tmp_path):
    vae = load_vae("small")
    with torch.no_grad():
        vae.decoder.conv_in.bias[0] = float("nan")
    vae.save_pretrained(tmp_path)
    with pytest.raises(Refused, match="NaN or Inf in decoder.conv_in.bias"):
        load_vae(str(tmp_path))


def test_a_video_of_a_wrong_shape():
    with pytest.raises(Refused, match="video"):
        to_uint8(torch.zeros(1, 4, 1, 8, 8))


@pytest.mark.parametrize("argument", ["target", "targt=cpu", "output_dir=x"])
def test_make_run_with_an_argument_that_nobody_knows(argument):
    with pytest.raises(Refused, match="NAME=VALUE"):
        parse([argument])


def test_tensors_that_cannot_be_compared():
    with pytest.raises(Refused, match="shape"):
        compare(torch.zeros(2), torch.zeros(3))
    with pytest.raises(Refused, match="NaN"):
        compare(torch.full((2,), float("nan")), torch.zeros(2))
