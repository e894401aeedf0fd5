"""The decoders for tiles: what is one family's own, what is refused, and as compiled (tests/test_streaming.py
has the rest)."""

from functools import partial

import pytest
import torch
from diffusers import VQModel
from seeded import seeded
from streamed import CONDITIONED, DELAYED, hunyuan
from torch import nn

from ttvideo import Refused, compare, for_tiles
from ttvideo.decoders.attention import bands_of
from ttvideo.decoders.causal import ZEROS
from ttvideo.decoders.families import FAMILIES, NOT_YET
from ttvideo.decoders.hunyuan import Upsample, UpsampledResidual
from ttvideo.decoders.temporal import TimeConv
from ttvideo.media.small_autoencoders import SMALL, SMALL_IMAGES
from ttvideo.probing.probe import probe


def test_hunyuan_has_what_is_rewritten():
    kinds = [type(block) for block in for_tiles(hunyuan()).blocks]
    assert kinds.count(UpsampledResidual) == 1 and kinds.count(Upsample) == 2


@pytest.mark.parametrize("name", ["LTX", "LTX-2, each way up"])
@torch.no_grad()
def test_frames_come_as_late_as_it_says(name):
    decoder, state = for_tiles(DELAYED[name].make()), None
    for number in range(decoder.delay + 2):
        frames, state = decoder(seeded(1, 8, 1, 3, 5), state, ends=False)
        assert bool(frames.shape[2]) == (number >= decoder.delay)
    assert decoder.state_shapes(1, 3, 5) == decoder.state_shapes(1, 3, 5, number + 1)


@torch.no_grad()
def test_a_clip_that_has_ended_or_whose_end_was_not_said():
    decoder, z = for_tiles(DELAYED["LTX"].make()), seeded(1, 8, 14, 3, 5)
    want = decoder(z)[0]
    ended, state = decoder(z[:, :, :7])
    assert compare(ended, want[:, :, : ended.shape[2]]).max_abs > 1e-3
    with pytest.raises(Refused, match="its clip has ended"):
        decoder(z[:, :, 7:], state)


@pytest.mark.parametrize("name", SMALL_IMAGES)
@torch.no_grad()
def test_takes_images_as_the_autoencoder_does(name):
    vae = SMALL_IMAGES[name].make()
    decoder = for_tiles(vae)
    z = seeded(2, decoder.latent_channels, 3, 5)
    image, state = decoder(z)
    assert compare(image, vae.decode(z).sample).max_abs < 1e-12 and state == {}
    assert torch.equal(for_tiles(vae.decoder)(z)[0], image) == (getattr(vae, "post_quant_conv", None) is None)


@torch.no_grad()
def test_bands_of_queries_change_nothing(monkeypatch):
    decoder = for_tiles(SMALL_IMAGES["FLUX"].make())
    z = seeded(2, decoder.latent_channels, 8, 12)
    want, _ = decoder(z)
    monkeypatch.setattr("ttvideo.decoders.attention.BAND_VALUES", 32 * 96)
    assert len(bands_of(96, 96, 1)) == 3
    assert compare(decoder(z)[0], want).max_abs < 1e-12


class OverTime(nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.conv = TimeConv("conv", conv, ZEROS)

    def forward(self, x_tnc):
        return torch.stack(self.conv(list(x_tnc.unbind()), (4, 8)))


@torch.no_grad()
def test_a_convolution_over_time_compiles():
    """As a linear layer for each tap, one of them with a bias, it doesn't."""
    conv, x = nn.Conv3d(32, 32, (3, 1, 1), padding=(1, 0, 0)).bfloat16(), seeded(3, 32, 32).bfloat16()
    verdict = probe(OverTime(conv), (x,), "n150-compile", evaluate=True)
    want = conv.double()(x.double().permute(2, 0, 1)[None, ..., None])[0, ..., 0].permute(1, 2, 0)
    assert verdict.passed and compare(verdict.outputs, want).pcc > 0.9999, verdict.message


@pytest.mark.long
@torch.no_grad()
def test_compiled_and_evaluated_with_a_delay_and_a_timestep():
    """A step while nothing comes, one while a clip begins, the steady one and the last, as compiled for a
    p150."""
    vae = CONDITIONED["LTX, of a timestep"].make().bfloat16()
    decoder, timestep = for_tiles(vae), {"temb": torch.tensor([0.05]).bfloat16()}
    z = seeded(1, 8, decoder.delay + 3, 4, 4, dtype=torch.bfloat16)
    want = vae.double().decode(z.double(), timestep["temb"].double()).sample
    parts, state = [], None
    for piece, ends in zip(z.split([2, decoder.delay - 1, 1, 1], 2), (False, False, False, True)):
        step = probe(decoder, (piece,), "p150-compile", evaluate=True, state=state, ends=ends, **timestep)
        assert step.passed, step
        frames, state = step.outputs
        parts.append(frames)
    assert parts[0].shape[2] == 0 and all(part.shape[2] for part in parts[1:]) and not state
    assert compare(torch.cat(parts, 2), want).pcc >= 0.999


@pytest.mark.parametrize("make", [partial(nn.Linear, 3, 3), VQModel])
def test_refuses_a_model(make):
    with pytest.raises(Refused, match="one of MochiDecoder3D, AutoencoderKLMochi, WanDecoder3d"):
        for_tiles(make())


def test_every_video_autoencoder_is_rewritten_or_says_what_that_would_take():
    known = {kind.__name__ for kind in FAMILIES}
    assert {small.name for small in SMALL.values()} <= known | set(NOT_YET) and not known & set(NOT_YET)
    for small in (small for small in SMALL.values() if small.name in NOT_YET):
        with pytest.raises(Refused, match=f"{small.name}.*(would be needed|vae.decoder)"):
            for_tiles(small.make())


@torch.no_grad()
def test_refuses_hunyuan_in_steps_of_another_length():
    decoder, z = for_tiles(hunyuan()), seeded(1, 4, 5, 3, 5)
    _, state = decoder(z, ends=False)
    for count, past, need in ((4, None, "5, or more"), (6, None, "multiple of 3"), (2, state, "3, or more")):
        with pytest.raises(Refused, match=need):
            decoder(seeded(1, 4, count, 3, 5), past, ends=False)
    with pytest.raises(Refused, match="the 6 of this model"):
        decoder(z, decoder(z)[1])  # a clip that has ended


def test_refuses_too_little_to_reflect():
    with pytest.raises(Refused, match="2 x 2, for reflection"):
        for_tiles(SMALL["LTX-2"].make())(seeded(2, 8, 2, 3, 1))
