"""Wan's decoders, 2.1 and 2.2, and QwenImage's, which is 2.1's, in TT-NN's ops.

The norm of a pixel's channels, SiLU and the way behind the clip's past are one pass, the even and the odd
frames of a time convolution and the upsampling another. A clip's first latent frame goes through by itself:
no time convolution sees it.
"""

import torch
from torch import nn
from torch.nn import functional as F

from ttvideo.decoders.native_family import Family
from ttvideo.decoders.native_residual import channel_norm, channel_residual
from ttvideo.decoders.native_writer import ZEROS, Writer, parts_filled
from ttvideo.decoders.wan import WanTileDecoder, patched
from ttvideo.programs.program import Value


class Wan(Family):
    """A `WanDecoder3d` or `QwenImageDecoder3d` (diffusers), as its autoencoder drives it.

    [1, 16, T, H, W] -> [1, 3, 4 T, 8 H, 8 W] (2.2, with `patch` 2: 16 H, 16 W), 3 frames fewer where a clip
    begins.
    """

    def __init__(
        self, decoder: nn.Module, post_quant: nn.Module | None = None, clamped: bool = False, patch: int = 1
    ):
        WanTileDecoder(decoder, post_quant, clamped, patch)  # which refuses what it doesn't know
        super().__init__(decoder, post_quant)
        self.clamped, self.patch = clamped, patch
        self.latent_channels = decoder.conv_in.in_channels

    def pieces(self, latents: int, begins: bool) -> list[int]:
        return [1, latents - 1] if begins and latents > 1 else [latents]

    def write(self, writer: Writer, z: Value) -> Value:
        decoder, z = self.decoder, self.quantised(writer, z)
        writer.place = "conv_in"
        x = causal(writer, writer.after_past(z, ZEROS), decoder.conv_in)
        mid = decoder.mid_block
        x = residual(writer, "mid_block.resnets.0", mid.resnets[0], x)
        for i, (attention, resnet) in enumerate(zip(mid.attentions, mid.resnets[1:])):
            writer.place = f"mid_block.attentions.{i}"
            normed = channel_norm(writer, attention.norm, x, before=None)
            x = writer.frame_attention(x, normed, attention.to_qkv, attention.proj)
            x = residual(writer, f"mid_block.resnets.{i + 1}", resnet, x)
        for i, block in enumerate(decoder.up_blocks):
            x = up_block(writer, f"up_blocks.{i}", block, x)
        writer.place, conv = "conv_out", decoder.conv_out
        x = channel_norm(writer, decoder.norm_out, x, ZEROS)
        weight, bias = (patched(parameter, self.patch) for parameter in (conv.weight, conv.bias))
        return writer.conv(x, weight, bias, padding=1, around=ZEROS)


def causal(writer: Writer, clip: Value, conv: nn.Conv3d) -> Value:
    return writer.conv(clip, conv.weight, conv.bias, padding=conv.kernel_size[1] // 2, around=ZEROS)


def residual(writer: Writer, name: str, block: nn.Module, x: Value) -> Value:
    """A `WanResidualBlock`."""
    shortcut = None if isinstance(block.conv_shortcut, nn.Identity) else block.conv_shortcut
    halves = [(block.norm1, block.conv1), (block.norm2, block.conv2)]
    return channel_residual(writer, name, halves, shortcut, x, ZEROS, ZEROS)


def up_block(writer: Writer, name: str, block: nn.Module, x: Value) -> Value:
    """A `WanUpBlock`, or 2.2's `WanResidualUpBlock`, which has a shortcut of its own."""
    given = x
    for i, resnet in enumerate(block.resnets):
        x = residual(writer, f"{name}.resnets.{i}", resnet, x)
    upsampler = block.upsampler if hasattr(block, "upsampler") else (block.upsamplers or [None])[0]
    if upsampler is not None:
        x = upsample(writer, f"{name}.upsampler", upsampler, x)
    shortcut = getattr(block, "avg_shortcut", None)
    if shortcut is None:
        return x
    writer.place = (
        f"{name}.avg_shortcut" + ".first" * writer.begins
    )  # other weights: programs share those of one name
    x = writer.add(x, upsampled_shortcut(writer, shortcut, given))
    # Not put off: a norm that makes it on its way has four of a step's largest clips in memory, not three.
    writer.catch_up([x])
    return x


def upsample(writer: Writer, name: str, block: nn.Module, x: Value) -> Value:
    """A `WanResample` upwards: twice the frames but for the first of a clip, then twice the height and
    width."""
    times = 1
    if block.mode == "upsample3d":
        writer.place, conv = f"{name}.time_conv", block.time_conv
        if writer.begins:
            writer.nothing_seen(x)
        else:
            # The even and the odd frames, each a half of its outputs.
            clip, times = writer.after_past(x, ZEROS), 2
            weight, bias = (parts_filled(parameter, 2) for parameter in (conv.weight, conv.bias))
            x = writer.conv(clip, weight, bias)
    writer.place, conv = f"{name}.resample.1", block.resample[1]
    x = writer.depth_to_space(x, (times, 1, 1), (1, 2, 2))
    return writer.conv(x, conv.weight[:, :, None], conv.bias, padding=1, around=ZEROS)


def upsampled_shortcut(writer: Writer, block: nn.Module, x: Value) -> Value:
    """A `DupUp3D`: each number out of one of x, by depth to space, and where places take the same channel,
    repeated; if channels don't stand so already, picked by a matrix of ones and zeros."""
    by = (block.factor_t, block.factor_s, block.factor_s)
    taken = torch.arange(block.out_channels * block.factor) // block.repeats
    taken = taken.view(block.out_channels, *by).permute(1, 2, 3, 0)  # (t, h, w, O)
    taken = taken[-1:] if writer.begins else taken
    alike = [taken.narrow(dim, 0, 1).expand_as(taken).equal(taken) for dim in range(3)]
    sizes = taken.shape[:3]
    picked = taken[tuple(slice(1) if one else slice(None) for one in alike)].flatten()
    if not picked.equal(torch.arange(block.in_channels)):
        picks = F.one_hot(picked, block.in_channels).unflatten(0, (-1, block.out_channels))
        weight = F.pad(picks.bfloat16(), (0, 0, 0, -block.out_channels % 32)).flatten(0, 1)
        x = writer.pointwise(x, weight, torch.zeros(len(weight), dtype=torch.bfloat16))
    expansion, repeats = (
        tuple(1 if one is repeated else size for size, one in zip(sizes, alike)) for repeated in (True, False)
    )
    return writer.depth_to_space(x, expansion, repeats)
