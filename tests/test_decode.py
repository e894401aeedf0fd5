"""Streaming through a target: steps, state, resuming, and what is refused."""

from copy import deepcopy

import pytest
import torch
from safetensors.torch import save_file

from ttvideo import Refused, compare, for_tiles
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.decoders.steps import decode_steps, load_state, save_state
from ttvideo.decoders.stream import DROPPED_FRAMES, stream_decode
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


def test_an_evaluated_run_goes_on_from_the_evaluated_state(decoder, latents, whole, tmp_path):
    tiles, z = TileDecoder(decoder).bfloat16(), latents[:, :, :3].bfloat16()
    assert {weight.dtype for weight in decoder.parameters()} == {torch.float32}  # stays as it was
    first = list(stream_decode(tiles, z, "p150-compile", evaluate=2, keep=tmp_path))
    assert [step.frames is not None for step in first] == [True, True, False]
    assert all(step.verdict.outputs_from.startswith("evaluated") for step in first[:2])
    again = list(stream_decode(tiles, z, "p150-compile", evaluate=3, keep=tmp_path))
    assert [step.verdict.target for step in again] == ["kept", "kept", "p150-compile"]
    assert compare(frames_of(again), whole[:, :, : 18 - DROPPED_FRAMES]).pcc > 0.99


def test_what_cannot_be_streamed_is_refused_at_once(decoder):
    z = torch.zeros(1, 12, 1, 4, 4)
    for wrong, need in ((z[:, 1:], "B, 12, T"), (z[0], "B, 12, T"), (z[:, :, 1:], "none of"), (1 / z, "Inf")):
        with pytest.raises(Refused, match=need):
            next(stream_decode(TileDecoder(decoder), wrong, "cpu"))


def test_a_clip_in_steps_is_called_with_two_shapes_and_told_its_end(decoder, latents):
    tiles, seen = TileDecoder(decoder), []
    hook = lambda module, given, named: seen.append((given[0].shape[2], given[1] is None, named["ends"]))
    tiles.register_forward_pre_hook(hook, with_kwargs=True)
    for frames_per_step, ends in ((3, True), (4, False)):
        list(decode_steps(tiles, latents, frames_per_step, ends=ends))
    assert seen == [(1, True, False), (3, False, True), (4, True, False)]


def test_a_file_that_is_no_state_is_refused(tmp_path):
    save_state(tmp_path / "state", {"past": torch.tensor([1.0, float("nan")])}, 1)
    (tmp_path / "text").write_text("not a state")
    save_file({"x": torch.zeros(2)}, tmp_path / "plain")
    for name, need in (("state", "NaN or Inf in past"), ("none", "no file"), ("text", "save_state"),
                       ("plain", "save_state")):  # fmt: skip
        with pytest.raises(Refused, match=need):
            load_state(tmp_path / name)


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
