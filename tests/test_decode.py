"""Streaming through a target: steps, state, resuming, and what is refused."""

from copy import deepcopy

import pytest
import torch

from ttvideo import Refused, compare, decompose, for_tiles
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.decoders.steps import load_state, save_state
from ttvideo.decoders.stream import DROPPED_FRAMES, Stream, stream_decode
from ttvideo.media.latents import load_latents
from ttvideo.media.models import load_vae

pytestmark = pytest.mark.usefixtures("clean_after")


@pytest.fixture(scope="module")
def decoder():
    return load_vae("small").decoder


@pytest.fixture(scope="module")
def latents():
    return torch.randn(1, 12, 4, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def whole(decoder, latents):
    with torch.no_grad():
        return decoder(latents)[0][:, :, DROPPED_FRAMES:]


def frames_of(steps):
    return torch.cat([step.frames for step in steps], dim=2)


def test_two_programs_whatever_the_length(decoder, latents, whole):
    steps = list(stream_decode(TileDecoder(decoder), latents, "xla-cpu"))
    assert [step.verdict.compiled_programs for step in steps] == [1, 2, 2, 2]
    assert compare(frames_of(steps), whole).max_abs < 1e-4


def test_the_compiled_steps_evaluated_on_the_host(decoder, latents, whole):
    tiles = TileDecoder(decoder).bfloat16()
    assert all(weight.dtype == torch.float32 for weight in decoder.parameters()), (
        "the old decoder stays as it was"
    )
    steps = list(stream_decode(tiles, latents[:, :, :3].bfloat16(), "p150-compile", evaluate=True))
    assert all(step.verdict.outputs_from.startswith("evaluated") for step in steps)
    assert compare(frames_of(steps), whole[:, :, : 18 - DROPPED_FRAMES]).pcc > 0.99


def test_an_evaluated_run_goes_on_from_the_evaluated_state(decoder, latents, whole, tmp_path):
    tiles, z = TileDecoder(decoder).bfloat16(), latents[:, :, :3].bfloat16()
    first = list(stream_decode(tiles, z, "p150-compile", evaluate=2, keep=tmp_path))
    assert [step.frames is not None for step in first] == [True, True, False]
    again = list(stream_decode(tiles, z, "p150-compile", evaluate=3, keep=tmp_path))
    assert [step.verdict.target for step in again] == ["kept", "kept", "p150-compile"]
    assert compare(frames_of(again), whole[:, :, : 18 - DROPPED_FRAMES]).pcc > 0.99


def test_a_state_can_be_saved_and_given_to_another_stream(decoder, latents, whole, tmp_path):
    tiles = TileDecoder(decoder)
    with Stream(tiles, "cpu") as stream:
        first = stream.step(latents[:, :, :2]).frames
        save_state(tmp_path / "state.safetensors", stream.state(), 2)
    with Stream(tiles, "cpu", state=load_state(tmp_path / "state.safetensors")[0]) as stream:
        second = stream.step(latents[:, :, 2:]).frames
    assert compare(torch.cat([first, second], dim=2), whole).max_abs < 1e-4


@pytest.mark.parametrize(
    ("shape", "frames_per_step"),
    [((1, 11, 4, 4, 4), 1), ((12, 4, 4, 4), 1), ((1, 12, 0, 4, 4), 1), ((1, 12, 4, 4, 4), 0)],
    ids=["11 channels", "4-D", "no frames", "0 frames a step"],
)
def test_what_cannot_be_streamed_is_refused_at_once(decoder, shape, frames_per_step):
    with pytest.raises(Refused):
        next(stream_decode(TileDecoder(decoder), torch.zeros(shape), "cpu", frames_per_step))


def test_latents_with_inf_are_refused(decoder):
    with pytest.raises(Refused, match="Inf"):
        next(stream_decode(TileDecoder(decoder), torch.full((1, 12, 1, 4, 4), float("inf")), "cpu"))


def test_the_demo_clip_decodes_equally_by_stock_and_by_both_rewrites():
    vae = load_vae("demo")
    z = load_latents("clip", vae, (1, 12, 2, 8, 8)).double()
    stock = vae.decoder.double()
    with torch.no_grad():
        want = stock(z)[0]
        for rewritten in (TileDecoder(stock), decompose(stock)[0]):
            assert compare(rewritten(z)[0], want).max_abs < 1e-9


class Overflowing(TileDecoder):
    """Whose second step's activations overflow."""

    def clip(self, z_cthw, memory):
        video = super().clip(z_cthw, memory)
        return video if memory.starts else video / 0


def test_frames_that_are_not_finite_are_a_failure_and_are_not_kept(decoder, latents, tmp_path):
    steps = list(stream_decode(Overflowing(decoder), latents, "cpu", keep=tmp_path))
    assert [step.verdict.passed for step in steps] == [True, False] and steps[1].verdict.kind == "not finite"
    assert "NaN or Inf in" in steps[1].verdict.message and len(list(tmp_path.glob("frames-*"))) == 1


def test_weights_that_are_not_finite_are_refused(decoder):
    spoilt = deepcopy(decoder)
    spoilt.proj_out.bias.data[0] = float("nan")
    with pytest.raises(Refused, match="NaN or Inf in proj_out.bias"):
        for_tiles(spoilt)
