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
from ttvideo import Refused, probe
from ttvideo.basics import folders
from ttvideo.media.frames import to_uint8
from ttvideo.media.latents import imageio, load_latents
from ttvideo.media.models import load_vae
from ttvideo.targets import plugins
from ttvideo.targets import target as targets
from ttvideo.targets.target import resolve

GOOD = {
    "target": "cpu", "dtype": "bfloat16", "seed": 0, "latent_frames": 1, "latent_height": 4,
    "latent_width": 4,
}  # fmt: skip
DECODER = GOOD | {
    "model": "small", "variant": "", "latents": "random", "latents_are": "auto", "strategy": "tiles",
    "streaming": True, "frames_per_step": 1, "host": "cpu", "host_dtype": "auto", "host_frames": 0,
    "evaluated_frames": 0, "keep": "", "fps": 12, "full_size": False,
}  # fmt: skip


@pytest.fixture
def given(tmp_path):
    return {"output_dir": str(tmp_path / "out")}


def test_good_parameters_pass(given):
    p = check_parameters("01_repro", GOOD | given)
    assert p.latent_shape == (1, 12, 1, 4, 4) and p.torch_dtype == torch.bfloat16 and p.folder.is_dir()


WITHOUT_SEED = {name: value for name, value in GOOD.items() if name != "seed"}
IMPOSSIBLE = [
    ("01_repro", "target", "p151", "p150-mock"),
    ("01_repro", "target", None, "p150-mock"),
    ("01_repro", "dtype", "float16", "bfloat16"),
    ("01_repro", "seed", -1, "at least 0"),
    ("01_repro", "latent_frames", 0, "at least 1"),
    ("01_repro", "latent_frames", 1.5, "whole number"),
    ("01_repro", "latent_height", "32", "whole number"),
    ("01_repro", "latent_width", True, "whole number"),
    ("01_repro", "output_dir", "", "isn't empty"),
    ("03_full_decoder", "latents_are", "raw", "normalised"),
    ("03_full_decoder", "host", "gpu", "cuda"),
    ("03_full_decoder", "host_dtype", "float16", "float64"),
    ("03_full_decoder", "host_frames", -1, "at least 0"),
    ("03_full_decoder", "variant", None, "a text"),
    ("03_full_decoder", "strategy", "guess", "auto"),
]


@pytest.mark.parametrize("notebook, name, value, need", IMPOSSIBLE)
def test_a_parameter_with_an_impossible_value(given, notebook, name, value, need):
    good = GOOD if notebook == "01_repro" else DECODER
    with pytest.raises(Refused, match=f"{name}.*{need}") as refused:
        check_parameters(notebook, good | given | {name: value})
    assert repr(value) in str(refused.value)


@pytest.mark.parametrize(
    "notebook, parameters, need",
    [
        ("01_repro", GOOD | {"latent_heigth": 4}, "latent_heigth"),
        ("01_repro", WITHOUT_SEED, "no seed"),
        ("03_full_decoder", DECODER | {"strategy": "sum"}, "streaming.*'sum'.*tiles"),  # it keeps no state
    ],
)
def test_parameters_that_do_not_go_together(given, notebook, parameters, need):
    with pytest.raises(Refused, match=need):
        check_parameters(notebook, parameters | given)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["host", "target"])
def test_cuda_without_a_gpu(given, name):
    with pytest.raises(Refused, match="'cuda'.*without a CUDA device.*NVIDIA"):
        check_parameters("03_full_decoder", DECODER | given | {name: "cuda"})


def test_an_output_dir_that_cannot_be_written(given, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="output_dir"):
        check_parameters("01_repro", GOOD | {"output_dir": str(tmp_path / "file")})
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(Refused, match="not writable"):
        check_parameters("01_repro", GOOD | given)


def test_a_record_on_a_full_disk_leaves_no_half_of_it(given, monkeypatch):
    record = Record(check_parameters("01_repro", GOOD | given))
    path = record.write()
    before = json.loads(path.read_text())
    record.metrics["more"] = 1

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(Refused, match="No space left"):
        record.write()
    assert json.loads(path.read_text()) == before and list(path.parent.iterdir()) == [path]


