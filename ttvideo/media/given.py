"""What each family's pipeline gives for `output_type="latent"`, and what ComfyUI saves: one rule a family.

A rule is what the pipeline's source says (the end of `__call__`, diffusers 0.42.1). ComfyUI's SaveLatent
(nodes.py) writes what its VAE node decodes: a sampler's latents after `process_out` of their format
(latent_formats.py), which denormalises by the published config's figures, or leaves it to the VAE. No shape
is ever asked, [B, 16, 16, H, W] least of all. A new family is a line in `GIVEN`, or says in `ELSEWHERE` why
it has none.

Some pipelines don't do as the others of their autoencoder: what Wan-Animate's gives is denormalised, and
what SANA-Video's gives of LTX-2's is normalised. The channels' statistics contradict the rule then, and the
file is refused until `form` is told. Nothing tells images of reference, which Wan's VACE and Animate put
before the clip: `dropped` is for them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from ttvideo.basics.errors import Refused

NORMALISED, DENORMALISED = "normalised", "denormalised"
DECODERS_AXES = "BCTHW"


@dataclass(frozen=True)
class Given:
    """`axes` of a tensor that isn't packed, and `form`: normalised, or as `vae.decode` takes it.

    `patch` is that of packed latents, which come as tokens [B, T * H / p * W / p, C * p * p], C before the
    patch; 0 where no pipeline packs them. `adds` is a pipeline that may put latent frames before the clip, to
    a multiple of so many, and drops them before it decodes, but not from what it gives. `still` says that it
    makes one image. `decodes` are the axes that `vae.decode` takes and ComfyUI saves, T those of one clip.
    `comfyui` is the form of ComfyUI's .latent files, None where it has no such latents. `spread` is that of
    normalised latents, sigma_data; `by_frame` says that the config's means and spreads are each latent
    frame's own.
    """

    axes: str = DECODERS_AXES
    form: str = NORMALISED
    patch: int = 0
    adds: tuple[str, int] | None = None
    still: bool = False
    last: str = ""
    decodes: str = DECODERS_AXES
    comfyui: str | None = DENORMALISED
    spread: float = 1.0
    by_frame: bool = False

    def as_decoded(
        self, z: Tensor, channels: int, shape: tuple[int, ...], dropped: int | None = None
    ) -> Tensor:
        """A pipeline's latents -> [B, C, T, H, W], of the same values.

        `shape` is the clip's where they are packed, `dropped` how many latent frames are left out at the
        begin. Raises `Refused` for another shape, and where either must be told and isn't.
        """
        if self.patch and z.dim() == 3:
            z = placed(self.unpacked(z, shape), DECODERS_AXES, channels)
        elif self.last and z.dim() == 5 and z.shape[1] == z.shape[4] == channels:
            got = f"shape {tuple(z.shape)}, which {self.last} gives as [B, T, H, W, {channels}]"
            raise Refused("latents", got, "what vae.decode takes, said to be denormalised")
        else:
            z = placed(z, self.axes, channels, "the pipeline gives them" + ", or packed" * bool(self.patch))
        if self.adds and z.shape[2] % self.adds[1] == 0 and dropped is None:
            need = f"dropped_latents (--dropped-latents), how many {self.adds[0]} put before the clip: 1 or 0"
            raise Refused("latents", f"{z.shape[2]} latent frames, which may be too many", need)
        return z[:, :, dropped or 0 :]

    def unpacked(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        frames, height, width = shape[2:]
        p = self.patch
        tokens = frames * (height // p) * (width // p)
        if z.shape[1] != tokens or height % p or width % p or z.shape[2] % p**2:
            got = f"{z.shape[1]} tokens, packed, for {frames} x {height} x {width}"
            need = "latent_frames (1, an image)" if self.still else "latent_frames"
            raise Refused("latents", got, f"{need}, latent_height and latent_width of what was packed")
        z = z.unflatten(2, (-1, p, p)).unflatten(1, (frames, height // p, width // p))
        return z.permute(0, 4, 1, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4)


def placed(z: Tensor, axes: str, channels: int, by: str = "vae.decode takes them") -> Tensor:
    """A tensor of these axes -> [B, C, T, H, W], with one of what it has none of. Raises `Refused` for
    another shape."""
    if z.dim() != len(axes) or z.shape[axes.index("C")] != channels or 0 in z.shape:
        need = ", ".join(axes).replace("C", str(channels))
        raise Refused("latents", f"shape {tuple(z.shape)}", f"[{need}], none of them 0, as {by}")
    for axis in set(DECODERS_AXES) - set(axes):
        z, axes = z[None], axis + axes
    return z.permute(*map(axes.index, DECODERS_AXES))


IMAGE = Given(axes="BCHW", decodes="BCHW", still=True)
GIVEN = {
    "AutoencoderKLMochi": Given(),
    "AutoencoderKLWan": Given(),
    # ComfyUI takes its latents for Wan's, one frame of them; layers, and the image before them, are frames.
    "AutoencoderKLQwenImage": Given(patch=2, still=True),
    # ComfyUI crops what it added to the clip (ldm/cogvideo/model.py).
    "AutoencoderKLCogVideoX": Given(axes="BTCHW", adds=("CogVideoX 1.5's pipeline", 2)),
    "AutoencoderKLHunyuanVideo": Given(last="Kandinsky 5's pipeline"),
    "AutoencoderKLHunyuanVideo15": Given(),
    # ComfyUI's VAE itself denormalises (ldm/lightricks/vae/causal_video_autoencoder.py), so its files don't.
    "AutoencoderKLLTXVideo": Given(patch=1, comfyui=NORMALISED),
    "AutoencoderKLLTX2Video": Given(form=DENORMALISED, comfyui=NORMALISED),
    # Its scheduler's sigma_data is 0.5, and ComfyUI's VAE divides by it and denormalises (ldm/cosmos/vae.py).
    "AutoencoderKLCosmos": Given(spread=0.5, by_frame=True, comfyui=NORMALISED),
    # ComfyUI has no EasyAnimate.
    "AutoencoderKLMagvit": Given(comfyui=None),
    # In ComfyUI a batch of images (nodes_video_model.py).
    "AutoencoderKLTemporalDecoder": Given(axes="BTCHW", decodes="TCHW"),
    # Of Stable Diffusion, SDXL, SD3; FLUX packs them.
    "AutoencoderKL": replace(IMAGE, patch=2),
    # ComfyUI's latents are the large autoencoder's, times a factor that their file doesn't tell.
    "AutoencoderTiny": replace(IMAGE, patch=2, comfyui=None),
    "AutoencoderKLHunyuanImage": IMAGE,
}
# AutoencoderKL's own: GLM-Image's config has it beside means and spreads, and its pipeline takes those alone.
DEFAULT_FACTOR = 0.18215

# What is asked for instead of an autoencoder that is known and has no rule.
IN_ITS_PIPELINE = "pipe.vae = ttvideo.on(pipe.vae, target) in its pipeline's script"
ELSEWHERE = {
    "AutoencoderKLFlux2": f"{IN_ITS_PIPELINE}: it normalises patches of 2 x 2 latents",
    "AutoencoderKLHunyuanImageRefiner": f"{IN_ITS_PIPELINE}: it packs latent frames in pairs",
    "Kandinsky6SRVAE": f"{IN_ITS_PIPELINE}: it gives no latents",
    "AutoencoderKLKVAEVideo": "ttvideo.on(vae, target) in a script: none of diffusers' pipelines has it",
    "AutoencoderKLAllegro": "ttvideo.for_tiles(vae.decoder) in a script: it decodes tiles that it blends",
}


def given_by(vae: nn.Module) -> Given:
    """The rule of an autoencoder's family. Raises `Refused` for one that has none."""
    kind = type(vae).__name__
    if kind not in GIVEN:
        raise Refused("latents", f"a file, for an {kind}", instead(kind, GIVEN))
    return GIVEN[kind]


def instead(kind: str, known: Iterable[str]) -> str:
    """What is asked for, where a class isn't one of those `known`."""
    return ELSEWHERE.get(kind, f"an autoencoder of {', '.join(known)}")
