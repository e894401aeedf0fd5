"""The decoders of images, diffusers' `AutoencoderKL`, `AutoencoderKLHunyuanImage` and `AutoencoderTiny`, in
TT-NN's ops: a clip whose frames don't see each other."""

import torch
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.decoders.attention import as_linear
from ttvideo.decoders.hunyuan15 import repeated
from ttvideo.decoders.hunyuan_image import HunyuanImageTileDecoder
from ttvideo.decoders.image import ImageTileDecoder, TinyTileDecoder
from ttvideo.decoders.native_family import Family
from ttvideo.decoders.native_hunyuan15 import picked
from ttvideo.decoders.native_writer import ZEROS, Writer, parts_filled
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
                layers, name = (stock.to_q, stock.to_k, stock.to_v), f"mid_block.attentions.{i}"
                x = attention(writer, name, stock.group_norm, layers, stock.to_out[0], x)
            x = residual(writer, f"mid_block.resnets.{i + 1}", resnet, x)
        for i, block in enumerate(decoder.up_blocks):
            for j, resnet in enumerate(block.resnets):
                x = residual(writer, f"up_blocks.{i}.resnets.{j}", resnet, x)
            for j, upsampler in enumerate(block.upsamplers or ()):
                writer.place = f"up_blocks.{i}.upsamplers.{j}"
                x = conv(writer, writer.depth_to_space(x, repeats=(1, 2, 2)), upsampler.conv)
        writer.place = "conv_out"
        return conv(writer, writer.norm_silu(x, decoder.conv_norm_out, before=None), decoder.conv_out)


class HunyuanImage(ImageFamily):
    """A `HunyuanImageDecoder2D` (diffusers); its autoencoder adds nothing to it."""

    def __init__(self, decoder: nn.Module):
        HunyuanImageTileDecoder(decoder)  # which refuses what it doesn't know
        super().__init__(decoder)
        self.latent_channels = decoder.conv_in.in_channels

    def write(self, writer: Writer, z: Value) -> Value:
        decoder, writer.place = self.decoder, "conv_in"
        x = conv(writer, z, decoder.conv_in)
        x = writer.add(x, picked(writer, repeated("conv_in", decoder.conv_in, decoder.repeat), z))
        mid = decoder.mid_block
        x = residual(writer, "mid_block.resnets.0", mid.resnets[0], x)
        for i, (stock, resnet) in enumerate(zip(mid.attentions, mid.resnets[1:])):
            layers = stock.to_q, stock.to_k, stock.to_v
            x = attention(writer, f"mid_block.attentions.{i}", stock.norm, layers, stock.proj, x)
            x = residual(writer, f"mid_block.resnets.{i + 1}", resnet, x)
        for i, block in enumerate(decoder.up_blocks):
            x = (shuffled if hasattr(block, "repeats") else residual)(writer, f"up_blocks.{i}", block, x)
        writer.place = "conv_out"
        return conv(writer, writer.norm_silu(x, decoder.norm_out, before=None), decoder.conv_out)


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


def attention(
    writer: Writer, name: str, norm: nn.GroupNorm, layers: tuple[nn.Module, ...], proj: nn.Module, x: Value
) -> Value:
    """Of one head among the pixels of a frame; `layers` are those of queries, keys and values."""
    writer.place = name
    normed = writer.norm_silu(x, norm, before=None, silu=False)
    return writer.frame_attention(x, normed, as_linear(*layers), proj)


def residual(writer: Writer, name: str, block: nn.Module, x: Value) -> Value:
    """A `ResnetBlock2D` without a timestep, or a `HunyuanImageResnetBlock`."""
    rest = x
    if block.conv_shortcut is not None:
        writer.place = f"{name}.conv_shortcut"
        rest = conv(writer, x, block.conv_shortcut)
    for half, stock, its in (("conv1", block.norm1, block.conv1), ("conv2", block.norm2, block.conv2)):
        writer.place = f"{name}.{half}"
        x = conv(writer, writer.norm_silu(x, stock, before=None), its)
    return writer.add(x, rest)


def shuffled(writer: Writer, name: str, block: nn.Module, x: Value) -> Value:
    """A `HunyuanImageUpsample`: depth to space of a convolution, and of the input, each number repeated."""
    writer.place, stock = f"{name}.conv", block.conv
    picks = repeated(name, stock, block.repeats)
    weight, bias, picks = (parts_filled(p, 4) for p in (stock.weight, stock.bias, picks))
    y = writer.conv(x, weight[:, :, None], bias, padding=1, around=ZEROS)
    return writer.depth_to_space(writer.add(y, picked(writer, picks, x)), (1, 2, 2))


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
