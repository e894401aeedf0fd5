"""Which module for tiles stands for which of diffusers' decoders, and what it takes of an autoencoder.

The family of the same decoder in TT-NN's ops takes the same (`ttvideo.decoders.native`).
"""

from collections.abc import Callable
from dataclasses import dataclass

from diffusers import (
    AutoencoderKL,
    AutoencoderKLCogVideoX,
    AutoencoderKLCosmos,
    AutoencoderKLFlux2,
    AutoencoderKLHunyuanImage,
    AutoencoderKLHunyuanImageRefiner,
    AutoencoderKLHunyuanVideo,
    AutoencoderKLHunyuanVideo15,
    AutoencoderKLKVAEVideo,
    AutoencoderKLLTX2Video,
    AutoencoderKLLTXVideo,
    AutoencoderKLMagvit,
    AutoencoderKLMochi,
    AutoencoderKLQwenImage,
    AutoencoderKLTemporalDecoder,
    AutoencoderKLWan,
    AutoencoderTiny,
    Kandinsky6SRVAE,
)
from diffusers.models.autoencoders.autoencoder_kandinsky6_sr import Kandinsky6SRDecoder3D
from diffusers.models.autoencoders.autoencoder_kl_allegro import AllegroDecoder3D
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXDecoder3D
from diffusers.models.autoencoders.autoencoder_kl_cosmos import CosmosDecoder3d
from diffusers.models.autoencoders.autoencoder_kl_hunyuan_video import HunyuanVideoDecoder3D
from diffusers.models.autoencoders.autoencoder_kl_hunyuanimage import HunyuanImageDecoder2D
from diffusers.models.autoencoders.autoencoder_kl_hunyuanimage_refiner import HunyuanImageRefinerDecoder3D
from diffusers.models.autoencoders.autoencoder_kl_hunyuanvideo15 import HunyuanVideo15Decoder3D
from diffusers.models.autoencoders.autoencoder_kl_kvae_video import KVAECachedDecoder3D
from diffusers.models.autoencoders.autoencoder_kl_ltx import LTXVideoDecoder3d
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import LTX2VideoDecoder3d
from diffusers.models.autoencoders.autoencoder_kl_magvit import EasyAnimateDecoder
from diffusers.models.autoencoders.autoencoder_kl_mochi import MochiDecoder3D, MochiEncoder3D
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageDecoder3d
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import TemporalDecoder
from diffusers.models.autoencoders.autoencoder_kl_wan import WanDecoder3d
from diffusers.models.autoencoders.vae import Decoder, DecoderTiny
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.decoders.as_built import as_computed, check_as_built
from ttvideo.decoders.cogvideox import CogVideoXTileDecoder
from ttvideo.decoders.cosmos import CosmosTileDecoder
from ttvideo.decoders.hunyuan import HunyuanVideoTileDecoder, framewise
from ttvideo.decoders.hunyuan15 import HunyuanVideo15TileDecoder
from ttvideo.decoders.hunyuan_image import HunyuanImageRefinerTileDecoder, HunyuanImageTileDecoder
from ttvideo.decoders.image import ImageTileDecoder, TinyTileDecoder
from ttvideo.decoders.kvae import Kandinsky6TileDecoder, KVAETileDecoder
from ttvideo.decoders.ltx import LTXTileDecoder, whole_clips
from ttvideo.decoders.magvit import MagvitTileDecoder
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.decoders.mochi_encoder import TileEncoder
from ttvideo.decoders.temporal import AllegroTileDecoder, StableVideoTileDecoder
from ttvideo.decoders.wan import WanTileDecoder


def with_quant(vae: nn.Module) -> tuple:
    return vae.decoder, vae.post_quant_conv


def in_chunks(vae: nn.Module) -> tuple:
    return *with_quant(vae), vae.num_latent_frames_batch_size


def clamped(vae: nn.Module) -> tuple:
    return *with_quant(vae), True, vae.config.get("patch_size") or 1


@dataclass(frozen=True)
class Rewrite:
    """A decoder of diffusers' (or an encoder), what stands for it, the autoencoders that have it, and what is
    taken of one."""

    stock: type[nn.Module]
    tiles: type[nn.Module]
    autoencoders: tuple[type[nn.Module], ...] = ()
    parts: Callable[[nn.Module], tuple] = lambda vae: (vae.decoder,)

    def arguments(self, model: nn.Module) -> tuple:
        """What the rewrite is made of: a decoder itself, or of an autoencoder its parts and settings."""
        return (model,) if type(model) is self.stock else self.parts(model)


