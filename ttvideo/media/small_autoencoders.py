"""Every video autoencoder of diffusers, and those of images, in a size that float64 on two cores takes in a
second."""

from collections.abc import Callable
from dataclasses import dataclass

import diffusers
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

WANS = dict(
    base_dim=8, z_dim=4, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[True],
    latents_mean=[0.1] * 4, latents_std=[2.0] * 4,
)  # fmt: skip
HUNYUANS = dict(
    block_out_channels=(8, 16), latent_channels=4, layers_per_block=1,
    spatial_compression_ratio=2, temporal_compression_ratio=2,
)  # fmt: skip
VIDTOK = dict(ch=8, ch_mult=[1, 1, 1], num_res_blocks=1, spatial_ds=[0, 1], tempo_ds=[0, 1])


class InFloat64(TorchFunctionMode):
    """Has what a model casts to float32 stay in float64, and counts it."""

    casts = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if args and isinstance(args[0], torch.Tensor) and args[0].dtype == torch.float64:
            if function is torch.Tensor.float or (function is torch.Tensor.to and torch.float32 in args[1:]):
                self.casts += 1
                return args[0]
        return function(*args, **kwargs)


def encode(vae: nn.Module, clip: torch.Tensor) -> torch.Tensor:
    """The mean, or what there is instead of a distribution."""
    code = vae.encode(clip)
    code = code.latent_dist if hasattr(code, "latent_dist") else code
    return code.mode()


def decode(vae: nn.Module, z: torch.Tensor, *each: torch.Tensor) -> torch.Tensor:
    """`each` is what else belongs to a clip, a timestep."""
    frames = vae.decode(z, *each)
    return frames if torch.is_tensor(frames) else frames.sample


def decode_frames(vae: nn.Module, z: torch.Tensor) -> torch.Tensor:
    """Of an autoencoder that takes frames, [T, C, H, W], or those of a clip, [1, C, T, H, W]."""
    images = z if z.dim() == 4 else z[0].transpose(0, 1)
    count = {"num_frames": len(images)} if "Temporal" in type(vae).__name__ else {}
    frames = vae.decode(images, **count).sample
    return frames if z.dim() == 4 else frames.transpose(0, 1)[None]


@dataclass(frozen=True)
class Autoencoder:
    """`name` is the class's, `config` its keywords, `clip` [B, 3, T, H, W], `convolutions` what `decompose`
    replaces.

    `part` is what `for_tiles` takes of it, by default all.
    """

    name: str
    config: dict
    clip: tuple[int, ...]
    convolutions: int
    encode: Callable[[nn.Module, torch.Tensor], torch.Tensor] = encode
    decode: Callable[[nn.Module, torch.Tensor], torch.Tensor] = decode
    part: str = ""

    def make(self) -> nn.Module:
        """In float64, seeded; no scale or bias left at 1 or 0, no gate at 0, or their loss wouldn't show."""
        torch.manual_seed(0)
        vae = getattr(diffusers, self.name)(**self.config).double().eval()
        with torch.no_grad():
            for tensor in vae.parameters():
                if tensor.dim() <= 1 or tensor.count_nonzero() == 0:
                    tensor += 0.3 * torch.randn_like(tensor)
        return vae


def blocks(names: str, count: int = 2, **config) -> dict:
    """So many blocks down and up, of the two classes named."""
    down, up = names.split()
    return dict(down_block_types=(down,) * count, up_block_types=(up,) * count) | config


