"""Clips come from their seeds alone, stay in range, and refuse what can't be drawn."""

import pytest
import torch

from ttvideo.media import clips


@pytest.mark.parametrize("kind", ["seen", "unseen"])
def test_same_seed_same_clip(kind):
    one, two = (clips.clip(7, 7, 32, 40, kind) for _ in range(2))
    assert one.shape == (3, 7, 32, 40) and one.dtype == torch.float32
    assert torch.equal(one, two)
    assert not torch.equal(one, clips.clip(8, 7, 32, 40, kind))


def test_a_longer_clip_begins_as_the_shorter_one():
    assert torch.allclose(clips.clip(3, 13)[:, :7], clips.clip(3, 7), atol=1 / 127)


@pytest.mark.parametrize("seed", range(3))
def test_values_are_eight_bit_in_range_and_something_happens(seed):
    x = clips.clip(seed, 13)
    levels = (x + 1) * 127.5
    assert x.min() >= -1 and x.max() <= 1 and torch.allclose(levels, levels.round(), atol=1e-3)
    assert x.std() > 0.1, "a flat picture"
    assert (x[:, -1] - x[:, 0]).square().mean() > 0.005, "nothing moves"


def test_demo_clip_reads_at_other_sizes():
    small, large = clips.demo_clip(), clips.demo_clip(7, 128, 128)
    assert small.shape == (3, 19, 64, 64) and large.shape == (3, 7, 128, 128)
    halved = torch.nn.functional.avg_pool2d(large[:, 0], 2)
    assert (halved - small[:, 0]).abs().mean() < 0.02


def test_training_never_sees_a_held_out_seed():
    seeds = [seed for row in clips.HELD_OUT.values() for seed in row["seeds"]]
    assert len(seeds) == len(set(seeds)) and max(seeds) < clips.FIRST_TRAINING_SEED
    for what in (clips.SHAPES, clips.LETTERS):
        assert not set(what["seen"]) & set(what["unseen"])


@pytest.mark.parametrize(
    "name, value",
    [("frames", 0), ("height", 4), ("width", 64.0), ("seed", -1), ("seed", "1"), ("kind", "real")],
)
def test_impossible_values_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name}: got {value!r}, need"):
        clips.clip(**{"seed": 0, name: value})
    with pytest.raises(ValueError, match="other seeds"):
        clips.held_out("everything")
