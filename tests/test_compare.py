"""Closeness of clips that come in pieces is that of the whole."""

import pytest
import torch

from ttvideo import Refused, compare
from ttvideo.basics.compare import RunningComparison, psnr_by_frame


def pieces(noise, offset=0.0):
    want = torch.randn(1, 3, 7, 4, 5, generator=torch.Generator().manual_seed(0)).double() + offset
    return want + noise * torch.randn_like(want), want


@pytest.mark.parametrize("noise, offset", [(0.1, 0.0), (1e-3, 50.0), (2.0, 0.0)])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_in_pieces_as_in_one(noise, offset, size):
    got, want = pieces(noise, offset)
    running = RunningComparison()
    for a, b in zip(got.split(size, dim=2), want.split(size, dim=2)):
        assert running.add(a, b) == compare(a, b)
    whole = compare(got, want)
    assert running.closeness.max_abs == whole.max_abs
    assert running.closeness.psnr_db == pytest.approx(whole.psnr_db)
    assert running.closeness.pcc == pytest.approx(whole.pcc, abs=1e-9)


def test_equal_pieces_and_none():
    running = RunningComparison()
    with pytest.raises(Refused, match="no pieces"):
        running.closeness
    _, want = pieces(0)
    running.add(want, want)
    assert (running.closeness.pcc, running.closeness.psnr_db) == (1.0, float("inf"))
    with pytest.raises(Refused, match="NaN"):
        running.add(want * float("nan"), want)


def test_each_frame_is_compared_with_its_own():
    clip = torch.zeros(1, 3, 2, 4, 4)
    off = clip.clone()
    off[:, :, 1] = 0.2
    first, second = psnr_by_frame(off, clip)
    assert first == float("inf") and second == pytest.approx(20.0)
    with pytest.raises(Refused):
        psnr_by_frame(off, clip[:, :, :1])