SMALL = {
    "Mochi": Autoencoder(
        "AutoencoderKLMochi",
        dict(
            encoder_block_out_channels=(32, 32, 32, 32),
            decoder_block_out_channels=(32, 32, 32, 32),
            layers_per_block=(1, 1, 1, 1, 1),
        ),
        (1, 3, 7, 16, 16),
        24,
    ),
    "CogVideoX": Autoencoder(
        "AutoencoderKLCogVideoX",
        blocks(
            "CogVideoXDownBlock3D CogVideoXUpBlock3D",
            block_out_channels=(8, 8),
            latent_channels=4,
            layers_per_block=1,
            norm_num_groups=4,
            temporal_compression_ratio=2,
        ),
        (1, 3, 9, 8, 8),
        50,
    ),
    "Allegro": Autoencoder(
        "AutoencoderKLAllegro",
        blocks(
            "AllegroDownBlock3D AllegroUpBlock3D",
            block_out_channels=(8, 8),
            temporal_downsample_blocks=(True, False),
            temporal_upsample_blocks=(False, True),
            layers_per_block=1,
            norm_num_groups=4,
        ),
        (1, 3, 8, 16, 16),
        52,
        lambda vae, clip: vae.encoder(clip)[:, :4],  # the autoencoder itself only goes in tiles of 320 × 320
        lambda vae, z: vae.decoder(z),
        part="decoder",
    ),
    "Cosmos": Autoencoder(
        "AutoencoderKLCosmos",
        dict(
            latent_channels=4,
            encoder_block_out_channels=(8, 8, 8),
            decode_block_out_channels=(8, 8, 8),
            attention_resolutions=(2,),
            resolution=16,
            num_layers=1,
            patch_size=2,
            spatial_compression_ratio=4,
            temporal_compression_ratio=4,
        ),
        (1, 3, 9, 16, 16),
        71,
    ),
    "HunyuanVideo": Autoencoder(
        "AutoencoderKLHunyuanVideo",
        blocks(
            "HunyuanVideoDownBlock3D HunyuanVideoUpBlock3D",
            3,
            block_out_channels=(8, 8, 8),
            latent_channels=4,
            layers_per_block=1,
            norm_num_groups=4,
            spatial_compression_ratio=4,
            temporal_compression_ratio=4,
        ),
        (1, 3, 9, 16, 16),
        36,
    ),
    "HunyuanVideo-1.5": Autoencoder(
        "AutoencoderKLHunyuanVideo15",
        HUNYUANS,
        (1, 3, 5, 8, 8),
        34,
    ),
    "HunyuanImage refiner": Autoencoder(
        "AutoencoderKLHunyuanImageRefiner",
        HUNYUANS,
        (1, 3, 5, 8, 8),
        34,
    ),
    "Kandinsky 6 SR": Autoencoder(
        "Kandinsky6SRVAE",
        dict(
            latent_channels=4,
            encoder_block_out_channels=(8, 8, 8),
            decoder_block_out_channels=(8, 8, 8),
            layers_per_block=1,
        ),
        (1, 3, 33, 8, 8),  # two segments
        77,
    ),
    "KVAE": Autoencoder(
        "AutoencoderKLKVAEVideo",
        dict(ch=32, ch_mult=(1, 1, 1), num_res_blocks=1, z_channels=4),
        (1, 3, 33, 8, 8),  # two segments
        76,
    ),
    "LTX-Video": Autoencoder(
        "AutoencoderKLLTXVideo",
        dict(
            latent_channels=8,
            block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            down_block_types=("LTXVideoDownBlock3D",) * 2,
            layers_per_block=(1, 1, 1),
            decoder_layers_per_block=(1, 1, 1),
            spatio_temporal_scaling=(True, False),
            decoder_spatio_temporal_scaling=(True, False),
            decoder_inject_noise=(False,) * 3,
            downsample_type=("conv", "conv"),
            upsample_residual=(False, False),
            upsample_factor=(1, 1),
            patch_size=2,
        ),
        (1, 3, 9, 16, 16),
        18,
    ),
    "LTX-2": Autoencoder(
        "AutoencoderKLLTX2Video",
        dict(
            latent_channels=8,
            block_out_channels=(8, 8, 16),
            down_block_types=("LTX2VideoDownBlock3D",) * 3,
            decoder_block_out_channels=(8, 16),
            layers_per_block=(1, 1, 1, 1),
            decoder_layers_per_block=(1, 1, 1),
            spatio_temporal_scaling=(True, True, True),
            decoder_spatio_temporal_scaling=(True, True),
            decoder_inject_noise=(False,) * 3,
            downsample_type=("spatial", "temporal", "spatiotemporal"),
            upsample_type=("spatiotemporal", "spatiotemporal"),
            upsample_residual=(True, True),
            upsample_factor=(2, 2),
            patch_size=2,
        ),
        (1, 3, 9, 16, 16),
        23,
    ),
    "EasyAnimate (Magvit)": Autoencoder(
        "AutoencoderKLMagvit",
        dict(
            latent_channels=4,
            block_out_channels=[8, 8],
            down_block_types=["SpatialDownBlock3D", "SpatialTemporalDownBlock3D"],
            up_block_types=["SpatialUpBlock3D", "SpatialTemporalUpBlock3D"],
            layers_per_block=1,
            norm_num_groups=4,
        ),
        (1, 3, 9, 16, 16),
        24,
    ),
    "MiniMax-H3": Autoencoder(
        "AutoencoderKLMiniMaxH3",
        dict(
            latent_channels=4,
            block_out_channels=(8, 8, 8),
            layers_per_block=1,
            spatial_downsample_factors=(2, 2, 1),
            temporal_downsample_factors=(1, 2, 1),
            norm_num_groups=4,
            decoder_num_layers=1,
            decoder_num_attention_heads=2,
            decoder_attention_head_dim=8,
            latents_mean=(0.0,) * 4,
            latents_std=(1.0,) * 4,
            clip_length=9,
            token_drop=1,
        ),
        (1, 3, 18, 16, 16),
        12,
    ),
    "Wan 2.1": Autoencoder("AutoencoderKLWan", WANS, (1, 3, 9, 8, 8), 29),
    "Wan 2.2": Autoencoder(
        "AutoencoderKLWan",
        WANS | dict(dim_mult=[1, 1], is_residual=True, in_channels=12, out_channels=12, patch_size=2),
        (1, 3, 9, 16, 16),
        28,
    ),
    "QwenImage": Autoencoder("AutoencoderKLQwenImage", WANS, (1, 3, 9, 8, 8), 29),
    "Stable Video Diffusion": Autoencoder(
        "AutoencoderKLTemporalDecoder",
        dict(block_out_channels=(32,)),
        (3, 3, 8, 8),
        7,
        decode=decode_frames,
    ),
    "VidTok": Autoencoder(
        "AutoencoderVidTok",
        VIDTOK,
        (1, 3, 17, 16, 16),
        24,
    ),
    "VidTok, not causal": Autoencoder(
        "AutoencoderVidTok",
        VIDTOK | dict(is_causal=False),
        (1, 3, 16, 16, 16),
        24,
    ),
}

