"""CogVideoX's decoder in TT-NN's ops.

Its norm is one pass after that of the sums: the maps of the latents that scale and shift it stay as coarse as
the latents, and the pass finds each pixel's place in them. A frame that stands twice is upsampled once.
"""

from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.decoders.cogvideox import CHUNK, CogVideoXTileDecoder, in_chunks
from ttvideo.decoders.native_family import Family
from ttvideo.decoders.native_writer import FIRST, ZEROS, Writer
from ttvideo.programs.program import Value


class CogVideoX(Family):
    """A `CogVideoXDecoder3D` (diffusers), as its autoencoder drives it: two latent frames at a time, three
    where odd.

    [1, 16, T, H, W] -> [1, 3, 4 T, 8 H, 8 W], 3 frames fewer where a clip begins with an odd number of latent
    frames.
    """

    follows = CogVideoXTileDecoder.follows

    def __init__(self, decoder: nn.Module, post_quant: nn.Module | None = None, chunk_size: int = CHUNK):
        CogVideoXTileDecoder(decoder, post_quant, chunk_size)  # which refuses what it doesn't know
        super().__init__(decoder, post_quant)
        self.chunk_size = chunk_size
        self.latent_channels = decoder.conv_in.conv.in_channels

    def steps(self, latent_frames: int, frames_per_step: int | None = None) -> list[int]:
        return in_chunks(self.chunk_size, latent_frames, frames_per_step)

    def pieces(self, latents: int, begins: bool) -> list[int]:
        size = self.chunk_size
        if not begins and latents % size:
            need = f"a multiple of {size}, what is normalised together; what is odd belongs to the first step"
            raise Refused("latent frames of a step", latents, need)
        first = latents if latents < size else latents % size + size
        return [first] + [size] * ((latents - first) // size)

    def write(self, writer: Writer, z: Value) -> Value:
        decoder, z = self.decoder, self.quantised(writer, z)
        writer.place = "conv_in"
        x = conv(writer, writer.after_past(z, FIRST), decoder.conv_in)
        for i, resnet in enumerate(decoder.mid_block.resnets):
            x = residual(writer, f"mid_block.resnets.{i}", resnet, x, z)
        for i, block in enumerate(decoder.up_blocks):
            for j, resnet in enumerate(block.resnets):
                x = residual(writer, f"up_blocks.{i}.resnets.{j}", resnet, x, z)
            for upsampler in block.upsamplers or ():
                writer.place = f"up_blocks.{i}.upsamplers.0"
                x = upsample(writer, upsampler, x)
        writer.place = "conv_out"
        return conv(writer, norm(writer, decoder.norm_out, x, z), decoder.conv_out)


def norm(writer: Writer, stock: nn.Module, x: Value, z: Value) -> Value:
    """A `CogVideoXSpatialNorm3D` and SiLU."""
    return writer.spatial_norm_silu(x, stock.norm_layer, stock.conv_y.conv, stock.conv_b.conv, z)


def conv(writer: Writer, clip: Value, stock: nn.Module) -> Value:
    weight = stock.conv.weight
    return writer.conv(clip, weight, stock.conv.bias, padding=weight.shape[-1] // 2, around=ZEROS)


def residual(writer: Writer, name: str, block: nn.Module, x: Value, z: Value) -> Value:
    """A `CogVideoXResnetBlock3D`."""
    rest, shortcut = x, getattr(block, "conv_shortcut", None)
    if shortcut is not None:
        writer.place = f"{name}.conv_shortcut"
        rest = writer.pointwise(x, shortcut.weight.flatten(1), shortcut.bias)
    for half, stock, causal in (("conv1", block.norm1, block.conv1), ("conv2", block.norm2, block.conv2)):
        writer.place = f"{name}.{half}"
        x = conv(writer, norm(writer, stock, x, z), causal)
    return writer.add(x, rest)


def upsample(writer: Writer, block: nn.Module, x: Value) -> Value:
    """A `CogVideoXUpsample3D`: twice the height and width; with `compress_time` twice the frames, but one of
    an odd number."""
    x = writer.depth_to_space(x, repeats=(1, 2, 2))
    x = writer.conv(x, block.conv.weight[:, :, None], block.conv.bias, padding=1, around=ZEROS)
    frames = x.type.shape[1]
    if not block.compress_time or frames == 1:
        return x
    return writer.depth_to_space(x, repeats=(2, 1, 1), single=frames % 2 == 1)
