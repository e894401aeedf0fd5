"""The parts around the VAE: the rewritten transformer block is the stock one, and what is stored adds up."""

import pytest
import torch

from lib.next_part import in_tiles
from ttvideo import Refused, compare
from ttvideo.media.pipeline_parts import FULL, SMALL, make_part
from ttvideo.media.small_autoencoders import InFloat64


def outputs(name):
    module, inputs = make_part(name, SMALL, torch.float64)
    with torch.no_grad(), InFloat64():
        return module, module(*(x.double() for x in inputs))


@pytest.mark.parametrize("way", ["written out", "fused", "in chunks"])
def test_each_way_is_the_stock_block(way, monkeypatch):
    monkeypatch.setattr("ttvideo.media.pipeline_parts.CHUNK", 32)  # of 80 queries: the last is shorter
    _, want = outputs("block, stock")
    _, got = outputs(f"block, {way}")
    assert all(compare(a, b).max_abs < 1e-9 for a, b in zip(got, want, strict=True))


def test_a_head_in_another_order_shows():
    module, want = outputs("block, in chunks")
    q = module.block.attn1.to_q.weight.data
    q[:64] = torch.cat([q[:32].flip(0), q[32:64]])
    _, inputs = make_part("block, in chunks", SMALL, torch.float64)
    with torch.no_grad():
        assert compare(module(*inputs)[0], want[0]).max_abs > 1e-4


def test_sizes_are_the_pipelines():
    assert FULL.visual == 44_520 and FULL.tokens == 256 and FULL.width == 3072


def test_weights_are_stored_in_whole_tiles():
    assert in_tiles([(33, 32)], "bf16") == 2 * 2048
    assert in_tiles([(32, 32)], "bf8") == 1088 and in_tiles([(2, 32, 32)], "bf4") == 2 * 576


def test_refuses_what_there_is_none_of():
    for name in ("decoder", "block, otherwise"):
        with pytest.raises(Refused):
            make_part(name, SMALL)
