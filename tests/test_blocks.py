"""Blocks by time: the command that chooses them, and what a decoder's steady step has of convolutions."""

import json

import diffusers
import pytest
import torch

from ttvideo.command import main
from ttvideo.decoders.conv_sizes import conv_sizes, model_rows
from ttvideo.decoders.families import for_tiles
from ttvideo.decoders.native import NativeDecoder
from ttvideo.media.video_models import MODELS
from ttvideo.programs.conv3d_blocks import Size
from ttvideo.programs.seconds.blocks import NEAR, choose, ranked

SIZE = Size((1, 60, 106), 768, 768, (3, 3, 3), (0, 1, 1))


def test_the_first_has_few_bytes_near_the_least_time_and_no_time_is_under_the_roofline():
    found = ranked(SIZE, "n150", "hifi3")
    soonest = min(found, key=lambda choice: choice.us)
    least = soonest.us
    near, far = ([c for c in found if (c.us <= NEAR * least) == is_near] for is_near in (True, False))
    assert found == (*near, *far) and len(far) > 100
    weighed = [c.us * c.dram_bytes for c in near]
    assert weighed == sorted(weighed) and near[0].us > least and near[0].dram_bytes < soonest.dram_bytes
    assert [c.us for c in far] == sorted(c.us for c in far)
    assert choose(SIZE, "n150") == found[0].blocks
    two, three = (ranked(SIZE, "p150", fidelity) for fidelity in ("hifi2", "hifi3"))
    assert two[0].us < three[0].us < found[0].us
    for choice in found + two + three:
        assert choice.floor_us <= choice.low_us < choice.us < choice.high_us


def test_a_steady_step_has_the_convolutions_that_the_native_decoder_writes():
    """Found by calling the decoder for tiles, of which pairs of frames are one; beside a program made in
    another way."""
    model = MODELS["Mochi"]
    with torch.device("meta"):
        vae = diffusers.AutoencoderKLMochi()
    native, written = NativeDecoder(vae), {}
    _, steady, *_ = steps = native.steps(model.latents[2])
    sizes = conv_sizes(for_tiles(vae), model.latents, steps)
    for op in native.step((steady, 60, 106), False, "p150").program.main.ops:
        if op.name == "ttnn.conv3d" and op.attributes["kernel_size"] == [3, 3, 3]:
            out = op.results[0].type.shape
            key = tuple(out[1:4]), op.attributes["in_channels"], op.attributes["out_channels"]
            written[key] = written.get(key, 0) + 1
    assert {(size.out, size.c_in, size.c_out): len(names) for size, names in sizes.items()} == written


@pytest.mark.parametrize("name", MODELS)
def test_every_family_has_its_convolutions(name):
    """As many as the decoder has, but pointwise ones."""
    model = MODELS[name]
    with torch.device("meta"):
        vae = getattr(diffusers, model.autoencoder)(**model.config)
    sizes = conv_sizes(for_tiles(vae), model.latents)
    assert all(size.kernel != (1, 1, 1) and size.c_in % 32 == size.c_out % 32 == 0 for size in sizes)
    convs = (m for m in vae.decoder.modules() if isinstance(m, (torch.nn.Conv3d, torch.nn.Conv2d)))
    stock = sum(max(conv.kernel_size) > 1 for conv in convs)
    assert len({one for names in sizes.values() for one in names}) == stock  # a shortcut may be one


def test_a_models_table_has_the_best_blocks_of_each():
    first, *_ = model_rows(MODELS["LTX-2"], "n150", "hifi3")
    size = Size((1, 16, 24), 128, 1024, (3, 3, 3), (0, 1, 1))
    assert first["convolutions"] == ["conv_in"] and first["us"] == ranked(size, "n150", "hifi3")[0].us


def test_the_command_prints_what_ttnn_takes(capsys):
    asked = ["blocks", "1x60x106", "768", "768", "--best", "2"]
    assert main([*asked, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 2 and rows[0]["us"] <= NEAR * rows[1]["us"] and rows[0]["binds"]
    assert main(asked) == 0
    text = capsys.readouterr().out
    assert f"T_out_block={rows[0]['t_out_block']}, H_out_block={rows[0]['h_out_block']}" in text


@pytest.mark.parametrize(
    "asked, says",
    [
        ("3x120 64 64", "TxHxW: got '3x120', need three numbers"),
        ("", "TxHxW: got None"),
        ("3x8x8 48 64", "got 48 to 64 channels, need multiples of 32"),
        ("3x8x8 64 64 --kernel 3x3", "--kernel: got '3x3'"),
        ("1x1x1 64 64 --kernel 1x1x1 --padding 0x1x1", "need sizes and channels of at least 1"),
        ("3x8x8 64 64 --best 0", "need sizes and channels of at least 1"),
        ("--all sora", "model: got 'sora', need one of Mochi"),
    ],
)
def test_what_is_no_convolution_is_refused_in_a_line(asked, says, capsys):
    assert main(["blocks", *asked.split()]) == 2
    told = capsys.readouterr()
    assert says in told.err and told.err.count("\n") == 1 and not told.out
