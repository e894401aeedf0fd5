"""Cosmos' decoder for tiles."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused
from ttvideo.decoders.attention import FrameAttention, pointwise
from ttvideo.decoders.causal import FIRST, CausalConv, FrameConv
from ttvideo.decoders.clip_decoder import ClipDecoder, Memory, frames_of, video_of
from ttvideo.decoders.group_norm import group_norm, group_norm_silu
from ttvideo.decoders.image import FrameNorm
from ttvideo.decoders.residual import ResidualBlock
from ttvideo.decoders.rows import shuffled
from ttvideo.decoders.time_attention import CausalTimeAttention
from ttvideo.decoders.upsample import AddedUpsample

Frames = list[Tensor]


class CosmosTileDecoder(ClipDecoder):
    """A `CosmosDecoder3d` (diffusers), exactly; with its autoencoder's `post_quant_conv`.

    [B, 16, T, H, W] -> [B, 3, 8 T, 8 H, 8 W], the first step 7 frames fewer: the first latent frame of a clip
    is one frame of video. Streaming in steps of any length with a state that grows: convolutions look back,
    with the first frame repeated before the clip, norms see a frame, but the attention over time sees all
    frames so far at each pixel, whose keys and values are kept.

    Copies the weights and changes nothing in the decoder. Raises `Refused` for another architecture.
    """

    streaming = "state grows"

    def __init__(self, decoder: nn.Module, post_quant: nn.Module | None = None):
        super().__init__()
        self.post_quant = pointwise(post_quant)
        self.latent_channels = decoder.conv_in.conv_s.in_channels
        self.conv_in = Projection("conv_in", 1, decoder.conv_in)
        mid, scale = decoder.mid_block, 1
        blocks = [Residual("mid_block.resnets.0", 1, mid.resnets[0])]
        for i, pair in enumerate(zip(mid.attentions, mid.temp_attentions)):
            blocks += [PixelAttention(*pair[:1]), TimeAttention(f"mid_block.temp_attentions.{i}", pair[1])]
            blocks.append(Residual(f"mid_block.resnets.{i + 1}", 1, mid.resnets[i + 1]))
        for i, block in enumerate(decoder.up_blocks):
            name = f"up_blocks.{i}"
            if any(part is not None for part in (*block.attentions, *block.temp_attentions)):
                raise Refused(name, "attention", "none but in the middle, as in what is published")
            blocks += [Residual(f"{name}.resnets.{j}", scale, r) for j, r in enumerate(block.resnets)]
            for j, stock in enumerate(block.upsamplers or ()):
                blocks.append(upsample(f"{name}.upsamplers.{j}", scale, stock))
                scale *= blocks[-1].by
        self.blocks = nn.ModuleList(blocks)
        self.norm_out = of_a_frame("norm_out", decoder.norm_out)
        self.conv_out = Projection("conv_out", scale, decoder.conv_out)
        self.unpatch = Unpatch(decoder.unpatch_embed, decoder.conv_out.conv_t.out_channels)
        self.inner, self.scale = scale, scale * self.unpatch.by

    def clip(self, z_cthw: Tensor, memory: Memory) -> Tensor:
        frames = self.conv_in(self.quantised(frames_of(z_cthw)), memory)
        for block in self.blocks:
            frames = block(frames, memory)
        frames = self.conv_out(group_norm_silu(frames, self.norm_out), memory)
        frames = self.unpatch(frames, memory.at(self.inner))[self.unpatch.by - 1 if memory.starts else 0 :]
        return video_of(frames, memory.at(self.scale))


class Projection(nn.Module):
    """A `CosmosConvProjection3d`: a convolution over space, then one over time."""

    def __init__(self, name: str, scale: int, stock: nn.Module):
        super().__init__()
        self.scale = scale
        self.space = frame_conv(f"{name}.conv_s", stock.conv_s)
        self.time = causal(f"{name}.conv_t", scale, stock.conv_t)

    def forward(self, frames: Frames, memory: Memory) -> Frames:
        size = memory.at(self.scale)
        return self.time([self.space(frame, size).flatten(0, -2) for frame in frames], memory)


class Residual(ResidualBlock):
    """A `CosmosResnetBlock3d` on frames."""

    def __init__(self, name: str, scale: int, stock: nn.Module):
        super().__init__(
            [of_a_frame(name, norm) for norm in (stock.norm1, stock.norm2)],
            [Projection(f"{name}.{half}", scale, getattr(stock, half)) for half in ("conv1", "conv2")],
            pointwise(stock.conv_shortcut),
        )

    def normed(self, frames: Frames, norm: nn.GroupNorm) -> Frames:
        return group_norm_silu(frames, norm)


class PixelAttention(nn.Module):
    """A `CosmosCausalAttention` among the pixels of a frame."""

    def __init__(self, stock: nn.Module):
        super().__init__()
        norm = FrameNorm(of_a_frame("attention", stock.norm))
        check_head(stock)
        self.attention = FrameAttention(norm, (stock.to_q, stock.to_k, stock.to_v), stock.to_out[0])

    def forward(self, frames: Frames, memory: Memory) -> Frames:
        return [self.attention(frame) for frame in frames]


class TimeAttention(nn.Module):
    """A `CosmosCausalAttention` among the frames so far, at each pixel."""

    def __init__(self, name: str, stock: nn.Module):
        super().__init__()
        check_head(stock)
        self.norm = of_a_frame(name, stock.norm)
        self.attention = CausalTimeAttention(name, stock.to_q, stock.to_k, stock.to_v, stock.to_out[0])

    def forward(self, frames: Frames, memory: Memory) -> Frames:
        return self.attention(frames, group_norm(frames, self.norm), memory)


def upsample(name: str, scale: int, stock: nn.Module) -> AddedUpsample:
    """A `CosmosUpsample3d`."""
    return AddedUpsample(
        scale,
        causal(f"{name}.conv1", scale, stock.conv1) if stock.temporal_upsample else None,
        frame_conv(f"{name}.conv2", stock.conv2) if stock.spatial_upsample else None,
        pointwise(stock.conv3),
    )


class Unpatch(nn.Module):
    """A `CosmosUnpatcher3d` of Haar wavelets: [N, 8 C] -> two frames [2 H * 2 W, C], as often as the patch is
    halved.

    Each pixel's channels, (t, h, w, C) low and high, are multiplied by the wavelets of all three axes as one
    matrix.
    """

    def __init__(self, stock: nn.Module, channels: int):
        super().__init__()
        if stock.patch_method != "haar" or len(stock.wavelets) != 2:
            raise Refused("patches", f"{stock.patch_method}, {len(stock.wavelets)} taps", "haar, 2 taps")
        self.by, low = stock.patch_size, stock.wavelets.detach().double()
        signs = (-1.0) ** torch.arange(2, dtype=torch.float64, device=low.device)
        taps = torch.stack([low.flip(0), low * signs], 1)  # of a pixel's two halves: low, high
        self.levels = nn.ParameterList()
        for level in range(1, self.by.bit_length()):
            each = torch.eye(channels // 8**level, dtype=torch.float64, device=low.device)
            matrix = torch.kron(torch.kron(taps, torch.kron(taps, taps)), each) * 8**0.5
            self.levels.append(nn.Parameter(matrix.to(stock.wavelets.dtype), requires_grad=False))

    def forward(self, frames: Frames, size: tuple[int, int]) -> Frames:
        for matrix in self.levels:
            rows = [F.linear(frame, matrix) for frame in frames]
            frames = [shuffled(row, size, 2, part, 2) for row in rows for part in range(2)]
            size = size[0] * 2, size[1] * 2
        return frames


def of_a_frame(name: str, norm: nn.Module) -> nn.GroupNorm:
    if norm.num_groups != 1:
        raise Refused(f"norm of {name}", f"{norm.num_groups} groups, of all frames", "1 group, of each frame")
    return deepcopy(norm.norm)


def check_head(stock: nn.Module) -> None:
    if stock.num_attention_heads != 1:
        raise Refused("attention", f"{stock.num_attention_heads} heads", "1")


def check_conv(name: str, stock: nn.Module) -> None:
    """Raise `Refused` for a `CosmosCausalConv3d` that doesn't keep the size."""
    got = stock.stride, stock.dilation, stock.groups, stock.pad_mode, tuple(stock.spatial_pad)
    need = (1, 1, 1), (1, 1, 1), 1, "constant", (stock.kernel_size[2] // 2,) * 4
    if got != need or stock.temporal_pad != stock.kernel_size[0] - 1:
        said = "stride {}, dilation {}, groups {}, {} {}"
        raise Refused(f"convolution {name}", said.format(*got), said.format(*need))


def frame_conv(name: str, stock: nn.Module) -> FrameConv:
    check_conv(name, stock)
    if stock.kernel_size[0] != 1:
        raise Refused(f"convolution {name}", f"{stock.kernel_size[0]} taps", "1 tap in time")
    return FrameConv(stock.weight[:, :, 0], stock.bias)


def causal(name: str, scale: int, stock: nn.Module) -> CausalConv:
    check_conv(name, stock)
    return CausalConv(name, scale, stock.weight, stock.bias, before=FIRST)
