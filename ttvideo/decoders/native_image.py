"""The decoders of images, diffusers' `AutoencoderKL` and `AutoencoderTiny`, in TT-NN's ops: a clip whose frames
don't see each other."""

import torch
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.decoders.attention import as_linear
from ttvideo.decoders.image import ImageTileDecoder, TinyTileDecoder
from ttvideo.decoders.native_family import Family
from ttvideo.decoders.native_writer import ZEROS, Writer
from ttvideo.programs.program import Value


class ImageFamily(Family):
    """Takes a clip of images, [1, C, T, H, W] -> [1, 3, T, s H, s W]; nothing is kept."""

    images = True
    parts = 128  # an image has the chip to itself


class Image(ImageFamily):
    """A `Decoder` (diffusers), with its autoencoder's `post_quant_conv`."""

    def __init__(self, decoder: nn.Module, post_quant: nn.Module | None = None):
        ImageTileDecoder(decoder, post_quant)  # which refuses what it doesn't know
        super().__init__(decoder, post_quant)
        self.latent_channels = decoder.conv_in.in_channels

    def write(self, writer: Writer, z: Value) -> Value:
        decoder, z = self.decoder, self.quantised(writer, z)
        writer.place = "conv_in"
        x = conv(writer, z, decoder.conv_in)
        mid = decoder.mid_block
        x = residual(writer, "mid_block.resnets.0", mid.resnets[0], x)
        for i, (stock, resnet) in enumerate(zip(mid.attentions, mid.resnets[1:])):
            if stock is not None:
                writer.place = f"mid_block.attentions.{i}"
                normed = writer.norm_silu(x, stock.group_norm, before=None, silu=False)
                qkv = as_linear(stock.to_q, stock.to_k, stock.to_v)
                x = writer.frame_attention(x, normed, qkv, stock.to_out[0])
            x = residual(writer, f"mid_block.resnets.{i + 1}", resnet, x)
        for i, block in enumerate(decoder.up_blocks):
            for j, resnet in enumerate(block.resnets):
                x = residual(writer, f"up_blocks.{i}.resnets.{j}", resnet, x)
            for j, upsampler in enumerate(block.upsamplers or ()):
                writer.place = f"up_blocks.{i}.upsamplers.{j}"
                x = conv(writer, writer.depth_to_space(x, repeats=(1, 2, 2)), upsampler.conv)
        writer.place = "conv_out"
        return conv(writer, writer.norm_silu(x, decoder.conv_norm_out, before=None), decoder.conv_out)


class Tiny(ImageFamily):
    """A `DecoderTiny` (diffusers), of ReLU."""

    def __init__(self, decoder: nn.Module):
        TinyTileDecoder(decoder)  # which refuses what it doesn't know
        for name, part in decoder.named_modules():
            if isinstance(part, (nn.SiLU, nn.GELU, nn.Mish)):
                raise Refused(
                    f"native, {name}", f"the activation {type(part).__name__}", "ReLU, or for_tiles"
                )
        super().__init__(decoder)
        self.latent_channels = decoder.layers[0].in_channels

    def write(self, writer: Writer, z: Value) -> Value:
        writer.place = "clamp"
        three = writer.full(z.type.shape, 3)
        x = writer.binary("multiply", writer.binary("divide", z, three, ("tanh",)), three)
        for i, layer in enumerate(self.decoder.layers):
            x = tiny_layer(writer, f"layers.{i}", layer, x)
        writer.place = "range"
        return writer.binary("subtract", writer.add(x, x), writer.full(x.type.shape, 1))


def conv(writer: Writer, x: Value, stock: nn.Conv2d) -> Value:
    """A Conv2d with zeros around."""
    weight = stock.weight
    bias = torch.zeros_like(weight[:, 0, 0, 0]) if stock.bias is None else stock.bias
    return writer.conv(x, weight[:, :, None], bias, padding=weight.shape[-1] // 2, around=ZEROS)


def residual(writer: Writer, name: str, block: nn.Module, x: Value) -> Value:
    """A `ResnetBlock2D` without a timestep."""
    rest = x
    if block.conv_shortcut is not None:
        writer.place = f"{name}.conv_shortcut"
        rest = conv(writer, x, block.conv_shortcut)
    for half, stock, its in (("conv1", block.norm1, block.conv1), ("conv2", block.norm2, block.conv2)):
        writer.place = f"{name}.{half}"
        x = conv(writer, writer.norm_silu(x, stock, before=None), its)
    return writer.add(x, rest)


def tiny_layer(writer: Writer, name: str, layer: nn.Module, x: Value) -> Value:
    writer.place = name
    if isinstance(layer, nn.Conv2d):
        return conv(writer, x, layer)
    if isinstance(layer, nn.ReLU):
        return writer.op("ttnn.relu", [x], (x.type.shape, "bf16"))[0]
    if isinstance(layer, nn.Upsample):
        by = int(layer.scale_factor)
        return writer.depth_to_space(x, repeats=(1, by, by))
    rest = x if isinstance(layer.skip, nn.Identity) else conv(writer, x, layer.skip)
    for i, part in enumerate(layer.conv):
        x = tiny_layer(writer, f"{name}.conv.{i}", part, x)
    writer.place = name
    return writer.add(x, rest, ("relu",))
