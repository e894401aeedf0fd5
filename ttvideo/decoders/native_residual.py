"""Norms over the channels of each pixel, and the residual block that Wan and HunyuanVideo-1.5 make with them,
in TT-NN's ops (`residual.py` has them for tiles)."""

import torch
from torch import nn

from ttvideo.decoders.native_writer import Writer
from ttvideo.decoders.residual import TINY
from ttvideo.programs.program import Value


def channel_norm(writer: Writer, stock: nn.Module, x: Value, before: str | None) -> Value:
    """A `WanRMS_norm`, or one without a bias; SiLU and what stands before the clip, where something does."""
    gain, bias = stock.gamma.flatten(), getattr(stock, "bias", None)
    shift = bias.flatten() if torch.is_tensor(bias) else torch.zeros_like(gain)
    return writer.rms_norm(x, gain, shift, TINY / len(gain), before)


def channel_residual(
    writer: Writer,
    name: str,
    halves: list[tuple[nn.Module, nn.Conv3d]],
    shortcut: nn.Module | None,
    x: Value,
    before: str,
    around: str,
) -> Value:
    """Two convolutions, each after its norm and SiLU, and x, through `shortcut` if there is one."""
    rest = x
    for number, (norm, conv) in enumerate(halves, start=1):
        writer.place = f"{name}.conv{number}"
        normed = channel_norm(writer, norm, x, before)
        x = writer.conv(normed, conv.weight, conv.bias, padding=conv.kernel_size[1] // 2, around=around)
    if shortcut is not None:
        writer.place = f"{name}.conv_shortcut"
        rest = writer.pointwise(rest, shortcut.weight.flatten(1), shortcut.bias)
    return writer.add(x, rest)
