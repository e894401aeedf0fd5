"""What a family says of its decoder in TT-NN's ops: `ttvideo.decoders.native` makes programs of it."""

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn

from ttvideo.decoders.clip_decoder import Shapes, split
from ttvideo.decoders.native_writer import PARTS, Writer
from ttvideo.programs.program import Value

FRAMES = "frames"  # the name of a program's result that isn't the state's


def in_twos(latent_frames: int, frames_per_step: int | None = None) -> list[int]:
    """Cut a clip as `split` does, by default into steps of two latent frames: where an n150 has the memory
    at every size that is in use, they move less and are expected to take less time than steps of one."""
    return split(latent_frames, 2 if frames_per_step is None else frames_per_step)


class Family(nn.Module):
    """Its weights, copied in bf16, and `write`, which has a `Writer` write some latent frames' pass through
    them.

    Frames come as [1, T, H, W, C], `patch` * `patch` * 3 channels first of all, in that order; `clamped` ones
    within -1 and 1. `pieces` says which latent frames of a step go through together, `parts` as how many
    items a frame's sums are shared out among cores. Where frames come late, by `delay` latent frames, a first
    step of `first` ones is the least that another can follow. `scale`, of those that may give none in a step,
    says how many times as high and wide as latents they are. What is `timed` is given a timestep, `temb`.
    """

    latent_channels: int
    streaming = "constant state"
    dropped_frames = delay = 0
    first, scale = 1, 1
    patch, clamped, timed = 1, False, False
    images = False  # takes images, too: a clip whose frames don't see each other
    parts = PARTS
    follows: tuple[str, ...] = ()  # settings that may have been changed (`ttvideo.decoders.as_built`)
    padding_modes: tuple[str, ...] = ("zeros",)
    steps = staticmethod(split)

    def __init__(self, *stock: nn.Module | None):
        super().__init__()
        copies = (one and deepcopy(one).to(torch.bfloat16).requires_grad_(False) for one in stock)
        self.decoder, *self.others = copies

    def pieces(self, latents: int, begins: bool) -> list[int]:
        return [latents]

    def seen(self, state: Shapes, size: tuple[int, int]) -> int | None:
        """How many latent frames of this size a state of these shapes has seen, where programs depend on it,
        at least 1."""
        return None

    def quantised(self, writer: Writer, z: Value) -> Value:
        """Latents through the autoencoder's layer before its decoder, the first of `others`, if any."""
        post_quant = self.others[0]
        if post_quant is None:
            return z
        writer.place = "post_quant_conv"
        return writer.pointwise(z, post_quant.weight.flatten(1), post_quant.bias, least=2)

    def conditions(self, temb: Tensor) -> dict[str, Tensor]:
        """What programs take beside latents, for a timestep [1], by the arguments' names."""
        raise NotImplementedError

    def rows(self, writer: Writer, zs: list[Value]) -> Iterator[Value | None]:
        """Frames of each piece of a step's latents, None where there is none yet."""
        for i, z in enumerate(zs):
            if i:
                writer.follow(z.type.shape[1])
            yield self.write(writer, z)

    def write(self, writer: Writer, z: Value) -> Value | None:
        """Latents [1, T, H, W, C], filled up, -> frames, None where there is none yet."""
        raise NotImplementedError
