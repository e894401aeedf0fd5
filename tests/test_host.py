"""The decoder for the host: Mochi's, to the last bits of float64, in any steps, in bounded memory."""

import pytest
import torch
from seeded import seeded

from ttvideo import Refused, compare
from ttvideo.decoders import budget
from ttvideo.decoders.budget import evaluated_bytes, flops, host_bytes, plan
from ttvideo.decoders.host import HostDecoder
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.decoders.stream import DROPPED_FRAMES, decode_on_host
from ttvideo.media.models import load_vae

FULL_RESOLUTION = (1, 12, 28, 60, 106)


@pytest.fixture(scope="module")
def mochi():
    decoder = load_vae("small").decoder.double().requires_grad_(False)
    for norm in (module for module in decoder.modules() if isinstance(module, torch.nn.GroupNorm)):
        norm.weight += 0.3 * torch.randn_like(norm.weight)  # as 1 and 0 their loss wouldn't show
        norm.bias += 0.3 * torch.randn_like(norm.bias)
    return decoder


@pytest.fixture(scope="module")
def z():
    return seeded(2, 12, 4, 3, 5)


@pytest.fixture(scope="module")
def whole(mochi, z):
    return mochi(z)[0]


@pytest.mark.parametrize("dtype, least_psnr", [(torch.float32, 110), (torch.bfloat16, 40)])
def test_it_rounds_no_more_than_the_stock_decoder(mochi, z, whole, dtype, least_psnr):
    stock = load_vae("small").decoder.to(dtype)
    stock.load_state_dict(mochi.state_dict())
    with torch.no_grad():
        theirs = compare(stock(z.to(dtype))[0], whole).psnr_db
    frames, state = HostDecoder(stock)(z.to(dtype))
    ours = compare(frames, whole).psnr_db
    assert ours > least_psnr and ours > theirs - 2 and state == {}


def test_decoded_on_the_host_as_the_pipeline_drops_and_resumed(mochi, z, whole, tmp_path):
    run = decode_on_host(HostDecoder(mochi), z[:1], keep=tmp_path)
    first = [next(run), next(run)]
    run.close()
    again = list(decode_on_host(HostDecoder(mochi), z[:1], keep=tmp_path))
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert (torch.cat(again, dim=2) - whole[:1, :, DROPPED_FRAMES:]).abs().max() < 1e-12
    assert len(list(decode_on_host(HostDecoder(mochi), z[:1], keep=tmp_path))) == 4


def test_what_another_clip_or_model_left_is_not_taken_for_this_ones(mochi, z, tmp_path):
    next(decode_on_host(HostDecoder(mochi), z[:1], keep=tmp_path))
    with pytest.raises(Refused, match="another clip, model or target"):
        next(decode_on_host(HostDecoder(mochi), z[1:], keep=tmp_path))
    other = HostDecoder(mochi)
    other.decoder.proj_out.bias += 1
    with pytest.raises(Refused, match="another clip, model or target"):
        next(decode_on_host(other, z[:1], keep=tmp_path))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_where_there_is_none_is_one_sentence(mochi, z):
    with pytest.raises(Refused, match="without a CUDA device.*need an NVIDIA GPU"):
        next(decode_on_host(HostDecoder(mochi), z, host="cuda"))


# What fits, and how long it takes: of the full-size decoder, from its shapes alone.


@pytest.fixture(scope="module")
def full():
    with torch.device("meta"):
        return type(load_vae("small"))().decoder


def test_a_latent_frame_at_full_resolution_is_38_tflop(full):
    assert flops(full, 60, 106) == pytest.approx(38.6e12, rel=0.02)  # "stock" in the stored costs of a step


def test_the_state_counted_is_the_state_there_is(mochi):
    shapes = HostDecoder(mochi).state_shapes(1, 6, 7)
    counted = sum(stage.state for stage in budget.stages(mochi, 6, 7))
    assert counted == sum(torch.Size(shape).numel() for shape in shapes.values())
    tiles = TileDecoder(mochi).state_shapes(1, 6, 7)
    assert counted == sum(torch.Size(shape).numel() for shape in tiles.values())


def test_by_default_a_small_clip_is_decoded_whole_and_full_resolution_for_a_frame(mochi, full):
    small = plan(mochi, (1, 12, 4, 8, 8), available=10**10)
    assert small.everything and small.dtype == torch.float64 and "left out" not in str(small)
    large = plan(full, FULL_RESOLUTION, available=10**11)
    assert (large.host_frames, large.evaluated_frames, large.dtype) == (1, 1, torch.float32)
    assert "1 of 28 latent frames at 480×848 in float32, 38 TFLOP" in str(large) and "left out" in str(large)
    assert large.crop == (2, 2, 2)


def test_what_memory_cannot_hold_is_refused_with_the_figure_and_what_would_fit(full):
    size = host_bytes(full, FULL_RESOLUTION, torch.float64)
    got = f"28 latent frames at 480×848 in float64, which take {size / 1e9:.1f} GB"
    with pytest.raises(Refused, match=f"host_frames.*{got}.*the 16.0 GB that are free: 28 in float32"):
        plan(full, FULL_RESOLUTION, host_frames=28, dtype=torch.float64, available=16 * 10**9)
    plan(full, FULL_RESOLUTION, host_frames=28, evaluates=False, dtype=torch.float32, available=16 * 10**9)
    with pytest.raises(Refused, match="host_frames.*free: 1 in bfloat16"):
        plan(full, FULL_RESOLUTION, host_frames=28, dtype=torch.float64, available=4 * 10**9)
    one = evaluated_bytes(full, (1, 12, 1, 60, 106))
    with pytest.raises(Refused, match="evaluated_frames.*1 latent frames at 480×848.*a machine with more"):
        plan(full, FULL_RESOLUTION, available=one - 1)
    with pytest.raises(Refused, match="evaluated_frames: got 3 latent.*free: 1, "):
        plan(
            full, FULL_RESOLUTION, host_frames=3, evaluated_frames=3, dtype=torch.bfloat16, available=one + 1
        )


@pytest.mark.parametrize(
    "asked, need",
    [((5, None), "at most the 4"), ((1, 2), "at most host_frames, 1")],
)
def test_impossible_numbers_of_frames(mochi, asked, need):
    with pytest.raises(Refused, match=need):
        plan(mochi, (1, 12, 4, 8, 8), *asked)


def test_steps_are_evaluated_whole(full):
    small = load_vae("small").decoder
    ends = {(1, 1, 1, 1, 1): 2, (1, 2, 2): 3, (2, 3): 2}
    for steps, evaluated in ends.items():
        found = plan(small, (1, 12, 5, 4, 4), host_frames=4, evaluated_frames=2, steps=steps)
        assert found.evaluated_frames == evaluated == sum(steps[: found.evaluated_steps])
    with pytest.raises(Refused, match="host_frames: got 1, need at least 2: steps"):
        plan(small, (1, 12, 5, 4, 4), host_frames=1, steps=[2, 3])
    how = [
        plan(full, FULL_RESOLUTION, steps=[2] * 14, evaluates=one, available=10**11) for one in (True, False)
    ]
    assert [(found.host_frames, found.evaluated_frames) for found in how] == [(2, 2), (1, 0)]
    assert how[0].evaluated_bytes > plan(full, FULL_RESOLUTION, available=10**11).evaluated_bytes
