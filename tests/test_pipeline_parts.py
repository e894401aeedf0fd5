"""The parts around the VAE: the rewritten transformer block is the stock one, and what is stored adds up."""

import pytest
import torch

from lib.next_part import in_tiles
from ttvideo import Refused, compare
from ttvideo.media.pipeline_parts import SMALL, make_part
from ttvideo.media.small_autoencoders import InFloat64


def outputs(name):
    module, inputs = make_part(name, SMALL, torch.float64)
    with torch.no_grad(), InFloat64():
        return module(*(x.double() for x in inputs))


@pytest.mark.parametrize("way", ["written out", "fused", "in chunks"])
def test_each_way_is_the_stock_block(way, monkeypatch):
    monkeypatch.setattr("ttvideo.media.pipeline_parts.CHUNK", 32)  # of 80 queries: the last is shorter
    want, got = outputs("block, stock"), outputs(f"block, {way}")
    assert all(compare(a, b).max_abs < 1e-9 for a, b in zip(got, want, strict=True))


def test_weights_are_stored_in_whole_tiles():
    assert in_tiles([(33, 32)], "bf16") == 2 * 2048
    assert in_tiles([(32, 32)], "bf8") == 1088 and in_tiles([(2, 32, 32)], "bf4") == 2 * 576


def test_refuses_what_there_is_none_of():
    for name in ("decoder", "block, otherwise"):
        with pytest.raises(Refused):
            make_part(name, SMALL)
