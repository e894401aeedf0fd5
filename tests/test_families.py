"""Every family as a user brings it: weights and latents from files, streamed as its structure allows, or
refused."""

import json

import pytest
import torch
from diffusers import AsymmetricAutoencoderKL
from safetensors.torch import load_file, save_file

from findings.families import CLIPS, OTHERS, family_row, latents
from ttvideo import Refused, compare, for_tiles
from ttvideo.decoders.stream import stream_decode
from ttvideo.media.latents import denormalise, load_latents, usual
from ttvideo.media.small_autoencoders import SMALL, decode
from ttvideo.media.video_models import MODELS, load_autoencoder, random_autoencoder

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def decoders():
    return {name: for_tiles(SMALL[name].make()) for name in MODELS}


@pytest.mark.parametrize("name", ["CogVideoX", "HunyuanVideo"])
def test_steps_that_a_structure_does_not_allow(decoders, name):
    with pytest.raises(Refused, match=f"frames_per_step.*1.*a multiple of {decoders[name].steps(50)[1]}"):
        decoders[name].steps(9, 1)


@pytest.mark.parametrize("name", MODELS)
def test_streams_what_the_autoencoder_decodes(name, tmp_path):
    """In a process of its own, interrupted after the first step; the state of a clip that has ended is kept,
    too."""
    frames, per_step = CLIPS.get(name, OTHERS)
    vae = SMALL[name].make().float()
    decoder = for_tiles(vae)
    z = latents(decoder, frames).float()
    next(stream_decode(decoder, z, "cpu", per_step, keep=tmp_path))
    steps = list(stream_decode(decoder, z, "cpu", per_step, keep=tmp_path))
    later = len(decoder.steps(frames, per_step)) - 1
    assert [step.verdict.target for step in steps] == ["kept"] + ["cpu"] * later
    assert compare(torch.cat([step.frames for step in steps], 2), decode(vae, z)).max_abs < 1e-4
    assert all(
        step.verdict.target == "kept" for step in stream_decode(decoder, z, "cpu", per_step, keep=tmp_path)
    )


def test_a_stream_that_drops_or_ends_wrongly_shows(monkeypatch):
    """Planted faults: Mochi's drop for all, and a clip whose end isn't said."""
    vae = SMALL["LTX-Video"].make().float()
    decoder = for_tiles(vae)
    z = latents(decoder, 3).float()
    want = decode(vae, z)
    monkeypatch.setattr(type(decoder), "dropped_frames", 5)
    assert next(stream_decode(decoder, z, "cpu", 3)).frames.shape[2] == want.shape[2] - 5
    monkeypatch.undo()
    with torch.no_grad():
        assert decoder(z, ends=False)[0].shape[2] < want.shape[2]


def test_a_timestep_that_is_set_is_that_of_each_step():
    config = SMALL["LTX-Video"].config | dict(timestep_conditioning=True)
    vae = type(SMALL["LTX-Video"])("AutoencoderKLLTXVideo", config, (), 0).make().float()
    decoder = for_tiles(vae)
    z = latents(decoder, 3).float()
    with pytest.raises(Refused, match="temb"):
        decoder(z)
    decoder.temb = torch.tensor([0.3])
    frames = torch.cat([step.frames for step in stream_decode(decoder, z, "cpu")], 2)
    with torch.no_grad():
        assert compare(frames, vae.decode(z, torch.tensor([0.3])).sample).max_abs < 1e-4
        assert compare(frames, vae.decode(z, torch.tensor([0.5])).sample).max_abs > 1e-3


@pytest.mark.parametrize("name", ["Wan 2.1", "LTX-2"])
def test_a_row_of_the_notebook(name):
    row = family_row(name, "p150-compile")
    assert row.status == "pass" and row.max_abs < 1e-11 and row.split_max_abs == 0 and row.pcc > 0.999
    assert row.outputs_from.startswith("evaluated") and row.ops > 500


@pytest.mark.parametrize("name", MODELS)
def test_weights_from_a_folder(name, tmp_path):
    """The autoencoder's own, or a pipeline's, with or without encoder."""
    vae = SMALL[name].make().float()
    vae.save_pretrained(tmp_path / "vae")
    found = load_autoencoder(str(tmp_path))
    assert type(found) is type(vae) and found.encoder is not None
    assert all(torch.equal(a, b) for a, b in zip(found.state_dict().values(), vae.state_dict().values()))
    weights = load_file(tmp_path / "vae" / WEIGHTS)
    save_file({k: w for k, w in weights.items() if not k.startswith("encoder.")}, tmp_path / "vae" / WEIGHTS)
    found = load_autoencoder(str(tmp_path / "vae"))
    assert found.encoder is None
    assert all(torch.equal(w, weights[f"decoder.{key}"]) for key, w in found.decoder.state_dict().items())


