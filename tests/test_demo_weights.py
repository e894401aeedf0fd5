"""The small autoencoders in the repository load with no network and still reconstruct what they were never
shown."""

import json
import socket
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLMochi

from findings.trained import decoded
from ttvideo.basics.compare import compare
from ttvideo.media import clips
from ttvideo.media.latents import load_latents, statistics
from ttvideo.media.video_models import TRAINED, load_autoencoder

FOLDER = Path(clips.__file__).parent / "weights" / "demo"
WEIGHTS = FOLDER / "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def offline():
    def no_network(*_, **__):
        raise AssertionError("loading the demo weights reached for the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(socket.socket, "connect", no_network)
        yield


@pytest.fixture(scope="module")
def vae(offline):
    return AutoencoderKLMochi.from_pretrained(FOLDER, torch_dtype=torch.float32, local_files_only=True).eval()


def test_weights_are_small_and_shaped_like_mochi(vae):
    assert WEIGHTS.stat().st_size <= 5_000_000
    assert vae.config.latent_channels == 12
    assert tuple(vae.config.temporal_expansions) == (1, 2, 3) and tuple(vae.config.spatial_expansions) == (
        2,
        2,
        2,
    )
    assert len(vae.config.latents_mean) == len(vae.config.latents_std) == 12


@pytest.mark.parametrize(
    "seed, kind", [pytest.param(100, "seen", id="other_seed"), pytest.param(200, "unseen", id="other_shapes")]
)
@torch.no_grad()
def test_held_out_clip_stays_above_its_floor(vae, seed, kind):
    x = clips.clip(seed, 13, kind=kind)[None]
    z = vae.encode(x).latent_dist.mode()
    assert z.shape == (1, 12, 3, 8, 8)
    y = vae.decode(z).sample
    assert y.shape == x.shape
    assert compare(y, x).psnr_db > 28.0


@torch.no_grad()
def test_latents_are_normal_by_the_config(vae):
    z = vae.encode(clips.clip(clips.FIRST_TRAINING_SEED, 13)[None]).latent_dist.mode()
    mean, std = (
        torch.tensor(values).view(1, 12, 1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    normal = (z - mean) / std
    assert normal.mean().abs() < 0.5 and 0.5 < normal.std() < 1.5


def test_record_meets_the_promise():
    record = json.loads((FOLDER / "training.json").read_text())
    assert set(record["held_out"]) == set(clips.HELD_OUT)
    for name, row in record["held_out"].items():
        assert row["mean_with_first_five"] >= 28.0, name


@pytest.fixture(scope="module", params=TRAINED)
def other(request, offline):
    return request.param, load_autoencoder(request.param)


def test_other_families_weights_are_small_and_shaped_like_theirs(other):
    name, vae = other
    assert (TRAINED[name] / WEIGHTS.name).stat().st_size <= 4_000_000
    assert (
        type(vae).__name__
        == {"wan-demo": "AutoencoderKLWan", "cogvideox-demo": "AutoencoderKLCogVideoX"}[name]
    )
    assert load_latents("clip", vae, (1, 16, 3, 4, 5)).shape == (1, 16, 3, 4, 5)


@pytest.mark.parametrize(
    "seed, kind", [pytest.param(100, "seen", id="other_seed"), pytest.param(200, "unseen", id="other_shapes")]
)
@torch.no_grad()
def test_other_families_keep_a_held_out_clip_above_its_floor(other, seed, kind):
    _, vae = other
    x = clips.clip(seed, 17, kind=kind)[None]
    assert compare(vae.decode(vae.encode(x).latent_dist.mode()).sample, x).psnr_db > 33.0


def test_other_families_latents_are_of_the_spread_that_the_config_says(other):
    _, vae = other
    far = statistics(load_latents("clip", vae, (1, 16, 5, 8, 8)), vae).distance
    assert far["denormalised"] < min(0.5, far["normalised"])


def test_other_families_decode_the_demo_clip_as_the_notebook_shows_it(other):
    row = decoded(other[0], "cpu", torch.float32)
    assert row.frames.shape == row.clip.shape == (1, 3, 9, 64, 64)
    assert len(row.psnr_db) == 9 and min(row.psnr_db) > 90 and compare(row.stock, row.clip).psnr_db > 27


def test_other_families_records_meet_the_promise():
    for name, folder in TRAINED.items():
        held_out = json.loads((folder / "training.json").read_text())["held_out"]
        assert (
            set(held_out) == set(clips.HELD_OUT) and min(row["mean"] for row in held_out.values()) >= 32.0
        ), name
