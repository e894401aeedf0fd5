"""Nothing silently wrong: what decides on frames is followed, as `vae.decode` has it, or refused by name."""

from functools import partial

import pytest
import torch
from torch import nn

from ttvideo import Refused, compare, for_tiles, native
from ttvideo.decoders.steps import decode_steps
from ttvideo.media.small_autoencoders import SMALL, InFloat64
from ttvideo.media.video_models import load_autoencoder

ROUNDING = 1e-11
FAMILIES = (
    "Mochi", "Wan 2.1", "Wan 2.2", "QwenImage", "CogVideoX", "HunyuanVideo", "HunyuanVideo-1.5", "LTX-Video",
    "LTX-2",
)  # fmt: skip


def latents_for(vae, frames=5, size=(3, 4)):
    channels = vae.config.get("z_dim") or vae.config.latent_channels
    return torch.randn(1, channels, frames, *size, generator=torch.Generator().manual_seed(0)).to(
        vae.decoder.parameters().__next__().dtype
    )


@torch.no_grad()
def check_equal(vae, z, tolerance=ROUNDING):
    """At once and in steps."""
    with InFloat64():
        want = vae.decode(z).sample
    decoder = for_tiles(vae)
    in_steps = torch.cat([frames for frames, _ in decode_steps(decoder, z)], 2)
    for got in (decoder(z)[0], in_steps):
        assert compare(got[:, :, decoder.dropped_frames :], want).max_abs <= tolerance


@pytest.mark.parametrize("name", FAMILIES)
def test_an_autoencoder_is_as_it_was_built_also_after_it_was_used(name):
    vae = SMALL[name].make()
    z = latents_for(vae, 3)
    vae.enable_slicing()
    for _ in range(2):
        check_equal(vae, z)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("frames", [1, 2, 3, 5, 8])
def test_cogvideox_normalises_as_many_latent_frames_together_as_it_is_told(count, frames):
    vae = SMALL["CogVideoX"].make()
    vae.num_latent_frames_batch_size = count
    check_equal(vae, latents_for(vae, frames))


@pytest.mark.parametrize("rewritten", [for_tiles, native])
@pytest.mark.parametrize("drops", [True, False])
def test_mochis_first_frames_are_kept_where_its_autoencoder_keeps_them(rewritten, drops):
    vae = SMALL["Mochi"].make()
    vae.drop_last_temporal_frames = drops
    assert rewritten(vae).dropped_frames == (5 if drops else 0)


@pytest.mark.parametrize("count", [1, 4])
def test_the_demo_of_cogvideox_too(count):
    vae = load_autoencoder("cogvideox-demo").double()
    vae.num_latent_frames_batch_size = count
    check_equal(vae, latents_for(vae))


def at(path, **settings):
    def change(vae):
        for name, value in settings.items():
            setattr(vae.get_submodule(path), name, value)

    return change


def seamless(vae):
    """As for tiled textures: all convolutions, after loading."""
    for module in vae.decoder.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            module.padding_mode = "circular"


def doubled(vae, path="decoder.conv_in"):
    part = vae.get_submodule(path)
    part.forward = partial(lambda forward, x, *rest, **named: forward(2 * x, *rest, **named), part.forward)


def decodes_otherwise(vae):
    vae.decode = lambda z: z


CHANGES = {
    "circular padding": (seamless, "circular"),
    "a forward of its own": (doubled, "decoder.conv_in: got its forward was replaced"),
    "a hook": (
        lambda vae: vae.decoder.conv_in.register_forward_hook(lambda module, given, out: None),
        "decoder.conv_in: got it carries hooks .lambda",
    ),
    "a hook before": (
        lambda vae: vae.decoder.register_forward_pre_hook(lambda module, given: None),
        "decoder: got it carries hooks .lambda",
    ),
    "an activation": (lambda vae: setattr(vae.decoder, ACTIVATION[type(vae).__name__], nn.ReLU()), "ReLU"),
}
ACTIVATION = {"AutoencoderKLWan": "nonlinearity", "AutoencoderKLCogVideoX": "conv_act"}


