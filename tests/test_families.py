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


@pytest.mark.parametrize("name, least", [("CogVideoX", 2), ("HunyuanVideo", 3)])
def test_steps_that_a_structure_does_not_allow(name, least):
    with pytest.raises(Refused, match=f"frames_per_step.*1.*a multiple of {least}"):
        for_tiles(SMALL[name].make()).steps(9, 1)


@pytest.mark.parametrize("name", ["Mochi", "HunyuanVideo-1.5", "LTX-Video"])
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
    again = stream_decode(decoder, z, "cpu", per_step, keep=tmp_path)
    assert all(step.verdict.target == "kept" for step in again)


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


@pytest.mark.parametrize("name", ["LTX-2", pytest.param("QwenImage", marks=pytest.mark.long)])
def test_a_row_of_the_notebook(name):
    """Which has one for each of `MODELS`."""
    row = family_row(name, "p150-compile")
    assert row.status == "pass" and row.max_abs < 1e-11 and row.split_max_abs == 0 and row.pcc > 0.999
    assert row.outputs_from.startswith("evaluated") and row.ops > 300


@pytest.mark.parametrize("name", [*MODELS, "QwenImage"])
def test_weights_from_a_folder_or_a_file(name, tmp_path):
    """The autoencoder's own, or a pipeline's, or a file with its config beside; with or without encoder."""
    vae, folder = SMALL[name].make().float(), tmp_path / "vae"
    vae.save_pretrained(folder)
    weights = vae.state_dict()
    for place in (tmp_path, folder / WEIGHTS):
        found = load_autoencoder(str(place))
        assert type(found) is type(vae) and found.encoder is not None
        assert all(torch.equal(weight, weights[key]) for key, weight in found.state_dict().items())
    decoders = {key: weight for key, weight in load_file(folder / WEIGHTS).items() if key[:8] != "encoder."}
    save_file(decoders, folder / WEIGHTS)
    found = load_autoencoder(str(folder))
    assert found.encoder is None
    assert all(torch.equal(w, weights[f"decoder.{key}"]) for key, w in found.decoder.state_dict().items())
    lost = next(key for key in decoders if key.startswith("decoder."))
    save_file({key: weight for key, weight in decoders.items() if key != lost}, folder / WEIGHTS)
    with pytest.raises(Refused, match=f"{lost.removeprefix('decoder.')}.* need .*config.json"):
        load_autoencoder(str(folder / WEIGHTS))


def edited(folder, **config):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))


@pytest.mark.parametrize(
    "spoil, need",
    [
        (lambda f: edited(f, _class_name="AutoencoderKLCogVideoX"), "AutoencoderKLCogVideoX"),
        (lambda f: edited(f, _class_name="AsymmetricAutoencoderKL"), "AutoencoderKLLTX2Video"),
        (lambda f: edited(f, base_dim=16), "safetensors"),
        (lambda f: edited(f, num_res_blocks=2), "its config.json describes"),
        (lambda f: (f / WEIGHTS).unlink(), "weights as safetensors"),
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
