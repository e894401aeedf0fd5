"""The encoder for tiles: its bands, what it refuses, and as compiled (tests/test_streaming.py has what comes
out)."""

import pytest
import torch
from streamed import mochi_encoder

from ttvideo import Refused, compare, probe
from ttvideo.decoders.attention import BAND_VALUES, bands_of
from ttvideo.decoders.mochi_encoder import TileEncoder
from ttvideo.media.small_autoencoders import InFloat64

ROUNDING = 1e-11


@pytest.fixture(scope="module")
def stock():
    return mochi_encoder()


def clip(frames, height=16, width=24, batch=1):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, 3, frames, height, width, dtype=torch.float64, generator=generator) * 2 - 1


def test_what_attentions_saw_is_passed_through(stock):
    encoder, x = TileEncoder(stock), clip(13)
    _, before = encoder(x[:, :, :7])
    _, state = encoder(x[:, :, 7:], before)
    seen = [name for name in before if ".frame" in name]
    assert seen and all(state[name] is before[name] for name in seen)


def test_bands_of_pixels_change_nothing_but_the_last_bit(stock, monkeypatch):
    encoder, x = TileEncoder(stock), clip(13, 32, 32)
    want, _ = encoder(x)
    monkeypatch.setattr("ttvideo.decoders.attention.BAND_VALUES", 32 * 64 * 64)
    assert [len(bands_of(13, n, 64)) for n in (256, 64, 65)] == [4, 1, 1]
    assert compare(encoder(x)[0], want).max_abs <= ROUNDING


def test_bands_at_full_resolution_are_whole_tiles():
    for frames, pixels, channels, count in (
        (163, 240 * 424, 128, 10),
        (82, 120 * 212, 256, 3),
        (28, 60 * 106, 384, 1),
    ):
        bands = bands_of(frames, pixels, channels)
        lengths = {rows.stop - rows.start for rows in bands}
        assert len(bands) == count and len(lengths) == 1 and bands[-1].stop == pixels
        assert -(-frames // 32) * 32 * lengths.pop() * channels <= BAND_VALUES


def test_steps_cut_a_clip_as_the_encoder_takes_it(stock):
    encoder = TileEncoder(stock)
    assert encoder.steps(1) == [1] and encoder.steps(163)[:3] == [1, 6, 6] and sum(encoder.steps(163)) == 163
    assert encoder.steps(25, 12) == [1, 12, 12] and encoder.steps(31, 12) == [1, 6, 12, 12]
    for frames, per_step in ((12, None), (0, None), (13, 4), (13, True)):
        with pytest.raises(Refused):
            encoder.steps(frames, per_step)


def test_refuses_what_it_cannot_encode(stock):
    encoder = TileEncoder(stock)
    _, state = encoder(clip(7))
    for x, past, need in (
        (clip(6), None, "1 [+] 6 n"),
        (clip(7), state, "multiple of 6"),
        (clip(6, 12, 24), None, "multiples of 8"),
    ):
        with pytest.raises(Refused, match=need):
            encoder(x, past)
    with pytest.raises(Refused, match="MochiEncoder3D"):
        TileEncoder(torch.nn.Linear(2, 2))


def test_refuses_another_attention(stock):
    import copy

    other = copy.deepcopy(stock)
    other.down_blocks[0].attentions[0].is_causal = False
    with pytest.raises(Refused, match="causal"):
        TileEncoder(other)


def test_as_compiled_it_encodes_pixels_in_float32(stock):
    """Rounded to bf16, pixels lose the phase of the Fourier features: the planted fault that this test is to
    see."""
    x = clip(7, 32, 32).float()
    with InFloat64():
        want = TileEncoder(stock)(x.double())[0]
    encoder = TileEncoder(stock).bfloat16()
    verdict = probe(encoder, (x,), "p150-compile", evaluate=True)
    assert verdict.passed and compare(verdict.outputs[0], want).pcc > 0.999
    assert compare(encoder(x.bfloat16())[0], want).pcc < 0.99
