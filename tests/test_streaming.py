"""What streams, whatever it is: stock's own numbers in float64, in any steps, from a state that is what it
says."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seeded import far
from streamed import ALL, MOCHI, TIMED, WHOLE

from ttvideo import Refused, compare
from ttvideo.decoders.steps import load_state, save_state
from ttvideo.media.small_autoencoders import InFloat64

ROUNDING = 1e-12  # relative, through some forty layers
SHOWS = 1e-9  # what a fault makes at least

every = pytest.mark.parametrize("name", ALL)


@pytest.fixture(autouse=True)
def in_float64():
    with torch.no_grad(), InFloat64():
        yield


@cache
def made(name):
    """Diffusers' module, what streams, and the arguments of one clip."""
    case = (ALL | WHOLE)[name]
    stock = case.make()
    return case, stock, case.new(stock), tuple(values[:1] for values in case.each)


def same(case, got, want):
    """To the last bit; where torch adds up in another order, as close as bf16."""
    return torch.equal(got, want) if case.pcc is None else compare(got, want).pcc > 0.9999


def copied(state):
    """For a decoder that writes over what it is given."""
    return state and {key: value.clone() for key, value in state.items()}


def in_steps(decoder, z, splits, *each):
    """The frames of each step of a clip, and the states after each."""
    parts, states, pieces = [], [None], z.split(splits, 2)
    for number, piece in enumerate(pieces, start=1):
        frames, state = decoder(piece, copied(states[-1]), *each, ends=number == len(pieces))
        parts.append(frames)
        states.append(state)
    return parts, states[1:]


@pytest.mark.parametrize(
    "name, frames", [(name, frames) for name, case in (ALL | WHOLE).items() for frames in case.lengths]
)
def test_gives_what_stock_gives_and_leaves_it_as_it_is(name, frames):
    case, stock, decoder, _ = made(name)
    before = {key: value.clone() for key, value in stock.state_dict().items()}
    z = case.clip(decoder, frames, case.batch)
    # Clip by clip: a batch of two isn't taken by every stock decoder.
    want = [
        case.stock(stock, clip.double(), *each) for clip, *each in zip(*(x.split(1) for x in (z, *case.each)))
    ]
    got, want = decoder(z, None, *case.each)[0], torch.cat(want)
    dropped = got.shape[2] - want.shape[2]
    assert dropped in (0, getattr(decoder, "dropped_frames", 0))
    got = got[:, :, dropped:]
    assert far(got, want) <= ROUNDING if case.pcc is None else compare(got, want).pcc > case.pcc
    assert all(torch.equal(value, before[key]) for key, value in stock.state_dict().items())


@pytest.mark.parametrize("name, splits", [(name, splits) for name in ALL for splits in ALL[name].splits])
def test_any_steps_are_the_whole_clip(name, splits, tmp_path):
    """To the last bit, with states of the shapes that it says, also when it goes on from a file."""
    case, _, decoder, each = made(name)
    z = case.clip(decoder, sum(splits))
    want, last = decoder(z, None, *each)
    parts, states = in_steps(decoder, z, splits, *each)
    assert same(case, torch.cat(parts, 2), want)
    assert states[-1].keys() == last.keys() and all(same(case, states[-1][key], last[key]) for key in last)
    ends = [sum(splits[: i + 1]) for i in range(len(splits) - 1)]
    for seen, state in zip(ends, states):
        shapes = {key: tuple(value.shape) for key, value in state.items()}
        assert shapes == decoder.state_shapes(1, *case.size, latents=case.seen(seen))
    save_state(tmp_path / "state.safetensors", states[-2], ends[-1])
    state, seen = load_state(tmp_path / "state.safetensors")
    assert all(value.data_ptr() % 64 == 0 for value in state.values())  # as torch's own lie
    assert same(case, decoder(z[:, :, seen:], state, *each)[0], parts[-1])


@every
@settings(max_examples=10, deadline=None)
@given(frames=st.integers(1, 200), times=st.integers(1, 9))
def test_steps_are_those_that_it_takes(name, frames, times):
    """Its own check is the judge; two programs do, but for what is left at the end."""
    case, _, decoder, each = made(name)
    frames = 6 * frames - 5 if "encoder" in name else frames
    least = decoder.steps(61)[1]
    for steps in (decoder.steps(frames), decoder.steps(frames, least * times)):
        assert sum(steps) == frames and min(steps) >= 1 and len(set(steps[1:-1])) <= 1 + ("encoder" in name)
        state, seen = None, 0
        for count in steps[:2]:
            z, seen = case.clip(decoder, 1).expand(-1, -1, count, -1, -1), seen + count
            decoder.check(z, state, *([True, *each] if each else []))
            shapes = decoder.state_shapes(1, *case.size, latents=case.seen(seen))
            state = {key: torch.empty(shape, dtype=z.dtype) for key, shape in shapes.items()}
    for wrong in ((0, least), (frames, 0), (frames, 1.5), (frames, True)):
        with pytest.raises(Refused):
            decoder.steps(*wrong)


