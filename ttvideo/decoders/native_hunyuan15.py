"""HunyuanVideo-1.5's decoder in TT-NN's ops.

A clip's first latent frame goes through by itself: where later ones become two, it becomes one, by other
channels of the same convolution. What an upsampling takes beside its convolution are its inputs again,
picked by matrices of ones and zeros, before the pixels are put in place.
"""

import torch
from torch import Tensor, nn

from ttvideo.decoders.clip_decoder import Shapes
from ttvideo.decoders.hunyuan15 import HunyuanVideo15TileDecoder, repeated
from ttvideo.decoders.native_family import Family
from ttvideo.decoders.native_residual import channel_norm, channel_residual
from ttvideo.decoders.native_writer import EDGES, FIRST, Writer, parts_filled
from ttvideo.programs.program import Value


class HunyuanVideo15(Family):
    """A `HunyuanVideo15Decoder3D` (diffusers); its autoencoder adds nothing to it.

    [1, 32, T, H, W] -> [1, 3, 4 T, 16 H, 16 W], 3 frames fewer where a clip begins. The state has the keys
    and values of all latent frames so far, so each step is another program.
    """

    streaming = "state grows"

    def __init__(self, decoder: nn.Module):
        HunyuanVideo15TileDecoder(decoder)  # which refuses what it doesn't know
        super().__init__(decoder)
        self.latent_channels = decoder.conv_in.conv.in_channels

    def pieces(self, latents: int, begins: bool) -> list[int]:
        return [1, latents - 1] if begins and latents > 1 else [latents]

    def seen(self, state: Shapes, size: tuple[int, int]) -> int:
        """By the keys; 1 where that can't be told."""
        end = f".{size[0]}x{size[1]}.keys"
        keys = next((shape for name, shape in state.items() if name.endswith(end) and len(shape) == 4), None)
        return 1 if keys is None else max(1, keys[2] // (size[0] * size[1]))

    def write(self, writer: Writer, z: Value) -> Value:
        decoder, writer.place = self.decoder, "conv_in"
        x = causal(writer, writer.after_past(z, FIRST), decoder.conv_in.conv)
        x = writer.add(x, picked(writer, repeated("conv_in", decoder.conv_in.conv, decoder.repeat), z))
        mid = decoder.mid_block
        x = residual(writer, "mid_block.resnets.0", mid.resnets[0], x)
        for i, (attention, resnet) in enumerate(zip(mid.attentions, mid.resnets[1:])):
            if attention is not None:
                writer.place = f"mid_block.attentions.{i}"
                normed = channel_norm(writer, attention.norm, x, before=None)
                qkv = [attention.to_q, attention.to_k, attention.to_v]
                x = writer.causal_attention(x, normed, qkv, attention.proj_out)
            x = residual(writer, f"mid_block.resnets.{i + 1}", resnet, x)
        for i, block in enumerate(decoder.up_blocks):
            for j, resnet in enumerate(block.resnets):
                x = residual(writer, f"up_blocks.{i}.resnets.{j}", resnet, x)
            if block.upsamplers is not None:
                x = upsample(writer, f"up_blocks.{i}.upsamplers.0", block.upsamplers[0], x)
        writer.place = "conv_out"
        return causal(writer, channel_norm(writer, decoder.norm_out, x, FIRST), decoder.conv_out.conv)


def causal(writer: Writer, clip: Value, conv: nn.Conv3d) -> Value:
    return writer.conv(clip, conv.weight, conv.bias, padding=conv.kernel_size[1] // 2, around=EDGES)


def picked(writer: Writer, picks: Tensor, x: Value) -> Value:
    """Each number one of x, by a matrix [O, C] of ones and zeros."""
    writer.place = f"{writer.place}.shortcut"
    return writer.pointwise(x, picks, torch.zeros_like(picks[:, 0]))


def residual(writer: Writer, name: str, block: nn.Module, x: Value) -> Value:
    """A `HunyuanVideo15ResnetBlock`."""
    halves = [(block.norm1, block.conv1.conv), (block.norm2, block.conv2.conv)]
    return channel_residual(writer, name, halves, block.conv_shortcut, x, FIRST, EDGES)


def upsample(writer: Writer, name: str, block: nn.Module, x: Value) -> Value:
    """A `HunyuanVideo15Upsample`: twice the height and width, and twice the frames but for the first of a
    clip.

    A frame's outputs are, in this order of channels, (t, h, w, O); of a clip's first frame (h, w, 2, O), half
    of them left out.
    """
    writer.place, conv = f"{name}.conv", block.conv.conv
    clip, weight, bias = writer.after_past(x, FIRST), conv.weight, conv.bias
    times, repeats, part = 2 if block.add_temporal_upsample else 1, block.repeats, 1
    if times == 2 and writer.begins:
        # Other weights: programs share those of one name.
        writer.place = f"{name}.conv.first"
        weight, bias = (p.unflatten(0, (4, 2, -1))[:, 0].flatten(0, 1) for p in (weight, bias))
        times, repeats, part = 1, repeats // 2, 2
    picks = repeated(name, conv, repeats, part)
    weight, bias, picks = (parts_filled(p, 4 * times) for p in (weight, bias, picks))
    x = writer.add(writer.conv(clip, weight, bias, padding=1, around=EDGES), picked(writer, picks, x))
    return writer.depth_to_space(x, (times, 2, 2))
