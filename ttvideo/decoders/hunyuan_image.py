"""HunyuanImage's decoder, and its refiner's, for tiles."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from ttvideo.decoders.attention import FrameAttention, as_linear, attend
from ttvideo.decoders.causal import EDGES, FIRST, CausalConv
from ttvideo.decoders.clip_decoder import Memory, WholeClipDecoder
from ttvideo.decoders.group_norm import group_norm_silu
from ttvideo.decoders.hunyuan import causal
from ttvideo.decoders.hunyuan15 import HunyuanVideo15TileDecoder, RepeatedShortcut, Upsample, repeated
from ttvideo.decoders.image import FrameNorm, ImageDecoder, Residual, Size, check_norm, enlarged, frame_conv
from ttvideo.decoders.residual import ChannelNorm
from ttvideo.decoders.rows import shuffled

Frames = list[Tensor]


class HunyuanImageTileDecoder(ImageDecoder):
    """A `HunyuanImageDecoder2D` (diffusers), exactly: [B, 64, H, W] -> [B, 3, 32 H, 32 W].

    Copies the weights and changes nothing in the decoder. Raises `Refused` for another architecture.
    """

    def __init__(self, decoder: nn.Module):
        super().__init__()
        check_norm("norm_out", decoder.norm_out, decoder.nonlinearity)
        self.latent_channels = decoder.conv_in.in_channels
        self.conv_in = frame_conv("conv_in", decoder.conv_in)
        self.shortcut = RepeatedShortcut(repeated("conv_in", decoder.conv_in, decoder.repeat))
        mid = decoder.mid_block
        blocks = [Residual("mid_block.resnets.0", mid.resnets[0])]
        for i, (attention, resnet) in enumerate(zip(mid.attentions, mid.resnets[1:]), start=1):
            blocks += [ImageAttention(attention), Residual(f"mid_block.resnets.{i}", resnet)]
        for i, block in enumerate(decoder.up_blocks):
            kind = ImageUpsample if hasattr(block, "repeats") else Residual
            blocks.append(kind(f"up_blocks.{i}", block))
        self.blocks = nn.ModuleList(blocks)
        self.scale = 2 ** sum(isinstance(block, ImageUpsample) for block in blocks)
        self.norm_out = deepcopy(decoder.norm_out)
        self.conv_out = frame_conv("conv_out", decoder.conv_out)

    def frame(self, z_nc: Tensor, size: Size) -> Tensor:
        x_nc = self.conv_in(z_nc, size).flatten(0, -2) + self.shortcut(z_nc)
        for block in self.blocks:
            x_nc, size = block(x_nc, size), enlarged(size, block)
        return self.conv_out(*group_norm_silu([x_nc], self.norm_out), size).flatten(0, -2)


class ImageAttention(nn.Module):
    """A `HunyuanImageAttentionBlock` among the pixels of a frame [N, C]."""

    def __init__(self, stock: nn.Module):
        super().__init__()
        qkv = stock.to_q, stock.to_k, stock.to_v
        self.attention = FrameAttention(FrameNorm(stock.norm), qkv, stock.proj)

    def forward(self, x_nc: Tensor, size: Size) -> Tensor:
        return self.attention(x_nc)


class ImageUpsample(nn.Module):
    """A `HunyuanImageUpsample` on a frame [N, C]: depth to space of a convolution, and of the input, each
    number repeated."""

    by = 2

    def __init__(self, name: str, stock: nn.Module):
        super().__init__()
        self.conv = frame_conv(f"{name}.conv", stock.conv)
        self.shortcut = RepeatedShortcut(repeated(f"{name}.conv", stock.conv, stock.repeats))

    def forward(self, x_nc: Tensor, size: Size) -> Tensor:
        return shuffled(self.conv(x_nc, size).flatten(0, -2) + self.shortcut(x_nc), size)


class HunyuanImageRefinerTileDecoder(WholeClipDecoder, HunyuanVideo15TileDecoder):
    """A `HunyuanImageRefinerDecoder3D` (diffusers), exactly: [B, 32, T, H, W] -> [B, 3, T, 16 H, 16 W].

    HunyuanVideo-1.5's but for an attention that also looks ahead, and that gives a frame for each latent
    frame: its upsampling in time keeps the half that a clip's first frame has. Its clip is one step.

    Copies the weights and changes nothing in the decoder. Raises `Refused` for another architecture.
    """

    streaming = "none"
    why = "its attention sees all frames"

    def attention(self, name: str, stock: nn.Module) -> nn.Module:
        return RefinerAttention(stock)

    def upsample(self, name: str, scale: int, stock: nn.Module) -> nn.Module:
        return (RefinerUpsample if stock.add_temporal_upsample else Upsample)(name, scale, stock)

    def clip(self, z_cthw: Tensor, memory: Memory) -> Tensor:
        return super().clip(z_cthw, Memory(memory.size, None))


class RefinerAttention(nn.Module):
    """A `HunyuanImageRefinerAttnBlock`, among the pixels of all frames."""

    def __init__(self, stock: nn.Module):
        super().__init__()
        self.norm = ChannelNorm(stock.norm)
        self.qkv, self.proj = as_linear(stock.to_q, stock.to_k, stock.to_v), as_linear(stock.proj_out)

    def forward(self, frames: Frames, memory: Memory) -> Frames:
        qkv = self.qkv(torch.cat([self.norm(frame) for frame in frames])).chunk(3, dim=-1)
        attended = self.proj(attend(*qkv)).chunk(len(frames))
        return [a + b for a, b in zip(frames, attended)]


class RefinerUpsample(nn.Module):
    """A `HunyuanImageRefinerUpsampleDCAE` that upsamples in time, in name: a frame's outputs are (h, w, 2,
    O), and the second of two is left out."""

    def __init__(self, name: str, scale: int, stock: nn.Module):
        super().__init__()
        causal(f"{name}.conv", scale, stock.conv)  # refuses what it doesn't know
        name, conv = f"{name}.conv", stock.conv.conv
        weight, bias = (p.unflatten(0, (4, 2, -1))[:, 0].flatten(0, 1) for p in (conv.weight, conv.bias))
        self.scale = scale
        self.conv = CausalConv(name, scale, weight, bias, before=FIRST, padding=EDGES)
        self.shortcut = RepeatedShortcut(repeated(name, conv, stock.repeats // 2, part=2))

    def forward(self, frames: Frames, memory: Memory) -> Frames:
        outs = [a + self.shortcut(frame) for a, frame in zip(self.conv(frames, memory), frames)]
        return [shuffled(out, memory.at(self.scale)) for out in outs]