@pytest.mark.parametrize("model", ["wan-demo", "cogvideox-demo"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_after_loading_is_refused_by_name(change, model):
    vae, (make, need) = load_autoencoder(model), CHANGES[change]
    make(vae)
    with pytest.raises(Refused, match=need):
        for_tiles(vae)
    if change != "an activation":
        with pytest.raises(Refused, match=need.split(": ")[-1]):
            for_tiles(vae.decoder)


@pytest.mark.parametrize(
    "name, change, need",
    [
        ("Mochi", at("", use_framewise_decoding=True), "use_framewise_decoding: got True, need False"),
        ("Mochi", at("decoder.block_in.resnets.0.norm1.norm_layer", eps=1e-2), "norm_layer.eps: got 0.01"),
        ("Wan 2.1", decodes_otherwise, "AutoencoderKLWan: got its decode was replaced"),
        (
            "Wan 2.1",
            at("decoder.up_blocks.0.upsamplers.0", mode="upsample2d"),
            "upsamplers.0.mode: got upsample2d",
        ),
        ("HunyuanVideo", at("decoder.mid_block.attentions.0", processor=nn.Identity()), "processor"),
        ("HunyuanVideo-1.5", at("decoder.conv_in", pad_mode="constant"), "pad_mode|replicate"),
        ("LTX-Video", at("", use_framewise_decoding=True), "use_framewise_decoding"),
        ("LTX-2", at("decoder.norm_out", eps=1.0), "norm_out.eps"),
        ("QwenImage", at("post_quant_conv", _padding=(1, 1, 1, 1, 0, 0)), "post_quant_conv._padding"),
        ("CogVideoX", at("", num_latent_frames_batch_size=0), "num_latent_frames_batch_size: got 0"),
    ],
)
def test_a_setting_that_the_familys_file_does_not_follow_is_refused_by_name(name, change, need):
    vae = SMALL[name].make()
    change(vae)
    with pytest.raises(Refused, match=need):
        for_tiles(vae)


def test_what_decode_does_not_call_is_of_no_concern():
    """As where a pipeline's models are brought to the device when they are called."""
    vae = SMALL["Wan 2.1"].make()
    vae.forward = lambda *given: None
    vae.register_forward_hook(lambda module, given, out: None)
    vae.encoder.conv_in.register_forward_hook(lambda module, given, out: 2 * out)
    vae.tile_sample_min_height = 128
    check_equal(vae, latents_for(vae))


@pytest.mark.parametrize("name", ["Mochi", "Wan 2.1", "Wan 2.2", "CogVideoX", "HunyuanVideo-1.5"])
def test_weights_cast_at_each_call_are_those_that_are_computed_with(name):
    """`enable_layerwise_casting` leaves norms, and what its patterns name, in their own type."""
    vae = SMALL[name].make()
    vae.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float64)
    stored = {name: weight.dtype for name, weight in vae.named_parameters()}
    assert {torch.float8_e4m3fn, torch.float64} == set(stored.values())
    check_equal(vae, latents_for(vae).double())
    assert {name: weight.dtype for name, weight in vae.named_parameters()} == stored


def test_each_part_keeps_its_type():
    vae = SMALL["Mochi"].make().bfloat16()
    for module in vae.decoder.modules():
        if isinstance(module, nn.GroupNorm):
            module.float()
            module.weight.data += 0.001
    decoder = for_tiles(vae)
    norms = {weight.dtype for name, weight in decoder.named_parameters() if "norm" in name}
    assert norms == {torch.float32} and decoder.conv_in.weight.dtype == torch.bfloat16
    with torch.no_grad():
        z = latents_for(vae, 2)
        assert compare(decoder(z)[0][:, :, decoder.dropped_frames :], vae.decode(z).sample).pcc > 0.999