def test_a_card_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(targets, "CARDS", tmp_path)
    with pytest.raises(Refused, match="no card.*p150-mock"):
        probe(nn.Linear(1, 1), (torch.zeros(1),), "tt")
    assert resolve("auto").name == "p150-mock"


def test_no_plugin_installed(given, monkeypatch):
    monkeypatch.setattr(plugins, "_packaged", lambda *_: None)
    with pytest.raises(Refused, match="none installed.*pip install jax-tt-plugin"):
        probe(nn.Linear(1, 1), (torch.zeros(1),), "p150-compile")
    sizes = {name: GOOD[name] for name in ("latent_frames", "latent_height", "latent_width")}
    with pytest.raises(Refused, match="none installed.*pip install jax-tt-plugin"):
        check_parameters("06_cost", sizes | given)


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


def written(folder, name, content):
    """The path, with a file there but where the content is None."""
    if isinstance(content, bytes):
        (folder / name).write_bytes(content)
    elif content is not None:
        numpy.save(folder / name, content)
    return str(folder / name)


def spoilt(folder):
    vae = load_vae("small")
    vae.decoder.conv_in.bias.data[0] = float("nan")
    vae.save_pretrained(folder)
    return str(folder)


def read(folder, name, content=None):
    load_latents(written(folder, name, content), load_vae("small"), (1, 12, 1, 4, 4))


def mochi(folder, config):
    written(folder, "config.json", config)
    load_vae(str(folder))


ONE = (torch.zeros(1),)
LINEAR = nn.Linear(1, 1)
USELESS = {
    "no inputs": (lambda at: probe(LINEAR, (), "cpu"), "input"),
    "inputs of no tensor": (lambda at: probe(LINEAR, ("x",), "cpu"), "input"),
    "inputs without frames": (lambda at: probe(LINEAR, (torch.zeros(1, 12, 0),), "cpu"), "input"),
    "no module": (lambda at: probe(lambda x: x, ONE, "cpu"), "torch.nn.Module"),
    "unknown target": (lambda at: resolve("h100"), "'h100'.*n150-compile.*auto"),
    "no latents": (lambda at: read(at, "missing.pt"), "latents"),
    "latents in a text": (lambda at: read(at, "wrong.txt", b"nothing"), "latents"),
    "latents that are broken": (lambda at: read(at, "broken.npy", b"nothing"), "latents"),
    "whole numbers": (lambda at: read(at, "z.npy", numpy.zeros((1, 12, 1, 4, 4), dtype=int)), "latents"),
    "latents of rank 4": (lambda at: read(at, "z.npy", numpy.zeros((12, 1, 4, 4), "float32")), "latents"),
    "no model": (lambda at: mochi(at, None), "model"),
    "another model": (lambda at: mochi(at, b'{"_class_name": "AutoencoderKL"}'), "AutoencoderKL.*KLMochi"),
    "weights with NaN": (lambda at: load_vae(spoilt(at)), "NaN or Inf in decoder.conv_in.bias"),
    "a video of 4 colours": (lambda at: to_uint8(torch.zeros(1, 4, 1, 8, 8)), "video"),
    **{argument: (lambda at, argument=argument: parse([argument]), "NAME=VALUE")
       for argument in ("target", "targt=cpu", "output_dir=x")},
}  # fmt: skip


@pytest.mark.parametrize("what", USELESS)
def test_what_is_of_no_use(what, tmp_path):
    does, need = USELESS[what]
    with pytest.raises(Refused, match=need):
        does(tmp_path)


def test_a_clip_that_is_too_short(tmp_path, monkeypatch):
    monkeypatch.setattr(imageio, "imread", lambda *_, **__: numpy.zeros((3, 64, 64, 3), "uint8"))
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(Refused, match="3 frames.*7 of 32×32"):
        load_latents(str(tmp_path / "clip.mp4"), load_vae("small"), (1, 12, 2, 4, 4))
