"""The Mochi decoder for tiles: the same weights and the same numbers in another shape of program."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused
from ttvideo.decoders.abreast import wide_linear, wide_norm
from ttvideo.decoders.causal_conv import CausalConv
from ttvideo.decoders.checks import check_step
from ttvideo.decoders.group_norm import group_norm_silu, group_norm_silu_stock
from ttvideo.decoders.pixel_shuffle import PixelShuffle
from ttvideo.decoders.steps import split
from ttvideo.media.latents import DROPPED_FRAMES

State = dict[str, Tensor]


@dataclass(frozen=True)
class Rewrites:
    """What is rewritten. Each can be switched off alone, to see what it buys."""

    pairs: int = (
        2  # at so many of the last sizes two frames, if their number is even, are convolved as one, else each alone
    )
    weights: bool = True  # weights reordered before the graph, else in it
    padding: bool = True  # replicate padding as a gather of rows, else F.pad
    row_major: bool = True  # from the padding to the convolution without tiles
    group_norm: bool = True  # sums a channel at a time, applied as a linear layer, else F.group_norm
    pixel_shuffle: bool = True  # as a gather of rows, else view, permute, view


class TileDecoder(nn.Module):
    """A `MochiDecoder3D` (diffusers) that decodes a clip in steps of any number of latent frames, exactly.

    Inside, a latent frame becomes a list of frames, and a frame is pixels by channels, [H * W, C]: channels last, no
    dimension under 32 in the last two places, and no tensor larger than two frames of the video, whatever the length of
    the step. Where a latent frame gives an even number of frames, from the second pixel shuffle on, a tensor holds two,
    [H * W, 2 C] (see `ttvideo.decoders.abreast`).

    The state is a flat dict of tensors, the two frames that each convolution saw last, padded: [B, 1, (H + 2) * (W + 2),
    C] each, "up_blocks.0.resnets.1.conv1.60x106.past2" and "….past1", or both in one, [B, 1, (H + 2) * (W + 2), 2 C],
    "block_out.resnets.0.conv1.480x848.past2". The name holds H x W, because 60 x 106 and 106 x 60 have the same shape.
    It can be saved as it is.

    Copies the decoder's weights and changes nothing in it. Raises `Refused` for a module that isn't a Mochi decoder.
    """

    streaming = "constant state"
    dropped_frames = DROPPED_FRAMES
    steps = staticmethod(split)

    def __init__(self, decoder: nn.Module, rewrites: Rewrites = Rewrites()):
        super().__init__()
        parts = ("conv_in", "block_in", "up_blocks", "block_out", "proj_out")
        if not all(hasattr(decoder, part) for part in parts):
            raise Refused("decoder", type(decoder).__name__, "a MochiDecoder3D")
        self.rewrites = rewrites
        self.conv_in = deepcopy(decoder.conv_in)
        self.norms, self.convs, self.shuffles = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        self.plan = []  # what runs in turn: the two halves of a residual block, or the name of a pixel shuffle
        blocks = {"block_in": decoder.block_in}
        blocks |= {f"up_blocks.{i}": block for i, block in enumerate(decoder.up_blocks)}
        blocks |= {"block_out": decoder.block_out}
        abreast, frames = 1, 1  # frames of a latent frame
        for name, block in blocks.items():
            for i, resnet in enumerate(block.resnets):
                halves = f"{name}.resnets.{i}.conv1", f"{name}.resnets.{i}.conv2"
                for half, norm, conv in zip(halves, (resnet.norm1, resnet.norm2), (resnet.conv1, resnet.conv2)):
                    self.norms[_key(half)] = wide_norm(norm.norm_layer, abreast)
                    self.convs[_key(half)] = CausalConv(conv.conv, rewrites, abreast)
                self.plan.append(halves)
            if hasattr(block, "proj"):
                expansion = block.temporal_expansion, block.spatial_expansion, block.spatial_expansion
                frames *= block.temporal_expansion
                sizes_left = len(decoder.up_blocks) - len(self.shuffles)
                given, abreast = abreast, 2 if sizes_left <= rewrites.pairs and frames % 2 == 0 else 1
                self.shuffles[_key(name)] = PixelShuffle(block.proj, expansion, rewrites, abreast, given)
                self.plan.append(name)
        self.proj_out, self.colours = wide_linear(decoder.proj_out, abreast), decoder.proj_out.out_features

    @property
    def latent_channels(self) -> int:
        return self.conv_in.in_channels

    def state_shapes(
        self, batch: int, height: int, width: int, latents: int | None = None
    ) -> dict[str, tuple[int, int, int, int]]:
        """The state's names and shapes, for latents of this height and width, however many."""
        shapes, size = {}, (height, width)
        for entry in self.plan:
            if isinstance(entry, str):
                _, sh, sw = self.shuffles[_key(entry)].expansion
                size = size[0] * sh, size[1] * sw
                continue
            for name in entry:
                conv = self.convs[_key(name)]
                shapes |= {past: (batch, *conv.past_shape(size)) for past in _pasts(name, conv, size)}
        return shapes

    def check(self, z_bcthw: Tensor, state: State | None = None) -> None:
        """Raise `Refused` for latents or a state of a wrong rank, size or type. Looks at no value."""
        check_step(z_bcthw, state, self.latent_channels, self.conv_in.weight.dtype, self.state_shapes)

    def forward(self, z_bcthw: Tensor, state: State | None = None, ends: bool = True) -> tuple[Tensor, State]:
        """Decode a step: [B, 12, T, H, W] -> [B, 3, 6 T, 8 H, 8 W], and the state for the next step.

        `state` is None at the start of a clip; `ends` is other families' need to know. Raises `Refused` as `check` does.
        """
        self.check(z_bcthw, state)
        clips, states = [], []
        for b, z_cthw in enumerate(z_bcthw):
            clip, new = self._clip(z_cthw, state and {name: past[b : b + 1] for name, past in state.items()})
            clips.append(clip)
            states.append(new)
        return torch.stack(clips), {name: torch.cat([new[name] for new in states]) for name in states[0]}

    def _clip(self, z_cthw: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One latent frame after another, so that the steps in which they come change nothing."""
        pictures = []
        for z_chw in z_cthw.unbind(1):
            frames, size, state = self._latent(z_chw, state)
            # Channels first here: [3, N] is the order of the video, and 3 stands where it is padded once, for all frames.
            pictures += [self.proj_out.weight @ F.silu(frame).t() + self.proj_out.bias[:, None] for frame in frames]
        return torch.cat(pictures).unflatten(0, (-1, self.colours)).transpose(0, 1).unflatten(2, size), state

    def _latent(self, z_chw: Tensor, state: State | None) -> tuple[list[Tensor], tuple[int, int], State]:
        """[12, H, W] -> the frames before `proj_out`, their height and width, and the state."""
        size, new = tuple(z_chw.shape[1:]), {}
        norm_silu = group_norm_silu if self.rewrites.group_norm else group_norm_silu_stock
        frames = [F.linear(z_chw.flatten(1).t(), self.conv_in.weight.flatten(1), self.conv_in.bias)]
        for entry in self.plan:
            if isinstance(entry, str):
                frames, size = self.shuffles[_key(entry)](frames, size)
                continue
            x = frames
            for name in entry:
                norm, conv = self.norms[_key(name)], self.convs[_key(name)]
                pasts = _pasts(name, conv, size)
                x, kept = conv(norm_silu(x, norm), size, state and [state[p] for p in pasts])
                new |= zip(pasts, kept)
            frames = [y + frame for y, frame in zip(x, frames)]
        return frames, size, new


def _key(name: str) -> str:
    return name.replace(".", "_")  # a module's name has no dots


def _pasts(name: str, conv: CausalConv, size: tuple[int, int]) -> list[str]:
    return [f"{name}.{size[0]}x{size[1]}.past{age}" for age in range(conv.kernel[0] - 1, 0, -conv.abreast)]
