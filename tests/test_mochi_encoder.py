"""The encoder for tiles: its bands, what it refuses, and as compiled (tests/test_streaming.py has what comes
out)."""

import pytest
from seeded import seeded
from streamed import mochi_encoder

from ttvideo import Refused, compare, probe
from ttvideo.decoders.attention import BAND_VALUES, bands_of
from ttvideo.decoders.mochi_encoder import TileEncoder
from ttvideo.media.small_autoencoders import InFloat64

ROUNDING = 1e-11


@pytest.fixture(scope="module")
def stock():
    return mochi_encoder()


def clip(frames, height=16, width=24):
    return seeded(1, 3, frames, height, width).clamp(-1, 1)


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


SIDES = (64, 128, 192)  # of images' latents, whose scores are half a gigabyte a band at most


@pytest.mark.parametrize(
    "frames, pixels, channels, count",
    [(163, 240 * 424, 128, 10), (82, 120 * 212, 256, 3), (28, 60 * 106, 384, 1)]
    + [(side**2, side**2, 1, count) for side, count in zip(SIDES, (1, 1, 6))],
)
def test_bands_at_full_resolution_are_whole_tiles(frames, pixels, channels, count):
    bands = bands_of(frames, pixels, channels)
    lengths = {rows.stop - rows.start for rows in bands}
    assert len(bands) == count and len(lengths) == 1 and bands[-1].stop == pixels
    assert -(-frames // 32) * 32 * lengths.pop() * channels <= BAND_VALUES


def test_steps_cut_a_clip_as_the_encoder_takes_it(stock):
    steps = TileEncoder(stock).steps
    assert steps(1) == [1] and steps(163) == [1] + [6] * 27
    assert steps(25, 12) == [1, 12, 12] and steps(31, 12) == [1, 6, 12, 12]
    for wrong in ((12, None), (13, 4)):
        with pytest.raises(Refused):
            steps(*wrong)


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
    other = mochi_encoder()
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
