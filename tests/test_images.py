"""Decoders of images for tiles: as they come, in bands, and what is refused (tests/test_streaming.py has the
rest)."""

import pytest
import torch
from diffusers.models.attention_processor import SpatialNorm
from torch import nn

from ttvideo import Refused, compare, for_tiles
from ttvideo.decoders.attention import bands_of
from ttvideo.decompositions.decompose import decompose
from ttvideo.media.small_autoencoders import SMALL_IMAGES

every = pytest.mark.parametrize("name", SMALL_IMAGES)


def latents(decoder, *size):
    shape = 2, decoder.latent_channels, *size
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@every
@torch.no_grad()
def test_takes_images_as_the_autoencoder_does(name):
    vae = SMALL_IMAGES[name].make()
    decoder = for_tiles(vae)
    z = latents(decoder, 3, 5)
    image, state = decoder(z)
    assert compare(image, vae.decode(z).sample).max_abs < 1e-12 and state == {}
    assert torch.equal(for_tiles(vae.decoder)(z)[0], image) == (getattr(vae, "post_quant_conv", None) is None)


@torch.no_grad()
def test_bands_of_queries_change_nothing(monkeypatch):
    decoder = for_tiles(SMALL_IMAGES["FLUX"].make())
    z = latents(decoder, 8, 12)
    want, _ = decoder(z)
    monkeypatch.setattr("ttvideo.decoders.attention.BAND_VALUES", 32 * 96)
    assert len(bands_of(96, 96, 1)) == 3
    assert compare(decoder(z)[0], want).max_abs < 1e-12


@pytest.mark.parametrize("side, count", [(64, 1), (128, 1), (192, 6)])
def test_scores_at_each_size_are_half_a_gigabyte_at_most(side, count):
    """Of 512, 1024 and 1536 pixels a side."""
    assert len(bands_of(side**2, side**2, 1)) == count


def test_nothing_is_to_be_decomposed():
    with pytest.raises(Refused, match="nothing to replace"):
        decompose(SMALL_IMAGES["FLUX"].make())


def seamless(vae):
    """As is set after loading, for textures that repeat."""
    for module in vae.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = "circular"


def changed(**attributes):
    def change(vae):
        for path, value in attributes.items():
            *parent, name = path.split("__")
            setattr(vae.get_submodule(".".join(parent)), name, value)

    return change


RESNET = "decoder__mid_block__resnets__0__"


@pytest.mark.parametrize(
    "name, change, need",
    [
        ("FLUX", seamless, "zeros"),
        ("Tiny", seamless, "zeros"),
        ("FLUX", changed(decoder__conv_norm_out=SpatialNorm(32, 8)), "GroupNorm and SiLU"),
        ("FLUX", changed(decoder__conv_act=nn.ReLU()), "GroupNorm and SiLU"),
        ("FLUX", changed(**{RESNET + "nonlinearity": nn.ReLU()}), "GroupNorm and SiLU"),
        ("FLUX", changed(**{RESNET + "output_scale_factor": 2.0}), "divided by 1"),
        ("FLUX", changed(decoder__up_blocks__0__upsamplers__0__interpolate=False), "nearest"),
        ("FLUX", changed(decoder__mid_block__attentions__0__heads=2), "1 head"),
        ("Tiny", changed(decoder__layers__1=nn.Sigmoid()), "the activation Sigmoid"),
        ("Tiny", changed(decoder__layers__3__mode="bilinear"), "nearest"),
    ],
)
def test_refuses_another_architecture(name, change, need):
    vae = SMALL_IMAGES[name].make()
    change(vae)
    with pytest.raises(Refused, match=need):
        for_tiles(vae)