IMAGE = blocks(
    "DownEncoderBlock2D UpDecoderBlock2D", block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4
)
SMALL_IMAGES = {
    "Stable Diffusion": Autoencoder("AutoencoderKL", IMAGE, (1, 3, 8, 8), 0, decode=decode_frames),
    "FLUX": Autoencoder(
        "AutoencoderKL",
        IMAGE | dict(latent_channels=8, use_quant_conv=False, use_post_quant_conv=False),
        (1, 3, 8, 8),
        0,
        decode=decode_frames,
    ),
    "FLUX.2": Autoencoder(
        "AutoencoderKLFlux2", IMAGE | dict(latent_channels=8), (1, 3, 8, 8), 0, decode=decode_frames
    ),
    "HunyuanImage": Autoencoder(
        "AutoencoderKLHunyuanImage",
        dict(
            in_channels=3,
            out_channels=3,
            latent_channels=8,
            block_out_channels=(32, 64),
            layers_per_block=1,
            spatial_compression_ratio=2,
            sample_size=16,
        ),
        (1, 3, 8, 8),
        0,
        decode=decode_frames,
    ),
    "Tiny": Autoencoder(
        "AutoencoderTiny",
        dict(
            encoder_block_out_channels=(8, 8, 8),
            decoder_block_out_channels=(8, 8, 8),
            num_encoder_blocks=(1, 1, 1),
            num_decoder_blocks=(1, 2, 1),
        ),
        (1, 3, 8, 8),
        0,
        decode=decode_frames,
        encode=lambda vae, clip: vae.encode(clip).latents,
    ),
}
