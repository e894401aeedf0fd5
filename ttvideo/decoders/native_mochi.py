"""Mochi's decoder in TT-NN's ops.

Norm and SiLU write the clip behind the two frames of its past, so that the convolution finds them in one
tensor, and keep its last two for the next step: nothing else is copied.
"""

from torch import nn

from ttvideo.decoders.mochi import TileDecoder
from ttvideo.decoders.mochi_layout import Resnet, Shuffle, mochi_layout
from ttvideo.decoders.native_family import Family, in_twos
from ttvideo.decoders.native_writer import Writer
from ttvideo.decoders.pixel_shuffle import rows_in_order
from ttvideo.media.latents import DROPPED_FRAMES
from ttvideo.programs.program import Value


class Mochi(Family):
    """A `MochiDecoder3D` (diffusers): [1, 12, T, H, W] -> [1, 3, 6 T, 8 H, 8 W]."""

    follows = TileDecoder.follows
    steps = staticmethod(in_twos)

    def __init__(self, decoder: nn.Module, drops: bool = True):
        mochi_layout(decoder)
        super().__init__(decoder)
        self.dropped_frames = DROPPED_FRAMES * drops
        self.latent_channels = decoder.conv_in.in_channels

    def write(self, writer: Writer, z: Value) -> Value:
        decoder, writer.place = self.decoder, "conv_in"
        x = writer.pointwise(z, decoder.conv_in.weight.flatten(1), decoder.conv_in.bias)
        x = parts(writer, mochi_layout(decoder), x, ends=True)
        writer.place = "proj_out"
        return writer.pointwise(x, decoder.proj_out.weight, decoder.proj_out.bias)


def parts(writer: Writer, layout: list[Resnet | Shuffle], x: Value, ends: bool = False) -> Value:
    """One after the other; SiLU at the end of the last, a residual block, where the decoder `ends`."""
    for part in layout:
        last = ends and part is layout[-1]
        x = resnet(writer, part, x, last) if isinstance(part, Resnet) else shuffle(writer, part, x)
    return x


def resnet(writer: Writer, block: Resnet, x: Value, ends: bool = False) -> Value:
    """Two convolutions of normed clips, and x; SiLU of it where the decoder `ends`."""
    shortcut = x
    for name, norm, conv in block.halves:
        writer.place = name
        x = writer.conv(writer.norm_silu(x, norm), conv.weight, conv.bias, padding=1)
    return writer.add(x, shortcut, ("silu",) if ends else ())


def shuffle(writer: Writer, block: Shuffle, x: Value) -> Value:
    """A projection and depth to space."""
    writer.place = f"{block.name}.proj"
    weight, bias = (rows_in_order(p, block.times, block.by) for p in (block.proj.weight, block.proj.bias))
    return writer.depth_to_space(writer.pointwise(x, weight, bias), (block.times, block.by, block.by))
