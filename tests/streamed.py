"""All that streams, each beside diffusers' own: what both are made of, and the clips that they are tried
on."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from diffusers.models.autoencoders.autoencoder_kl_mochi import MochiEncoder3D
from seeded import seeded
from torch import Tensor, nn

from ttvideo import for_tiles
from ttvideo.decoders.host import HostDecoder
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.decoders.native import NativeDecoder
from ttvideo.media.models import load_vae
from ttvideo.media.small_autoencoders import SMALL, SMALL_IMAGES, blocks, decode
from ttvideo.media.video_models import MODELS


@dataclass(frozen=True)
class Streamed:
    """`make` gives diffusers' module in float64, `new` what streams, `stock` what diffusers' makes of a clip.

    `lengths` are those of whole clips, `splits` of clips in steps, [B, C, T, *size]; `each` is what else
    belongs to a clip. `seen` says of how many latents a clip of so many frames is. With a `pcc` it is in
    bf16, and no closer than that.
    """

    make: Callable[[], nn.Module]
    new: Callable[[nn.Module], nn.Module] = for_tiles
    stock: Callable[..., Tensor] = decode
    lengths: tuple[int, ...] = (1, 2, 3, 5)
    splits: tuple[tuple[int, ...], ...] = ((3, 2, 2), (5, 2), (3, 4))
    size: tuple[int, int] = (3, 5)
    batch: int = 2
    each: tuple[Tensor, ...] = ()
    seen: Callable[[int], int] = lambda frames: frames
    pcc: float | None = None

    def clip(self, decoder: nn.Module, frames: int, batch: int = 1) -> Tensor:
        dtype = torch.float64 if self.pcc is None else torch.bfloat16
        return seeded(batch, decoder.latent_channels, frames, *self.size, dtype=dtype)


def of(name: str, stretched: dict | None = None, **config) -> Callable[[], nn.Module]:
    """The small autoencoder of a family with another config; `stretched` are attributes set after."""
    varied = replace(SMALL[name], config=SMALL[name].config | config)

    def make():
        vae = varied.make()
        for attribute, value in (stretched or {}).items():
            setattr(vae, attribute, value)
        return vae

    return make


# Channels halve after an upsampling, and the first one is in space alone.
DEEP = blocks("HunyuanVideoDownBlock3D HunyuanVideoUpBlock3D", 4, block_out_channels=(8, 16, 16, 16))
DEEP |= dict(layers_per_block=0, spatial_compression_ratio=8)
hunyuan = of("HunyuanVideo", **DEEP)
# They fade over two latent frames.
in_longer_stretches = dict(tile_sample_min_num_frames=24, tile_sample_stride_num_frames=16)


def mochi_encoder() -> nn.Module:
    """Several heads, layers in a row, and nothing at 0 or 1 that would hide its loss."""
    torch.manual_seed(0)
    encoder = MochiEncoder3D(15, 12, (32, 64, 64, 96), (1, 1, 2, 1, 1)).eval()
    for parameter in encoder.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return encoder.double().requires_grad_(False)


# A constant state, or one that grows: steps of any length, or of two latent frames.
FAMILIES = {
    # Channels halve while frames are upsampled, which only the full depth has.
    "Wan 2.2, deep": Streamed(
        of("Wan 2.2", base_dim=4, decoder_base_dim=4, dim_mult=[1, 2, 4, 4],
           temperal_downsample=[False, True, True])
    ),
    # Upsampled in space alone, too, to fewer channels.
    "HunyuanVideo-1.5, deep": Streamed(
        of("HunyuanVideo-1.5", block_out_channels=(8, 16, 16), spatial_compression_ratio=4)
    ),
    # Other numbers of channels block by block, which shortcuts are for.
    "LTX, causal": Streamed(of("LTX-Video", decoder_causal=True, decoder_block_out_channels=(8, 16))),
    "LTX-2": Streamed(of("LTX-2")),
}  # fmt: skip
FAMILIES |= {
    name: Streamed(SMALL[name].make)
    for name in ("Wan 2.1", "QwenImage", "Wan 2.2", "CogVideoX", "HunyuanVideo-1.5", "Cosmos")
}
LATE = dict(lengths=(1, 2, 14), splits=((1,) * 14, (9, 3, 2)))
FAMILIES |= {
    "Kandinsky 6": Streamed(
        of("Kandinsky 6 SR", decoder_block_out_channels=(8, 16, 8)), splits=((1, 1, 1), (1, 2)), size=(2, 3)
    ),
    "KVAE": Streamed(
        of("KVAE", ch_mult=(1, 2, 1)), lengths=(1, 3, 6, 7), splits=((5, 4, 2), (9, 1)), size=(2, 3)
    ),
}
MAGVIT = dict(lengths=(1, 2, 4), splits=((1, 2), (3, 1)), size=(2, 3))
THREE = dict(
    block_out_channels=[8, 16, 8],
    down_block_types=["SpatialDownBlock3D"] + ["SpatialTemporalDownBlock3D"] * 2,
    up_block_types=["SpatialUpBlock3D"] + ["SpatialTemporalUpBlock3D"] * 2,
)  # fmt: skip
FAMILIES |= {
    "EasyAnimate": Streamed(of("EasyAnimate (Magvit)", **THREE), **MAGVIT),
    "EasyAnimate, frames normalised together": Streamed(
        of("EasyAnimate (Magvit)", spatial_group_norm=False, **THREE), **MAGVIT
    ),
    "EasyAnimate, two at a time": Streamed(
        of("EasyAnimate (Magvit)", dict(num_latent_frames_batch_size=2), spatial_group_norm=False, **THREE),
        lengths=(2, 4), splits=((1, 2, 1), (3, 2)), size=(2, 3),
    ),
}  # fmt: skip
DELAYED = {
    "LTX": Streamed(of("LTX-Video", decoder_block_out_channels=(8, 16)), **LATE),
    "LTX-2, not causal": Streamed(of("LTX-2", decoder_causal=False), **LATE),
    "LTX-2, each way up": Streamed(
        of("LTX-2", decoder_causal=False, upsample_type=("temporal", "spatial")), **LATE
    ),
    "HunyuanVideo": Streamed(
        hunyuan, lengths=(1, 2, 3, 5, 8), splits=((5, 2), (5, 3, 3), (8, 3, 1)), size=(2, 3)
    ),
    "HunyuanVideo, longer": Streamed(
        of("HunyuanVideo", in_longer_stretches, **DEEP), lengths=(6, 10), splits=((7, 4, 2),), size=(2, 3)
    ),
}
TIMED = dict(each=(torch.tensor([0.05, 0.3], dtype=torch.float64),))
CONDITIONED = {
    "LTX, of a timestep": Streamed(of("LTX-Video", timestep_conditioning=True), **LATE, **TIMED),
    "LTX, of a timestep, causal": Streamed(
        of("LTX-Video", timestep_conditioning=True, decoder_causal=True), **TIMED
    ),
    "LTX-2, of a timestep": Streamed(of("LTX-2", timestep_conditioning=True), **TIMED),
    "LTX-2, of a timestep, not causal": Streamed(
        of("LTX-2", timestep_conditioning=True, decoder_causal=False), **LATE, **TIMED
    ),
}
MOCHI = Streamed(
    of("Mochi", decoder_block_out_channels=(32, 32, 64, 64)),
    lengths=(1, 3), splits=((1, 1, 1), (2, 3), (1, 4)), size=(2, 3),
)  # fmt: skip
OTHERS = {
    "Mochi": MOCHI,
    "Mochi, a size in pairs": replace(
        MOCHI, new=lambda vae: TileDecoder(vae.decoder, packed_sizes=1), lengths=(2,), splits=((1, 2),)
    ),
    "Mochi, no pairs": replace(
        MOCHI, new=lambda vae: TileDecoder(vae.decoder, packed_sizes=0), lengths=(2,), splits=((1, 2),)
    ),
    "Mochi, for the host": replace(MOCHI, new=lambda vae: HostDecoder(vae.decoder)),
    "Mochi, in TT-NN's ops": replace(
        MOCHI, make=lambda: load_vae("demo").bfloat16().double(), new=NativeDecoder, batch=1, pcc=0.9999,
        lengths=(1, 2), splits=((1, 2),),
    ),
    "Mochi's encoder": Streamed(
        mochi_encoder, stock=lambda encoder, x: encoder(x)[0], lengths=(1, 7, 13),
        splits=((1, 6, 6), (7, 12), (13, 6)), size=(16, 24), seen=lambda frames: 1 + (frames - 1) // 6,
    ),
}  # fmt: skip
IMAGES = {
    name: Streamed(small.make, stock=small.decode, lengths=(1, 2), splits=((1, 1), (2, 1)))
    for name, small in SMALL_IMAGES.items()
}
# Normalised as one: a clip is one step.
WHOLE = {
    "HunyuanVideo, the decoder": Streamed(
        hunyuan, new=lambda vae: for_tiles(vae.decoder), stock=lambda vae, z: vae.decoder(z),
        lengths=(1, 13), size=(2, 3),
    ),
    "Stable Video Diffusion": Streamed(
        of("Stable Video Diffusion", block_out_channels=(32, 64)),
        stock=SMALL["Stable Video Diffusion"].decode,
    ),
    "HunyuanImage's refiner": Streamed(
        of("HunyuanImage refiner", block_out_channels=(8, 16, 16), spatial_compression_ratio=4),
        lengths=(1, 3),
    ),
    "Allegro": Streamed(
        of("Allegro", block_out_channels=(8, 16)), new=lambda vae: for_tiles(vae.decoder),
        stock=lambda vae, z: vae.decoder(z),
    ),
}  # fmt: skip
ALL = FAMILIES | DELAYED | CONDITIONED | OTHERS | IMAGES
assert {SMALL[name].name for name in MODELS} <= {type(case.make()).__name__ for case in ALL.values()}
