"""The Mochi decoder for tiles: the same weights and the same numbers in another shape of program."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.decoders.attention import as_linear
from ttvideo.decoders.causal import EDGES, FIRST, CausalConv
from ttvideo.decoders.clip_decoder import ClipDecoder, Memory, frames_of
from ttvideo.decoders.group_norm import group_norm_silu
from ttvideo.decoders.mochi_layout import Resnet, Shuffle, mochi_layout
from ttvideo.decoders.packed import packed_linear, packed_norm
from ttvideo.decoders.pixel_shuffle import PixelShuffle
from ttvideo.decoders.residual import ResidualBlock
from ttvideo.media.latents import DROPPED_FRAMES


class TileDecoder(ClipDecoder):
    """A `MochiDecoder3D` (diffusers) that decodes a clip in steps of any number of latent frames, exactly.

    [B, 12, T, H, W] -> [B, 3, 6 T, 8 H, 8 W]. One latent frame is decoded after the other, so that no tensor
    is larger than two frames of the video, whatever the length of the step. At so many of the last sizes as
    `packed_sizes` says, where a latent frame gives an even number of frames, a tensor holds two, [H * W, 2 C]
    (see `ttvideo.decoders.packed`).

    The state are the two frames that each convolution saw last, with their edges: [B, 1, (H + 2) * (W + 2),
    C] each, "up_blocks.0.resnets.1.conv1.60x106.past2" and "….past1", or both in one, [B, 1, (H + 2) * (W +
    2), 2 C], "block_out.resnets.0.conv1.480x848.past2". It can be saved as it is.

    It gives a clip's first frames, too, which its autoencoder `drops`: `dropped_frames`. Copies the decoder's
    weights and changes nothing in it. Raises `Refused` for a module that isn't a Mochi decoder.
    """

    follows = ("drop_last_temporal_frames",)

    def __init__(self, decoder: nn.Module, drops: bool = True, packed_sizes: int = 2):
        super().__init__()
        self.dropped_frames = DROPPED_FRAMES * drops
        layout = mochi_layout(decoder)
        self.latent_channels, self.colours = decoder.conv_in.in_channels, decoder.proj_out.out_features
        self.conv_in = as_linear(decoder.conv_in)
        blocks, packed, frames, scale = [], 1, 1, 1
        sizes_left = sum(isinstance(part, Shuffle) for part in layout)
        for part in layout:
            if isinstance(part, Resnet):
                blocks.append(Residual(part, packed))
                continue
            frames, scale, given = frames * part.times, scale * part.by, packed
            packed = 2 if sizes_left <= packed_sizes and frames % 2 == 0 else 1
            blocks.append(PixelShuffle(part.proj, part.scale, part.times, part.by, packed, given))
            sizes_left -= 1
        self.blocks, self.scale = nn.ModuleList(blocks), scale
        self.proj_out = packed_linear(decoder.proj_out, packed)

    def clip(self, z_cthw: Tensor, memory: Memory) -> Tensor:
        """One latent frame after another, so that the steps in which they come change nothing."""
        pictures = []
        for z_nc in frames_of(z_cthw):
            frames = [self.conv_in(z_nc)]
            for block in self.blocks:
                frames = block(frames, memory)
            # Channels first here: [3, N] is the order of the video, and 3 stands where it is padded once, for
            # all frames.
            pictures += [
                self.proj_out.weight @ F.silu(x_nc).t() + self.proj_out.bias[:, None] for x_nc in frames
            ]
            memory = memory.next()
        return (
            torch.cat(pictures)
            .unflatten(0, (-1, self.colours))
            .transpose(0, 1)
            .unflatten(2, memory.at(self.scale))
        )


class Residual(ResidualBlock):
    """A `MochiResnetBlock3D` on frames, `packed` in a tensor."""

    def __init__(self, resnet: Resnet, packed: int = 1):
        super().__init__(
            [packed_norm(norm, packed) for _, norm, _ in resnet.halves],
            [
                CausalConv(name, resnet.scale, conv.weight, conv.bias, FIRST, EDGES, packed)
                for name, _, conv in resnet.halves
            ],
        )

    def normed(self, frames: list[Tensor], norm: nn.GroupNorm) -> list[Tensor]:
        return group_norm_silu(frames, norm)
