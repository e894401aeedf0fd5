"""Nothing silently wrong: what decides on frames is followed, as `vae.decode` has it, or refused by name."""

from functools import partial

import pytest
import torch
from diffusers.models.attention_processor import SpatialNorm
from seeded import seeded
from streamed import of
from torch import nn

from ttvideo import Refused, compare, for_tiles, native
from ttvideo.decoders.steps import decode_steps
from ttvideo.media.small_autoencoders import SMALL, SMALL_IMAGES, InFloat64
from ttvideo.media.video_models import MODELS, load_autoencoder

ROUNDING = 1e-11
EVERY = SMALL | SMALL_IMAGES


def latents_for(vae, frames=5, size=(3, 4)):
    channels = vae.config.get("z_dim") or vae.config.latent_channels
    return seeded(1, channels, frames, *size, dtype=next(vae.decoder.parameters()).dtype)


@torch.no_grad()
def check_equal(vae, z, tolerance=ROUNDING):
    """At once and in steps."""
    with InFloat64():
        want = vae.decode(z).sample
    decoder = for_tiles(vae)
    in_steps = torch.cat([frames for frames, _ in decode_steps(decoder, z)], 2)
    for got in (decoder(z)[0], in_steps):
        assert compare(got[:, :, decoder.dropped_frames :], want).max_abs <= tolerance


@pytest.mark.parametrize("name", [*MODELS, "QwenImage"])
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
}


@pytest.mark.parametrize("model", ["wan-demo", "cogvideox-demo"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_after_loading_is_refused_by_name(change, model):
    vae, (make, need) = load_autoencoder(model), CHANGES[change]
    make(vae)
    with pytest.raises(Refused, match=need):
        for_tiles(vae)
    with pytest.raises(Refused, match=need.split(": ")[-1]):
        for_tiles(vae.decoder)


LTX = dict(decoder_causal=True, decoder_block_out_channels=(8, 16))  # with shortcuts
HUNYUANS = "HunyuanVideo", "HunyuanVideo-1.5"
STRIDED, RELU, MID = (1, 2, 2), nn.ReLU(), "decoder.mid_block.resnets.0."
# An autoencoder, or what makes one; what is set of it, or done to it, after loading; what is said.
REFUSED = [
    *((name, lambda vae: vae.enable_tiling(), "disable_tiling") for name in [*MODELS, "QwenImage"]),
    ("Mochi", {"use_framewise_decoding": True}, "use_framewise_decoding: got True, need False"),
    ("Mochi", {"decoder.block_in.resnets.0.norm1.norm_layer.eps": 1e-2}, "norm_layer.eps: got 0.01"),
    ("Wan 2.1", decodes_otherwise, "AutoencoderKLWan: got its decode was replaced"),
    ("Wan 2.1", {"decoder.up_blocks.0.upsamplers.0.mode": "upsample2d"}, "upsamplers.0.mode: got upsample2d"),
    ("Wan 2.1", {"decoder.nonlinearity": RELU}, "ReLU"),
    ("CogVideoX", {"decoder.conv_act": RELU}, "ReLU"),
    ("Wan 2.1", {"decoder.conv_in.stride": STRIDED}, r"stride \(1, 1, 1\)"),
    ("QwenImage", {"post_quant_conv._padding": (1, 1, 1, 1, 0, 0)}, "post_quant_conv._padding"),
    ("CogVideoX", {"num_latent_frames_batch_size": 0}, "num_latent_frames_batch_size: got 0"),
    ("CogVideoX", {"decoder.conv_in.pad_mode": "replicate"}, "not replicate"),
    *((name, {"decoder.up_blocks.0.resnets.0.conv1.pad_mode": "constant"}, "got constant")
      for name in HUNYUANS),
    *((name, {"decoder.conv_out.conv.stride": STRIDED}, r"stride \(1, 1, 1\)") for name in HUNYUANS),
    *((name, {MID + "nonlinearity": RELU}, "SiLU") for name in HUNYUANS),
    ("HunyuanVideo", {"decoder.mid_block.attentions.0.processor": nn.Identity()}, "processor"),
    ("HunyuanVideo", {"decoder.mid_block.attentions.0.heads": 2}, "1 head"),
    ("HunyuanVideo", {"decoder.up_blocks.0.upsamplers.0.upsample_factor": (3, 2, 2)}, "1 or 2 in time"),
    ("HunyuanVideo", {"tile_sample_min_num_frames": 32}, "half the first"),
    ("HunyuanVideo-1.5", {"decoder.conv_in.pad_mode": "constant"}, "pad_mode|replicate"),
    ("HunyuanVideo-1.5", {"decoder.up_blocks.0.upsamplers.0.repeats": 3}, "as many outputs"),
    ("LTX-Video", {"use_framewise_decoding": True}, "use_framewise_decoding"),
    (of("LTX-Video", **LTX, decoder_inject_noise=(True, False, False)), {}, "drawn anew"),
    (of("LTX-Video", **LTX), {"decoder.conv_out.is_causal": False}, "conv_in's"),
    (of("LTX-Video", **LTX), {"decoder.patch_size_t": 2}, "1 frame"),
    (of("LTX-Video", **LTX), {"decoder.conv_in.conv.stride": STRIDED}, r"stride \(1, 1, 1\)"),
    (of("LTX-Video", **LTX), {"decoder.conv_in.conv.padding_mode": "circular"}, "zeros or reflect"),
    (of("LTX-Video", **LTX, timestep_conditioning=True), {}, "diffusers itself"),
    (of("LTX-Video", **LTX), {"decoder.conv_act": nn.GELU()}, "SiLU"),
    ("LTX-2", {"decoder.norm_out.eps": 1.0}, "norm_out.eps"),
    ("LTX-2", {"decoder.up_blocks.0.upsamplers.0.stride": (2, 2, 1)}, "alike"),
    ("FLUX", seamless, "zeros"),
    ("FLUX", {"decoder.conv_norm_out": SpatialNorm(32, 8)}, "GroupNorm and SiLU"),
    ("FLUX", {"decoder.conv_act": RELU}, "GroupNorm and SiLU"),
    ("FLUX", {MID + "nonlinearity": RELU}, "GroupNorm and SiLU"),
    ("FLUX", {MID + "output_scale_factor": 2.0}, "divided by 1"),
    ("FLUX", {"decoder.up_blocks.0.upsamplers.0.interpolate": False}, "nearest"),
    ("FLUX", {"decoder.mid_block.attentions.0.heads": 2}, "1 head"),
    ("Tiny", seamless, "zeros"),
    ("Tiny", {"decoder.layers.1": nn.Sigmoid()}, "the activation Sigmoid"),
    ("Tiny", {"decoder.layers.3.mode": "bilinear"}, "nearest"),
]  # fmt: skip


@pytest.mark.parametrize("make, change, need", REFUSED)
def test_a_setting_that_the_familys_file_does_not_follow_is_refused_by_name(make, change, need):
    vae = EVERY[make].make() if isinstance(make, str) else make()
    if callable(change):
        change(vae)
    else:
        for path, value in change.items():
            part, _, name = path.rpartition(".")
            setattr(vae.get_submodule(part), name, value)
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
