"""How a clip is cut, what a decoder is called with, and states in files (tests/test_streaming.py has what
comes out)."""

import pytest
import torch
from diffusers import AutoencoderKLMochi
from hypothesis import given
from hypothesis import strategies as st

from ttvideo.basics.errors import Refused
from ttvideo.decoders.clip_decoder import split
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.decoders.steps import decode_steps, load_state, save_state

CHANNELS = dict(encoder_block_out_channels=(32, 32, 32, 32), decoder_block_out_channels=(32, 32, 32, 64))


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    vae = AutoencoderKLMochi(**CHANNELS, layers_per_block=(1, 1, 1, 1, 1)).double().eval()
    return vae.requires_grad_(False)


@pytest.fixture(scope="module")
def decoder(vae):
    return TileDecoder(vae.decoder)


@pytest.fixture(scope="module")
def z():
    return torch.randn(1, 12, 5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@given(total=st.integers(1, 500), n=st.integers(1, 60))
def test_split_covers_the_clip_with_two_sizes_at_most(total, n):
    steps = split(total, n)
    assert sum(steps) == total
    assert set(steps[1:]) <= {n} and 1 <= steps[0] <= n


class Watched:
    """A decoder, and what it was called with: the latents' shape, whether a clip begins, whether it ends."""

    steps = staticmethod(split)

    def __init__(self, decoder=None):
        self.decoder, self.seen = decoder, []

    def __call__(self, z, state, ends):
        self.seen.append((tuple(z.shape), state is None, ends))
        return self.decoder(z, state, ends)


def test_calls_at_most_two_shapes(decoder, z):
    watched = Watched(decoder)
    frames = torch.cat([frames for frames, _ in decode_steps(watched, z, frames_per_step=2)], dim=2)
    assert torch.equal(frames, decoder(z)[0])
    two = 1, 12, 2, 3, 4
    assert watched.seen == [((1, 12, 1, 3, 4), True, False), (two, False, False), (two, False, True)]
    list(decode_steps(watched, z, frames_per_step=5, ends=False))
    assert watched.seen[-1] == (tuple(z.shape), True, False)


def test_refuses_before_it_computes(z):
    with pytest.raises(Refused, match="at least 1"):
        next(decode_steps(Watched(), z[:, :, :0]))


def test_refuses_a_state_that_is_not_finite(tmp_path):
    save_state(tmp_path / "state.safetensors", {"past": torch.tensor([1.0, float("nan")])}, 1)
    with pytest.raises(Refused, match="NaN or Inf in past"):
        load_state(tmp_path / "state.safetensors")


def test_refuses_a_file_that_is_no_state(tmp_path):
    with pytest.raises(Refused, match="no file"):
        load_state(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("not a state")
    with pytest.raises(Refused, match="save_state"):
        load_state(tmp_path / "text.safetensors")
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, tmp_path / "plain.safetensors")
    with pytest.raises(Refused, match="save_state"):
        load_state(tmp_path / "plain.safetensors")
