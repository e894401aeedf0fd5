"""The stored findings are of what the code says, and of all of it."""

from dataclasses import fields

import torch
from diffusers import AutoencoderKLMochi
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d
from torch import nn

from lib.decoders.mochi import Rewrites
from lib.notebook.stored import stored, stored_ways
from lib.ways.convolutions import CONVOLUTIONS
from lib.ways.measure import candidates


def form(conv: nn.Module) -> tuple:
    conv = conv.conv if isinstance(conv, CogVideoXCausalConv3d) else conv
    return conv.kernel_size, conv.stride, conv.in_channels, conv.out_channels


def test_kernels_are_those_of_mochi():
    """Every distinct Conv3d of the decoder, and every one of the encoder that strides."""
    with torch.device("meta"):
        vae = AutoencoderKLMochi()
    convs = {name: module for name, module in vae.named_modules() if isinstance(module, nn.Conv3d)}
    mochi = {form(m) for name, m in convs.items() if name.startswith("decoder") or m.stride != (1, 1, 1)}
    assert mochi == {form(k.make()) for name, k in CONVOLUTIONS.items() if name.startswith(("decoder", "encoder"))}


def test_stored_ways_are_all_that_apply():
    found = {}
    for row in stored_ways():
        found.setdefault(row.kernel, set()).add(row.way.split(",")[0])
    assert found.keys() == CONVOLUTIONS.keys()
    for name in ("decoder 3×3×3, 128", "encoder 2×2×2, 128 to 256", "flat in space 3×1×1, 128"):
        assert found[name] == {way.split(",")[0] for way in candidates(CONVOLUTIONS[name].make())}


def test_the_stored_costs_are_of_every_rewrite():
    step, clip = stored("decoder_cost")
    without = {name.removeprefix("tiles without ") for name in step["cases"] if name.startswith("tiles without")}
    assert without == {field.name for field in fields(Rewrites)}
    assert {case["status"] for result in (step, clip) for case in result["cases"].values()} == {"pass"}


def test_the_stored_run_at_full_resolution_went_through():
    run = stored("full_resolution")
    assert run["shape"] == [1, 12, len(run["steps"]), 60, 106]
    assert run["steps"][-1]["compiled_programs"] == 2
    assert {step["stage"] for step in run["steps"]} == {"run"}