def begun(name):
    """A clip's first step and the rest, the state between them, and what the rest gives."""
    case, _, decoder, each = made(name)
    first, *rest = case.splits[-1]
    z = case.clip(decoder, first + sum(rest))
    _, state = decoder(z[:, :, :first], None, *each, ends=False)
    return case, decoder, each, z[:, :, first:], state


@every
def test_each_part_of_a_state_matters(name):
    """Planted fault: a past that is lost shows in what follows, which depends on each of its parts."""
    _, decoder, each, z, state = begun(name)
    if not state:
        return
    want, _ = decoder(z, copied(state), *each)
    lost = {key: torch.zeros_like(value) for key, value in state.items()}
    assert far(decoder(z, lost, *each)[0], want) > SHOWS
    with torch.enable_grad():
        parts = {key: value.clone().requires_grad_() for key, value in state.items()}
        frames, _ = decoder(z, parts, *each)
        if frames.requires_grad:  # not on the host, nor in TT-NN's ops
            found = torch.autograd.grad(frames.square().sum(), list(parts.values()), allow_unused=True)
            assert all(one is not None and one.abs().max() > SHOWS for one in found)


@every
def test_refuses_latents_and_states_of_something_else(name):
    case, decoder, each, z, state = begun(name)
    for wrong in (z[0], torch.cat([z, z[:, :1]], 1), z[:, :, :0], z.half()):
        with pytest.raises(Refused):
            decoder(wrong, None, *each)
    with pytest.raises(Refused, match="state"):
        decoder(z, copied(state) | {"more": z}, *each)
    if not state:
        return
    # Without its newest part, a state may be that of a clip that has just begun.
    seen = range(1, case.seen(case.splits[-1][0]))
    valid = [decoder.state_shapes(1, *case.size, latents=count).keys() for count in seen]
    wrong = [{k: state[k] for k in state if k != key} for key in state if state.keys() - {key} not in valid]
    wrong += [{}, {k: v.half() for k, v in state.items()}, {k: torch.cat([v, v]) for k, v in state.items()}]
    for latents, kept in [(z.transpose(3, 4), state), *((z, kept) for kept in wrong)]:
        with pytest.raises(Refused, match="state"):
            decoder(latents, copied(kept), *each)


@pytest.mark.parametrize("name", WHOLE)
def test_a_clip_that_is_normalised_as_one_is_taken_whole(name):
    case, _, decoder, _ = made(name)
    z = case.clip(decoder, 3)
    assert decoder.streaming == "none" and decoder.steps(3) == decoder.steps(3, 3) == [3]
    assert decoder(z)[1] == decoder.state_shapes(1, *case.size) == {}
    for state, ends in (({}, True), (None, False)):
        with pytest.raises(Refused, match="all of it at once: .* all (its )?frames"):
            decoder(z, state, ends=ends)
    for wrong in (z[0], torch.cat([z, z[:, :1]], 1), z[:, :, :0], z.half()):
        with pytest.raises(Refused, match="latents"):
            decoder(wrong)
    with pytest.raises(Refused, match="frames_per_step.*2.*all of the clip"):
        decoder.steps(3, 2)


@pytest.mark.parametrize("name", [name for name in ALL if ALL[name].each])
def test_what_belongs_to_a_clip_matters(name):
    case, _, decoder, _ = made(name)
    z = case.clip(decoder, 2, 2)
    (times,) = TIMED["each"]
    assert far(decoder(z, None, times.flip(0))[0], decoder(z, None, times)[0]) > SHOWS
    for wrong in (None, times[:1]):
        with pytest.raises(Refused, match=r"\[2\], a timestep"):
            decoder(z, None, wrong)


def test_a_fault_in_the_last_bit_shows():
    """Planted fault: a weight that is off by a millionth."""
    stock = MOCHI.make()
    decoder = MOCHI.new(stock)
    decoder.proj_out.bias.data += 1e-6
    z = MOCHI.clip(decoder, 1)
    got, want = decoder(z)[0][:, :, decoder.dropped_frames :], MOCHI.stock(stock, z)
    assert far(got, want) > ROUNDING
