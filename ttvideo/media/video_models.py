"""The video models of the field, and image models: each one's autoencoder, and latents of a default clip or
image."""

from dataclasses import dataclass, field
from pathlib import Path

import diffusers
import torch
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.basics.finite import check_finite
from ttvideo.media.given import GIVEN, instead
from ttvideo.media.models import MOCHI, SEEDED, WEIGHTS, load_vae, pretrained
from ttvideo.media.single_files import family_of, from_single_file, refuse_pickled


@dataclass(frozen=True)
class VideoModel:
    """`autoencoder` is diffusers' class and `config` its keywords, where the published weights differ from
    its defaults.

    `latents` [B, C, T, H, W] are those of the pipeline's default size and length, `clip` in words. `upstream`
    is the thread where Tenstorrent's compiler meets it. An autoencoder of `frames` takes them [B * T, C, H,
    W]; of one that decodes only in tiles it is the `part` that decodes each.
    """

    name: str
    autoencoder: str
    clip: str
    latents: tuple[int, ...]
    upstream: str
    config: dict = field(default_factory=dict)
    frames: bool = False
    part: str = ""

    def decoder(self, vae: nn.Module) -> nn.Module:
        """What `for_tiles` takes."""
        return vae.get_submodule(self.part)

    def stock(self, vae: nn.Module, z_bcthw: torch.Tensor) -> tuple:
        """Diffusers' own, its input and its keywords, for latents of one clip [1, C, T, H, W]."""
        if self.part:
            return self.decoder(vae), z_bcthw, {}
        times = {"num_frames": z_bcthw.shape[2]} if "Temporal" in self.autoencoder else {}
        z = z_bcthw[0].transpose(0, 1).contiguous() if self.frames else z_bcthw
        return vae.decode, z, {"return_dict": False} | times


MODELS = {
    model.name: model
    for model in (
        VideoModel("Mochi", "AutoencoderKLMochi", "480×848, 163 frames", (1, 12, 28, 60, 106), "tt-xla#6051"),
        VideoModel("Wan 2.1", "AutoencoderKLWan", "480×832, 81 frames", (1, 16, 21, 60, 104), "tt-xla#4856"),
        VideoModel(
            "Wan 2.2", "AutoencoderKLWan", "704×1280, 121 frames", (1, 48, 31, 44, 80), "tt-xla#6049",
            config=dict(
                base_dim=160, decoder_base_dim=256, z_dim=48, is_residual=True, in_channels=12,
                out_channels=12, patch_size=2, scale_factor_spatial=16, latents_mean=[0.0] * 48,
                latents_std=[1.0] * 48,
            ),
        ),
        VideoModel(
            "CogVideoX", "AutoencoderKLCogVideoX", "480×720, 49 frames", (1, 16, 13, 60, 90), "tt-xla#5841"
        ),
        VideoModel(
            "HunyuanVideo", "AutoencoderKLHunyuanVideo", "720×1280, 129 frames", (1, 16, 33, 90, 160),
            "tt-xla#5969"
        ),
        VideoModel(
            "HunyuanVideo-1.5", "AutoencoderKLHunyuanVideo15", "480×848, 121 frames", (1, 32, 31, 30, 53),
            "tt-xla#6048"
        ),
        VideoModel(
            "LTX-Video", "AutoencoderKLLTXVideo", "512×704, 161 frames", (1, 128, 21, 16, 22), "tt-xla#2883"
        ),
        VideoModel(
            "LTX-2", "AutoencoderKLLTX2Video", "512×768, 121 frames", (1, 128, 16, 16, 24), "tt-xla#3338",
            config=dict(decoder_causal=False),
        ),
    )
}  # fmt: skip