REWRITES = (
    Rewrite(
        MochiDecoder3D,
        TileDecoder,
        (AutoencoderKLMochi,),
        lambda vae: (vae.decoder, vae.drop_last_temporal_frames),
    ),
    Rewrite(WanDecoder3d, WanTileDecoder, (AutoencoderKLWan,), clamped),
    Rewrite(QwenImageDecoder3d, WanTileDecoder, (AutoencoderKLQwenImage,), clamped),
    Rewrite(CogVideoXDecoder3D, CogVideoXTileDecoder, (AutoencoderKLCogVideoX,), in_chunks),
    Rewrite(
        HunyuanVideoDecoder3D,
        HunyuanVideoTileDecoder,
        (AutoencoderKLHunyuanVideo,),
        lambda vae: (*with_quant(vae), framewise(vae)),
    ),
    Rewrite(HunyuanVideo15Decoder3D, HunyuanVideo15TileDecoder, (AutoencoderKLHunyuanVideo15,)),
    Rewrite(LTXVideoDecoder3d, LTXTileDecoder, (AutoencoderKLLTXVideo,), lambda vae: (whole_clips(vae),)),
    Rewrite(LTX2VideoDecoder3d, LTXTileDecoder, (AutoencoderKLLTX2Video,), lambda vae: (whole_clips(vae),)),
    Rewrite(CosmosDecoder3d, CosmosTileDecoder, (AutoencoderKLCosmos,), with_quant),
    Rewrite(EasyAnimateDecoder, MagvitTileDecoder, (AutoencoderKLMagvit,), in_chunks),
    Rewrite(HunyuanImageDecoder2D, HunyuanImageTileDecoder, (AutoencoderKLHunyuanImage,)),
    Rewrite(
        HunyuanImageRefinerDecoder3D, HunyuanImageRefinerTileDecoder, (AutoencoderKLHunyuanImageRefiner,)
    ),
    Rewrite(KVAECachedDecoder3D, KVAETileDecoder, (AutoencoderKLKVAEVideo,)),
    Rewrite(Kandinsky6SRDecoder3D, Kandinsky6TileDecoder, (Kandinsky6SRVAE,)),
    Rewrite(TemporalDecoder, StableVideoTileDecoder, (AutoencoderKLTemporalDecoder,)),
    Rewrite(AllegroDecoder3D, AllegroTileDecoder),
    Rewrite(Decoder, ImageTileDecoder, (AutoencoderKL, AutoencoderKLFlux2), with_quant),
    Rewrite(DecoderTiny, TinyTileDecoder, (AutoencoderTiny,)),
    Rewrite(MochiEncoder3D, TileEncoder),
)
FAMILIES = {kind: one for one in REWRITES for kind in (one.stock, *one.autoencoders)}

# What is left as it is, by the name of its class, and what it would take.
NOT_YET = {
    "AutoencoderKLAllegro": "it decodes only in tiles that it blends; for_tiles(vae.decoder) takes each of"
    " them",
    "AutoencoderKLMiniMaxH3": "a transformer among all pixels of a stretch decodes it; rotary attention in"
    " bands, and stretches that fade as HunyuanVideo's, would be needed",
    "AutoencoderVidTok": "its upsampling in time goes between a frame and the next, so what follows waits for"
    " one frame more each time; a delay as LTX's ahead of convolutions that look back would be needed",
}


def for_tiles(model: nn.Module) -> nn.Module:
    """The same decoder in another shape of program: `(z [B, C, T, H, W], state=None) -> (frames, state)`.

    `model` is a decoder, or an autoencoder for what its `decode` gives: its quant convolution, its patches
    and its clamp included (Mochi's first frames, which its pipeline drops, are left to `stream_decode`); or
    Mochi's encoder, from video to its latents' mean and log variance. It is copied, each part in its own data
    type (weights that are cast at each call, by `enable_layerwise_casting`, in that), and stays as it is.
    Called with a clip's latents in steps, each with the state of the one before, it gives the frames of the
    whole clip as the autoencoder decodes it. Where frames wait for what follows, which the family's class
    says, every step but the last is called with `ends=False`; where it has a timestep, each takes it, `temb`.

    Raises `Refused` for a class that isn't known, weights that aren't finite, and all that decides on frames
    and that the family's file doesn't know: a config, a setting changed since, a hook, a forward put in
    another's place; and for an autoencoder that cuts its frames into spatial tiles, which a pipeline's
    doesn't by default.
    """
    kind = type(model).__name__
    if kind in NOT_YET:
        raise Refused("for_tiles", kind, f"another autoencoder: {NOT_YET[kind]}")
    if type(model) not in FAMILIES:
        raise Refused("for_tiles", kind, f"one of {', '.join(known.__name__ for known in FAMILIES)}")
    model, rewrite = as_computed(model), FAMILIES[type(model)]
    new = rewrite.tiles(*rewrite.arguments(model))
    check_as_built(model, getattr(new, "follows", ()), getattr(new, "padding_modes", ("zeros",)))
    return new.eval()
