"""Latents to decode: from a file, from a clip, or random.

A pipeline's `output_type="latent"` gives what its transformer made: of most families normalised, with mean 0
and spread 1 in each channel, over many clips. The decoder takes them denormalised, and so they are in most of
ComfyUI's .latent files; `ttvideo.media.given` has each family's rule. Mochi's own means and spreads are near
0 and 1, so either passes for the other at a glance, and decodes to a picture a little off.
"""

import math
import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as imageio
import numpy
import safetensors.torch
import torch
from diffusers import AutoencoderKLCogVideoX, AutoencoderKLMochi, AutoencoderKLWan
from torch import nn

from ttvideo.basics.errors import Refused, first_line
from ttvideo.basics.finite import check_finite
from ttvideo.media.clips import demo_clip
from ttvideo.media.given import DEFAULT_FACTOR, DENORMALISED, GIVEN, NORMALISED, Given, given_by, placed

FRAMES_PER_LATENT, PIXELS_PER_LATENT = 6, 8
# MochiPipeline drops them: the first latent frame stands for one video frame, not for six.
DROPPED_FRAMES = FRAMES_PER_LATENT - 1
TENSOR_FILES = (".pt", ".safetensors", ".npy", ".latent")
VIDEO_FILES = (".mp4", ".gif", ".mov", ".webm")
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}  # on a target
HOST_DTYPES = {"float64": torch.float64, **DTYPES}
AUTO = "auto"
FORMS = (AUTO, NORMALISED, DENORMALISED)
REFUSED_ODDS = 1000  # the parameter is contradicted where the other form is so many times likelier
CHOICES = f"'clip', 'random', or a file ({', '.join(TENSOR_FILES + VIDEO_FILES)})"


@torch.no_grad()
def load_latents(
    source: str,
    vae: nn.Module,
    shape: tuple[int, ...],
    seed: int = 0,
    form: str = AUTO,
    dropped: int | None = None,
) -> torch.Tensor:
    """Latents as `vae.decode` takes them: z [B, C, T, H, W] in float32, denormalised.

    `vae` is any of diffusers' video autoencoders. `source` is 'clip' (the procedural demo clip, encoded),
    'random', a tensor file or a video file; a clip and a video are encoded, by Mochi's, Wan's or CogVideoX's.
    `shape` is that of 'clip' and 'random'; a tensor file has its own, unless it is packed. A tensor file
    holds what the family's pipeline gives, or ComfyUI's .latent file what that saves (`ttvideo.media.given`),
    which is what a `form` of 'auto' means; one that is said to be 'denormalised' where the pipeline's isn't
    is taken as `vae.decode` takes it, its axes too. `dropped` latent frames of a file are left out at its
    begin. Raises `Refused` for a missing file, a wrong rank or channel count, an empty clip, NaN or Inf,
    statistics that contradict `form`, several images in layers, and where the pipeline may have put a latent
    frame before the clip and `dropped` is None.
    """
    if source == "random":
        z = denormalise(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), vae)
    elif source == "clip":
        frames, pixels = compression(vae)
        z = encode(demo_clip(frames_of(shape, frames), *pixels_of(shape, pixels)), vae)
    else:
        z = from_file(Path(source), vae, shape, form, dropped)
    return check_latents(z, channels_of(vae))


def frames_of(shape: tuple[int, ...], per_latent: int = FRAMES_PER_LATENT) -> int:
    """Video frames of T latent frames: the first stands for one, each other for `per_latent`, Mochi's six
    unless said."""
    return per_latent * (shape[2] - 1) + 1


def pixels_of(shape: tuple[int, ...], per_latent: int = PIXELS_PER_LATENT) -> tuple[int, int]:
    return per_latent * shape[3], per_latent * shape[4]


def compression(vae: nn.Module) -> tuple[int, int]:
    """How many frames, and how many pixels in height and in width, a latent stands for.

    Raises `Refused` for an autoencoder of another family than those that encode here.
    """
    config = vae.config
    if isinstance(vae, AutoencoderKLMochi):
        return FRAMES_PER_LATENT, PIXELS_PER_LATENT
    if isinstance(vae, AutoencoderKLWan):
        return 2 ** sum(config.temperal_downsample), 2 ** (len(config.dim_mult) - 1) * (
            config.patch_size or 1
        )
    if isinstance(vae, AutoencoderKLCogVideoX):
        return config.temporal_compression_ratio, 2 ** (len(config.block_out_channels) - 1)
    raise Refused(
        "latents", f"a clip to encode, for an {type(vae).__name__}", "'random', or a file of latents"
    )


def encode(clip_cthw: torch.Tensor, vae: nn.Module) -> torch.Tensor:
    """A clip [3, n k + 1, H, W] in [-1, 1] -> z [1, C, k + 1, H / m, W / m], the mean of the posterior; n and
    m are those of `compression`. Raises `Refused` as that does, and for a model without encoder."""
    compression(vae)
    if vae.encoder is None:
        raise Refused(
            "latents", "a clip to encode, and a model without encoder", "a file of latents, or a whole VAE"
        )
    return vae.encode(clip_cthw[None]).latent_dist.mode()