# Video models that are compiled at their size for notebook 04, and no more.
FURTHER = {
    model.name: model
    for model in (
        VideoModel(
            "Stable Video Diffusion", "AutoencoderKLTemporalDecoder", "576×1024, 14 frames",
            (1, 4, 14, 72, 128), "",
            config=dict(
                block_out_channels=(128, 256, 512, 512), layers_per_block=2,
                down_block_types=("DownEncoderBlock2D",) * 4,
            ),
            frames=True,
        ),
        VideoModel(
            "Allegro", "AutoencoderKLAllegro", "a tile, 320×320, 24 frames", (1, 4, 6, 40, 40), "",
            part="decoder"
        ),
        VideoModel("Cosmos", "AutoencoderKLCosmos", "704×1280, 121 frames", (1, 16, 16, 88, 160), ""),
        VideoModel(
            "EasyAnimate", "AutoencoderKLMagvit", "384×672, 49 frames", (1, 16, 13, 48, 84), "",
            config=dict(latent_channels=16),
        ),
    )
}  # fmt: skip

SD = dict(
    block_out_channels=(128, 256, 512, 512), layers_per_block=2, down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
)  # fmt: skip
IMAGE_AUTOENCODERS = {
    "Stable Diffusion, SDXL": ("AutoencoderKL", 4, SD, "tt-xla#2888"),
    "SD3, FLUX": (
        "AutoencoderKL", 16, SD | dict(latent_channels=16, use_quant_conv=False, use_post_quant_conv=False),
        "tt-xla#5612",
    ),
    "FLUX.2": ("AutoencoderKLFlux2", 32, {}, ""),
    "TAESD": ("AutoencoderTiny", 4, {}, ""),
}  # fmt: skip
# At 512, 1024 and 1536 pixels a side: "SD3, FLUX at 1024".
IMAGES = {
    f"{name} at {side}": VideoModel(
        f"{name} at {side}", autoencoder, f"{side}×{side}", (1, channels, 1, side // 8, side // 8), upstream,
        config, True,
    )
    for name, (autoencoder, channels, config, upstream) in IMAGE_AUTOENCODERS.items()
    for side in (512, 1024, 1536)
}  # fmt: skip
ALL = MODELS | FURTHER | IMAGES

# Small trained ones, which ship with the project.
TRAINED = {"wan-demo": WEIGHTS / "wan", "cogvideox-demo": WEIGHTS / "cogvideox"}


def random_autoencoder(model: VideoModel, seed: int = 0) -> nn.Module:
    """The published architecture with seeded weights, in float32."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return getattr(diffusers, model.autoencoder)(**model.config).eval()


def load_autoencoder(model: str, seed: int = 0, variant: str = "") -> nn.Module:
    """Any family's autoencoder, in float32, in eval mode.

    A name of `MODELS` has random weights of full size, one of `TRAINED` small trained ones; else a folder
    (its own, a pipeline's), a hub id, or one .safetensors file, in diffusers' layout or the original where
    diffusers knows it, with a config.json beside unless its sizes are those of `MODELS`. What `load_vae`
    takes besides is Mochi's. Raises `Refused` for what isn't found, pickled weights, another class, and
    weights that aren't the config's.
    """
    if model in MODELS:
        return random_autoencoder(MODELS[model], seed)
    if model in ("demo", *SEEDED):
        return load_vae(model, seed, variant)
    path = Path(TRAINED.get(model, model))
    refuse_pickled(path)
    known = dict.fromkeys((*(each.autoencoder for each in MODELS.values()), *GIVEN))
    if path.suffix != ".safetensors":
        names = f"one of {', '.join((*MODELS, *TRAINED))}, a local folder or a hub id"
        return pretrained(str(path) if model in TRAINED else model, variant, tuple(known), names)
    if (kind := family_of(path)) in (MOCHI, None):
        return load_vae(model, seed, variant)
    if kind not in known:
        raise Refused("model", f"{path.name}, weights of an {kind}", instead(kind, known))
    vae = from_single_file(path, kind, [each.config for each in MODELS.values() if each.autoencoder == kind])
    check_finite("weights", vae.state_dict())
    return vae.eval()
