"""The decoders for tiles against diffusers' own: equal in float64, in any steps, and as compiled."""

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX, AutoencoderKLWan, AutoencoderTiny
from torch import nn

from lib import Refused, compare, for_tiles
from lib.probing.probe import probe
from tests.autoencoders import SMALL, WANS, Autoencoder, InFloat64

ROUNDING = 1e-11
MODELS = {name: SMALL[name] for name in ("Wan 2.1", "QwenImage", "Wan 2.2", "CogVideoX")}
# Channels halve while frames are upsampled, which only the full depth has.
MODELS["Wan 2.2, deep"] = Autoencoder(
    "AutoencoderKLWan",
    dict(
        base_dim=4, decoder_base_dim=4, z_dim=4, dim_mult=[1, 2, 4, 4], num_res_blocks=1,
        temperal_downsample=[False, True, True], is_residual=True, in_channels=12, out_channels=12, patch_size=2,
    ),
    (1, 3, 9, 32, 32),
    0,
)  # fmt: skip


def latents(*shape, dtype=torch.float64):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_equals_the_autoencoder(name, frames):
    vae = MODELS[name].make()
    before = {key: value.clone() for key, value in vae.state_dict().items()}
    z = latents(2, 4, frames, 3, 5)
    with InFloat64():
        want = vae.decode(z).sample
    got, _ = for_tiles(vae)(z)
    assert got.shape == want.shape and compare(got, want).max_abs <= ROUNDING
    assert all(torch.equal(value, before[key]) for key, value in vae.state_dict().items())


@pytest.mark.parametrize("splits", [(3, 2, 2), (5, 2), (3, 4)], ids=str)
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_splits_change_nothing(name, splits):
    decoder, z = for_tiles(MODELS[name].make()), latents(1, 4, 7, 3, 5)
    want, last = decoder(z)
    parts, state = [], None
    for piece in z.split(splits, 2):
        frames, state = decoder(piece, state)
        parts.append(frames)
    assert torch.equal(torch.cat(parts, 2), want)
    assert state.keys() == last.keys() and all(torch.equal(state[key], last[key]) for key in last)
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert shapes == decoder.state_shapes(1, 3, 5)


@torch.no_grad()
def test_a_clip_in_single_frames():
    """Where nothing sees two latent frames at a time, one a step will do."""
    decoder, z = for_tiles(MODELS["Wan 2.1"].make()), latents(1, 4, 4, 3, 5)
    parts, state = [], None
    for piece in z.split(1, 2):
        frames, state = decoder(piece, state)
        parts.append(frames)
    assert torch.equal(torch.cat(parts, 2), decoder(z)[0])


@torch.no_grad()
def test_a_lost_state_shows():
    """Planted fault: a step that begins anew, and one whose past is that of other frames."""
    for name, first in (("Wan 2.1", 1), ("CogVideoX", 3)):
        decoder, z = for_tiles(MODELS[name].make()), latents(1, 4, first + 2, 3, 5)
        want = decoder(z)[0]
        state = {key: value.flip(2) for key, value in decoder(z[:, :, :first])[1].items()}
        rest = decoder(z[:, :, first:], state)[0]
        assert compare(rest, want[:, :, -rest.shape[2] :]).max_abs > 1e-3
        assert decoder(z[:, :, first:])[0].shape != rest.shape or name == "CogVideoX"


class Steady(nn.Module):
    """A decoder between two steps: its state stays with it."""

    def __init__(self, decoder, state):
        super().__init__()
        self.decoder, self.names = decoder, list(state)
        for i, value in enumerate(state.values()):
            self.register_buffer(f"past{i}", value.clone())  # equal frames are one result of the program

    def forward(self, z):
        return self.decoder(z, {name: getattr(self, f"past{i}") for i, name in enumerate(self.names)})


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_compiled_and_evaluated(name):
    """The first step and the steady one, in bf16, as compiled for a p150, against float64."""
    vae = MODELS[name].make().bfloat16()
    z = latents(1, 4, 5, 8, 8, dtype=torch.bfloat16)
    want = vae.double().decode(z.double()).sample
    decoder = for_tiles(vae.bfloat16())
    first = probe(decoder, (z[:, :, :3],), "p150-compile", evaluate=True)
    assert first.passed, first
    frames, state = first.outputs
    steady = probe(Steady(decoder, state), (z[:, :, 3:],), "p150-compile", evaluate=True)
    assert steady.passed, steady
    result = compare(torch.cat([frames, steady.outputs[0]], 2), want)
    print(f"{name}: PCC {result.pcc:.6f}, PSNR {result.psnr_db:.1f} dB")
    assert result.pcc >= 0.999


def with_relu(vae):
    vae.decoder.nonlinearity = nn.ReLU()
    return vae


@pytest.mark.parametrize(
    "make, need",
    [
        pytest.param(lambda: nn.Linear(3, 3), "MochiDecoder3D, AutoencoderKLMochi, WanDecoder3d", id="no_decoder"),
        pytest.param(lambda: AutoencoderTiny(), "one of MochiDecoder3D", id="an_autoencoder_unheard_of"),
        pytest.param(lambda: with_relu(AutoencoderKLWan(**WANS)), "SiLU", id="another_activation"),
    ],
)
def test_refuses_a_model(make, need):
    with pytest.raises(Refused, match=need):
        for_tiles(make())


def test_refuses_what_a_family_does_not_know():
    vae = AutoencoderKLCogVideoX(**SMALL["CogVideoX"].config)
    vae.decoder.conv_in.pad_mode = "replicate"
    with pytest.raises(Refused, match="not replicate"):
        for_tiles(vae)
    vae = AutoencoderKLWan(**WANS)
    vae.decoder.conv_in.stride = (1, 2, 2)
    with pytest.raises(Refused, match="stride 1"):
        for_tiles(vae)


@torch.no_grad()
def test_refuses_latents_and_states():
    decoder = for_tiles(MODELS["CogVideoX"].make())
    z = latents(1, 4, 2, 3, 5)
    _, state = decoder(z)
    for wrong, past, need in (
        (z[0], None, r"\[B, 4, T, H, W\]"),
        (latents(1, 5, 2, 3, 5), None, r"\[B, 4, T, H, W\]"),
        (z.float(), None, "torch.float64"),
        (z[:, :, :1], state, "a multiple of 2"),
        (latents(1, 4, 2, 5, 3), state, "for latents of 5 x 3"),
        (z, {key: value.float() for key, value in state.items()}, "torch.float64"),
    ):
        with pytest.raises(Refused, match=need):
            decoder(wrong, past)