def channels_of(vae: nn.Module) -> int:
    """How many channels an autoencoder's latents have; Wan's and QwenImage's config says `z_dim`."""
    return vae.config.z_dim if "z_dim" in vae.config else vae.config.latent_channels


def colours_of(vae: nn.Module) -> int:
    """How many channels an autoencoder's frames have, with the pixels of Wan's patches put in place."""
    config = vae.config
    pixels = (config.patch_size or 1) ** 2 if isinstance(vae, AutoencoderKLWan) else 1
    return config.get("out_channels", config.get("input_channels")) // pixels


def usual(vae: nn.Module, frames: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and spreads of the latents that `vae.decode` takes, in float64, [C, 1] each: what pipelines
    normalise by.

    Some autoencoders have them channel by channel (LTX's as buffers), Cosmos's latent frame by latent frame,
    too, [C, `frames`]; some have one factor for all, and one shift, some both. Raises `Refused` for a config
    with more or fewer of them than that.
    """
    known = dict(vae.named_buffers()) | {
        name: value for name, value in vae.config.items() if value is not None
    }
    channels, by_frame = channels_of(vae), GIVEN.get(type(vae).__name__, Given()).by_frame
    found = []
    for name, otherwise in (("latents_mean", known.get("shift_factor", 0.0)), ("latents_std", 1.0)):
        values = torch.as_tensor(known.get(name, [otherwise] * channels), dtype=torch.float64)
        if values.numel() % channels or values.numel() > channels and not by_frame:
            raise Refused(f"the config's {name}", f"{values.numel()} values", f"{channels}, one a channel")
        values = values.view(channels, -1)
        if frames > values.shape[1] > 1:
            got = f"{frames} latent frames, and {name} of {values.shape[1]} in the config"
            raise Refused("latents", got, f"{values.shape[1]} at most, as its pipeline")
        found.append(values[:, :frames])
    factor = vae.config.get("scaling_factor") or 1.0
    return found[0], found[1] / (1.0 if "latents_std" in known and factor == DEFAULT_FACTOR else factor)


def denormalise(z: torch.Tensor, vae: nn.Module) -> torch.Tensor:
    """As a pipeline does before decoding: z * std / scaling_factor + mean, channel by channel."""
    check_rank(z, channels_of(vae))
    mean, spread = (values[..., None, None].to(z.dtype) for values in usual(vae, z.shape[2]))
    return z * spread + mean


def from_file(
    path: Path, vae: nn.Module, shape: tuple[int, ...], form: str, dropped: int | None = None
) -> torch.Tensor:
    if not path.is_file():
        raise Refused("latents", f"no file {str(path)!r}", CHOICES)
    try:
        if path.suffix in VIDEO_FILES:
            frames, pixels = compression(vae)
            return encode(read_clip(path, frames_of(shape, frames), pixels_of(shape, pixels)), vae)
        z = read_tensor(path).float()
    except Refused:
        raise
    except Exception as error:
        raise Refused("latents", f"{str(path)!r} ({first_line(error)})", CHOICES) from error
    given, comfyui = given_by(vae), path.suffix == ".latent"
    form = form_of(vae, path, form)
    if comfyui or form == DENORMALISED != given.form:
        z = placed(z, given.decodes, channels_of(vae))[:, :, dropped or 0 :]
    else:
        z = given.as_decoded(z, channels_of(vae), shape, dropped)
    check_latents(z, channels_of(vae))
    if given.still and z.shape[2] > 1:
        raise Refused("latents", f"{z.shape[2]} latent frames", "1, an image; of layers, each by itself")
    z = z / given.spread if form == NORMALISED else z
    statistics(z, vae).check(form, path.name)
    return denormalise(z, vae) if form == NORMALISED else z


def form_of(vae: nn.Module, path: Path, form: str = AUTO) -> str:
    """What 'auto' means for this file, by the rule of the family. Raises `Refused` for one of ComfyUI's,
    which has none of some."""
    given, comfyui = given_by(vae), path.suffix == ".latent"
    if comfyui and given.comfyui is None:
        raise Refused("latents", f"{path.name}, for an {type(vae).__name__}", "what its pipeline gives")
    return form if form != AUTO else given.comfyui if comfyui else given.form


def read_tensor(path: Path) -> torch.Tensor:
    if path.suffix == ".npy":
        value = torch.from_numpy(numpy.load(path, allow_pickle=False))
    elif path.suffix == ".safetensors":
        tensors = safetensors.torch.load_file(path)
        if len(tensors) != 1:
            raise Refused("latents", f"{len(tensors)} tensors in {path.name}", "one")
        (value,) = tensors.values()
    elif path.suffix == ".latent":
        value = read_comfyui(path)
    elif path.suffix == ".pt":
        value = read_pickled(path)
    else:
        raise Refused("latents", f"a {path.suffix or 'nameless'} file", CHOICES)
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        raise Refused(
            "latents", f"{getattr(value, 'dtype', type(value).__name__)} in {path.name}", "a float tensor"
        )
    return value


def read_pickled(path: Path):
    """A tensor that was saved by torch. Raises `Refused` for any other object, which isn't unpickled."""
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        kinds = re.findall(r"GLOBAL ([\w.]+)", str(error))
        if not kinds:
            raise
        need = f"its tensor alone: torch.save(output[0], {path.name!r})"
        raise Refused("latents", f"a {kinds[0].rpartition('.')[2]} in {path.name}", need) from error


def read_comfyui(path: Path) -> torch.Tensor:
    """What ComfyUI's SaveLatent wrote: `latent_tensor`, and an empty tensor that names the format's version.

    Files from before that version, which LoadLatent divides by 0.18215, are older than its video models.
    """
    tensors = safetensors.torch.load_file(path)
    if not {"latent_tensor", "latent_format_version_0"} <= tensors.keys():
        raise Refused(
            "latents", f"{sorted(tensors)} in {path.name}", "'latent_tensor' and 'latent_format_version_0'"
        )
    return tensors["latent_tensor"]


@dataclass(frozen=True)
class Statistics:
    """How far a clip's mean and spread, channel by channel, are from those of either form, root mean square.

    In units of the spread: 0.1 is a mean off by a tenth of it, or a spread that is a tenth larger. `values`
    are the means and spreads compared, `rms` is the whole tensor's own.
    """

    distance: dict[str, float]
    values: int
    rms: float

    def odds(self, form: str) -> float:
        """How many times likelier than the other form: the likelihoods' ratio, for deviations of unknown
        size."""
        other = DENORMALISED if form == NORMALISED else NORMALISED
        logarithm = self.values * math.log(max(self.distance[other], 1e-9) / max(self.distance[form], 1e-9))
        return math.exp(min(max(logarithm, -99), 99))

    def check(self, form: str, name: str) -> None:
        """Raise `Refused` where they contradict `form`, or are those of no latents at all."""
        distances = ", ".join(f"{far:.2f} from {what}" for what, far in self.distance.items())
        if not 0.05 < self.rms < 20:
            raise Refused("latents", f"values of {self.rms:.2g} (root mean square) in {name}", "about 1")
        if self.odds(form) < 1 / REFUSED_ODDS:
            other = DENORMALISED if form == NORMALISED else NORMALISED
            got = f"{form!r}, where the channels' means and spreads in {name} are {distances}"
            raise Refused("latents_are", got, f"{other!r}, or latents of this model")

    def __str__(self) -> str:
        return ", ".join(f"{far:.2f} from those of {form} latents" for form, far in self.distance.items())


def statistics(z_bcthw: torch.Tensor, vae: nn.Module) -> Statistics:
    """The statistics of latents [B, C, T, H, W] in either form."""
    values = z_bcthw.double().transpose(0, 1).flatten(1)
    mean, spread = values.mean(1), values.std(1, correction=0).clamp_min(1e-9)
    means, spreads = usual(vae, z_bcthw.shape[2])
    usual_mean, usual_spread = means.mean(1), spreads.square().mean(1).sqrt()
    forms = {NORMALISED: (usual_mean * 0, usual_mean * 0 + 1), DENORMALISED: (usual_mean, usual_spread)}
    distance = {}
    for form, (centre, wide) in forms.items():
        off = torch.cat([(mean - centre) / wide, (spread / wide).log()])
        distance[form] = off.square().mean().sqrt().item()
    return Statistics(distance, 2 * len(mean), values.square().mean().sqrt().item())


def read_clip(path: Path, frames: int, size: tuple[int, int]) -> torch.Tensor:
    """The first frames of a video, cropped at the middle to `size`: [3, T, H, W] in [-1, 1]."""
    height, width = size
    thwc = imageio.imread(path, plugin="FFMPEG" if path.suffix != ".gif" else None)[:frames, ..., :3]
    if thwc.shape[0] < frames or thwc.shape[1] < height or thwc.shape[2] < width:
        raise Refused(
            "clip",
            f"{thwc.shape[0]} frames of {thwc.shape[1]}×{thwc.shape[2]}",
            f"{frames} of {height}×{width}",
        )
    top, left = (thwc.shape[1] - height) // 2, (thwc.shape[2] - width) // 2
    cropped = torch.from_numpy(thwc[:, top : top + height, left : left + width].copy())
    return cropped.permute(3, 0, 1, 2).float() / 127.5 - 1


def check_rank(z: torch.Tensor, channels: int) -> None:
    if z.dim() != 5 or z.shape[1] != channels or 0 in z.shape:
        raise Refused("latents", f"shape {tuple(z.shape)}", f"[B, {channels}, T, H, W], none of them 0")


def check_latents(z: torch.Tensor, channels: int) -> torch.Tensor:
    check_rank(z, channels)
    check_finite("latents", {"the latents": z})
    return z
