"""The demo VAE in the repository loads with no network and still reconstructs what it was never shown."""

import json
import socket
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLMochi

from lib.basics.compare import compare
from lib.media import clips

FOLDER = Path(clips.__file__).parent / "weights" / "demo"
WEIGHTS = FOLDER / "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def vae():
    def no_network(*_, **__):
        raise AssertionError("loading the demo weights reached for the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(socket.socket, "connect", no_network)
        yield AutoencoderKLMochi.from_pretrained(FOLDER, torch_dtype=torch.float32, local_files_only=True).eval()


def test_weights_are_small_and_shaped_like_mochi(vae):
    assert WEIGHTS.stat().st_size <= 5_000_000
    assert vae.config.latent_channels == 12
    assert tuple(vae.config.temporal_expansions) == (1, 2, 3) and tuple(vae.config.spatial_expansions) == (2, 2, 2)
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
        torch.tensor(values).view(1, 12, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    normal = (z - mean) / std
    assert normal.mean().abs() < 0.5 and 0.5 < normal.std() < 1.5


def test_record_meets_the_promise():
    record = json.loads((FOLDER / "training.json").read_text())
    assert set(record["held_out"]) == set(clips.HELD_OUT)
    for name, row in record["held_out"].items():
        assert row["mean_with_first_five"] >= 28.0, name
