"""What each family's pipeline gives for `output_type="latent"`, and what ComfyUI saves: one rule a family.

A rule is what the pipeline's source says (diffusers 0.42.1); no shape is ever asked, [B, 16, 16, H, W] least
of all. A new family is a line in `GIVEN`.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from ttvideo.basics.errors import Refused

NORMALISED, DENORMALISED = "normalised", "denormalised"
DECODERS_AXES = "BCTHW"


@dataclass(frozen=True)
class Given:
    """`axes` of a tensor of rank 5, and `form`: normalised, or as `vae.decode` takes it.

    `patch` is that of packed latents, which come as tokens [B, T * H / p * W / p, C * p * p], C before the
    patch; 0 where no pipeline packs them. `adds` is a pipeline that may put latent frames before the clip, to
    a multiple of so many, and drops them before it decodes, but not from what it gives. `still` says that it
    makes one image. `comfyui` is the form of ComfyUI's .latent files, whose axes are the decoder's.
    """

    axes: str = DECODERS_AXES
    form: str = NORMALISED
    patch: int = 0
    adds: tuple[str, int] | None = None
    still: bool = False
    comfyui: str = DENORMALISED

    def as_decoded(
        self, z: Tensor, channels: int, shape: tuple[int, ...], dropped: int | None = None
    ) -> Tensor:
        """A pipeline's latents -> [B, C, T, H, W], of the same values.

        `shape` is the clip's where they are packed, `dropped` how many latent frames are left out at the
        begin. Raises `Refused` for another shape, and where either must be told and isn't.
        """
        if self.patch and z.dim() == 3:
            z = self.unpacked(z, shape)
        if z.dim() != 5 or z.shape[self.axes.index("C")] != channels or 0 in z.shape:
            axes = ", ".join(self.axes).replace("C", str(channels))
            need = f"[{axes}], none of them 0, as the pipeline gives them" + ", or packed" * bool(self.patch)
            raise Refused("latents", f"shape {tuple(z.shape)}", need)
        z = z.permute(*map(self.axes.index, DECODERS_AXES))
        if self.adds and z.shape[2] % self.adds[1] == 0 and dropped is None:
            need = f"dropped_latents (--dropped-latents), how many {self.adds[0]} put before the clip: 1 or 0"
            raise Refused("latents", f"{z.shape[2]} latent frames, which may be too many", need)
        return z[:, :, dropped or 0 :]

    def unpacked(self, z: Tensor, shape: tuple[int, ...]) -> Tensor:
        frames, height, width = shape[2:]
        p = self.patch
        tokens = frames * (height // p) * (width // p)
        if z.shape[1] != tokens or height % p or width % p or z.shape[2] % p**2 or self.still and frames > 1:
            got = f"{z.shape[1]} tokens, packed, for {frames} x {height} x {width}"
            need = "latent_frames (1, an image)" if self.still else "latent_frames"
            raise Refused("latents", got, f"{need}, latent_height and latent_width of what was packed")
        z = z.unflatten(2, (-1, p, p)).unflatten(1, (frames, height // p, width // p))
        return z.permute(0, 4, 1, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4)


GIVEN = {
    "AutoencoderKLMochi": Given(),
    "AutoencoderKLWan": Given(),
    "AutoencoderKLQwenImage": Given(patch=2, still=True),
    "AutoencoderKLCogVideoX": Given(axes="BTCHW", adds=("CogVideoX 1.5's pipeline", 2)),
    "AutoencoderKLHunyuanVideo": Given(),
    "AutoencoderKLHunyuanVideo15": Given(),
    # The VAE itself denormalises in ComfyUI, so its files are normalised.
    "AutoencoderKLLTXVideo": Given(patch=1, comfyui=NORMALISED),
    "AutoencoderKLLTX2Video": Given(form=DENORMALISED, comfyui=NORMALISED),
}


def given_by(vae: nn.Module) -> Given:
    """The rule of an autoencoder's family. Raises `Refused` for one that has none."""
    kind = type(vae).__name__
    if kind not in GIVEN:
        raise Refused("latents", f"a file, for an {kind}", f"an autoencoder of {', '.join(GIVEN)}")
    return GIVEN[kind]
