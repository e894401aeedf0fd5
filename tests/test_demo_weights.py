"""The small autoencoders in the repository load with no network and still reconstruct what they were never
shown."""

import json
import socket

import pytest
import torch

from findings.trained import decoded
from ttvideo.basics.compare import compare
from ttvideo.media import clips
from ttvideo.media.latents import load_latents, statistics
from ttvideo.media.models import WEIGHTS, load_vae
from ttvideo.media.video_models import TRAINED, load_autoencoder

# Its folder; channels of its latents; frames of a clip; the least PSNR of one, in dB, and of each mean of
# its record, by name.
DEMO = {"demo": (WEIGHTS / "demo", 12, 13, 28.0, 28.0, "mean_with_first_five")}
DEMO |= {name: (folder, 16, 17, 33.0, 32.0, "mean") for name, folder in TRAINED.items()}


@pytest.fixture(scope="module", params=DEMO)
def loaded(request):
    """Its name, and the autoencoder, without a network."""

    def no_network(*_, **__):
        raise AssertionError("loading the demo weights reached for the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(socket.socket, "connect", no_network)
        yield request.param, (load_vae if request.param == "demo" else load_autoencoder)(request.param)


def test_weights_are_small_and_shaped_like_their_familys(loaded):
    name, vae = loaded
    folder, channels, *_ = DEMO[name]
    most = 5_000_000 if name == "demo" else 4_000_000
    assert (folder / "diffusion_pytorch_model.safetensors").stat().st_size <= most
    kinds = {"demo": "Mochi", "wan-demo": "Wan", "cogvideox-demo": "CogVideoX"}
    assert type(vae).__name__ == f"AutoencoderKL{kinds[name]}"
    assert load_latents("clip", vae, (1, channels, 3, 4, 5)).shape == (1, channels, 3, 4, 5)


@pytest.mark.parametrize("seed, kind", [(100, "seen"), (200, "unseen")])
@torch.no_grad()
def test_a_held_out_clip_stays_above_its_floor(loaded, seed, kind):
    name, vae = loaded
    _, _, frames, floor, *_ = DEMO[name]
    x = clips.clip(seed, frames, kind=kind)[None]
    assert compare(vae.decode(vae.encode(x).latent_dist.mode()).sample, x).psnr_db > floor


def test_latents_are_of_the_spread_that_the_config_says(loaded):
    name, vae = loaded
    far = statistics(load_latents("clip", vae, (1, DEMO[name][1], 5, 8, 8)), vae).distance
    assert far["denormalised"] < min(0.5, far["normalised"])


@pytest.mark.parametrize("name", DEMO)
def test_records_meet_the_promise(name):
    folder, *_, promised, mean = DEMO[name]
    held_out = json.loads((folder / "training.json").read_text())["held_out"]
    assert set(held_out) == set(clips.HELD_OUT)
    assert min(row[mean] for row in held_out.values()) >= promised


@pytest.mark.parametrize("name", TRAINED)
def test_the_demo_clip_is_decoded_as_the_notebook_shows_it(name):
    row = decoded(name, "cpu", torch.float32)
    assert row.frames.shape == row.clip.shape == (1, 3, 9, 64, 64)
    assert len(row.psnr_db) == 9 and min(row.psnr_db) > 90 and compare(row.stock, row.clip).psnr_db > 27