def edited(folder, **config):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))


@pytest.mark.parametrize(
    "spoil, need",
    [
        pytest.param(
            lambda f: edited(f, _class_name="AutoencoderKLCogVideoX"), "AutoencoderKLCogVideoX", id="family"
        ),
        pytest.param(
            lambda f: edited(f, _class_name="AsymmetricAutoencoderKL"), "AutoencoderKLLTX2Video", id="class"
        ),
        pytest.param(lambda f: edited(f, base_dim=16), "safetensors", id="sizes"),
        pytest.param(lambda f: edited(f, num_res_blocks=2), "its config.json describes", id="depth"),
        pytest.param(lambda f: (f / WEIGHTS).unlink(), "weights as safetensors", id="no_weights"),
    ],
)
def test_refuses_weights_that_are_not_what_the_config_says(tmp_path, spoil, need):
    SMALL["Wan 2.1"].make().float().save_pretrained(tmp_path)
    spoil(tmp_path)
    with pytest.raises(Refused, match=need):
        load_autoencoder(str(tmp_path))


def test_refuses_a_name_that_nobody_knows(tmp_path):
    with pytest.raises(Refused, match="Wan 2.1.*LTX-2, wan-demo, cogvideox-demo"):
        load_autoencoder(str(tmp_path / "missing"))
    AsymmetricAutoencoderKL().save_pretrained(tmp_path)
    with pytest.raises(Refused, match="AsymmetricAutoencoderKL,"):
        load_autoencoder(str(tmp_path))


@pytest.mark.parametrize("name", MODELS)
def test_tiling_is_refused(name):
    vae = SMALL[name].make()
    vae.enable_tiling()
    with pytest.raises(Refused, match="disable_tiling"):
        for_tiles(vae)


def test_latents_are_denormalised_as_each_pipeline_does():
    """wan/pipeline_wan.py, cogvideo/pipeline_cogvideox.py and ltx/pipeline_ltx.py of diffusers 0.42.1."""
    z = torch.randn(1, 16, 2, 3, 4)
    wan = random_autoencoder(MODELS["Wan 2.1"])
    mean, std = (
        torch.tensor(wan.config[name]).view(1, -1, 1, 1, 1) for name in ("latents_mean", "latents_std")
    )
    assert torch.allclose(denormalise(z, wan), z / (1.0 / std) + mean, atol=1e-6)
    cog = SMALL["CogVideoX"].make()
    assert torch.allclose(denormalise(z[:, :4], cog), 1 / cog.config.scaling_factor * z[:, :4])
    ltx = SMALL["LTX-Video"].make()
    ltx.latents_mean, ltx.latents_std = torch.randn(8), torch.rand(8) + 0.5
    mean, std = (values.view(1, -1, 1, 1, 1) for values in (ltx.latents_mean, ltx.latents_std))
    assert torch.allclose(
        denormalise(z[:, :8], ltx), z[:, :8] * std / ltx.config.scaling_factor + mean, atol=1e-6
    )


def test_means_for_other_channels_are_refused():
    vae = SMALL["Wan 2.1"].make()
    vae.register_to_config(latents_mean=[0.0] * 16)
    with pytest.raises(Refused, match="latents_mean.*16 values.*4, one a channel"):
        denormalise(torch.zeros(1, 4, 1, 2, 2), vae)


def test_latents_of_another_family_are_refused(tmp_path):
    wan = random_autoencoder(MODELS["Wan 2.1"])
    torch.save(torch.randn(1, 12, 2, 4, 4), tmp_path / "mochi.pt")
    with pytest.raises(Refused, match=r"\[B, 16, T, H, W\]"):
        load_latents(str(tmp_path / "mochi.pt"), wan, ())
    with pytest.raises(Refused, match="a clip to encode, for an AutoencoderKLLTXVideo"):
        load_latents("clip", SMALL["LTX-Video"].make(), (1, 8, 2, 4, 4))
    mean, spread = (values.view(1, -1, 1, 1, 1).float() for values in usual(wan))
    torch.save(torch.randn(1, 16, 5, 8, 8) * spread + mean, tmp_path / "raw.pt")
    with pytest.raises(Refused, match="'denormalised'"):
        load_latents(str(tmp_path / "raw.pt"), wan, (), form="normalised")
