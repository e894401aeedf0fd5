"""Latents to decode: from a file, from a clip, or random."""

from pathlib import Path

import imageio.v3 as imageio
import numpy
import safetensors.torch
import torch
from diffusers import AutoencoderKLMochi

from lib.basics.errors import Refused
from lib.basics.finite import check_finite
from lib.media.clips import demo_clip
from lib.media.models import first_line

FRAMES_PER_LATENT, PIXELS_PER_LATENT = 6, 8
TENSOR_FILES = (".pt", ".safetensors", ".npy")
VIDEO_FILES = (".mp4", ".gif", ".mov", ".webm")
CHOICES = f"'clip', 'random', or a file ({', '.join(TENSOR_FILES + VIDEO_FILES)})"


@torch.no_grad()
def load_latents(source: str, vae: AutoencoderKLMochi, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Latents as `vae.decoder` takes them: z [B, 12, T, H, W] in float32, denormalised.

    `source` is 'clip' (the procedural demo clip, encoded), 'random', a tensor file that holds a pipeline's
    normalised latents, or a video file. `shape` is that of 'clip' and 'random'; a tensor file has its own.
    Raises `Refused` for a missing file, a wrong rank or channel count, an empty clip, NaN or Inf.
    """
    if source == "random":
        z = denormalise(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), vae)
    elif source == "clip":
        z = encode(demo_clip(frames_of(shape), *pixels_of(shape)), vae)
    else:
        z = from_file(Path(source), vae, shape)
    return check_latents(z, vae.config.latent_channels)


def frames_of(shape: tuple[int, ...]) -> int:
    """Video frames of T latent frames: the first stands for one, each other for six."""
    return FRAMES_PER_LATENT * (shape[2] - 1) + 1


def pixels_of(shape: tuple[int, ...]) -> tuple[int, int]:
    return PIXELS_PER_LATENT * shape[3], PIXELS_PER_LATENT * shape[4]


def encode(clip_cthw: torch.Tensor, vae: AutoencoderKLMochi) -> torch.Tensor:
    """A clip [3, 6 k + 1, H, W] in [-1, 1] -> z [1, 12, k + 1, H/8, W/8], the mean of the posterior."""
    moments, _ = vae.encoder(clip_cthw[None])
    return moments.chunk(2, dim=1)[0]


def denormalise(z: torch.Tensor, vae: AutoencoderKLMochi) -> torch.Tensor:
    """As `MochiPipeline` does before decoding: z * std / scaling_factor + mean, channel by channel."""
    mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1)
    std = torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1)
    if z.dim() != 5 or z.shape[1] != mean.shape[1]:
        raise Refused("latents", f"shape {tuple(z.shape)}", f"[B, {mean.shape[1]}, T, H, W]")
    return z * std / vae.config.scaling_factor + mean


def from_file(path: Path, vae: AutoencoderKLMochi, shape: tuple[int, ...]) -> torch.Tensor:
    if not path.is_file():
        raise Refused("latents", f"no file {str(path)!r}", CHOICES)
    try:
        if path.suffix in VIDEO_FILES:
            return encode(read_clip(path, shape), vae)
        return denormalise(read_tensor(path).float(), vae)
    except Refused:
        raise
    except Exception as error:
        raise Refused("latents", f"{str(path)!r} ({first_line(error)})", CHOICES) from error


def read_tensor(path: Path) -> torch.Tensor:
    if path.suffix == ".npy":
        value = torch.from_numpy(numpy.load(path, allow_pickle=False))
    elif path.suffix == ".safetensors":
        value = next(iter(safetensors.torch.load_file(path).values()))
    elif path.suffix == ".pt":
        value = torch.load(path, weights_only=True)
    else:
        raise Refused("latents", f"a {path.suffix or 'nameless'} file", CHOICES)
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        raise Refused("latents", f"{getattr(value, 'dtype', type(value).__name__)} in {path.name}", "a float tensor")
    return value


def read_clip(path: Path, shape: tuple[int, ...]) -> torch.Tensor:
    """The first frames of a video, cropped at the middle: [3, T, H, W] in [-1, 1]."""
    frames, (height, width) = frames_of(shape), pixels_of(shape)
    thwc = imageio.imread(path, plugin="FFMPEG" if path.suffix != ".gif" else None)[:frames, ..., :3]
    if thwc.shape[0] < frames or thwc.shape[1] < height or thwc.shape[2] < width:
        raise Refused(
            "clip", f"{thwc.shape[0]} frames of {thwc.shape[1]}×{thwc.shape[2]}", f"{frames} of {height}×{width}"
        )
    top, left = (thwc.shape[1] - height) // 2, (thwc.shape[2] - width) // 2
    cropped = torch.from_numpy(thwc[:, top : top + height, left : left + width].copy())
    return cropped.permute(3, 0, 1, 2).float() / 127.5 - 1


def check_latents(z: torch.Tensor, channels: int) -> torch.Tensor:
    if z.dim() != 5 or z.shape[1] != channels or 0 in z.shape:
        raise Refused("latents", f"shape {tuple(z.shape)}", f"[B, {channels}, T, H, W], none of them 0")
    check_finite("latents", {"the latents": z})
    return z
