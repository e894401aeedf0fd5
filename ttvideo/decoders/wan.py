"""Wan's decoders, 2.1 and 2.2, and QwenImage's, which is 2.1's, for tiles."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused
from ttvideo.decoders.attention import FrameAttention, pointwise
from ttvideo.decoders.causal import CausalConv, FrameConv, check_conv
from ttvideo.decoders.clip_decoder import ClipDecoder, Memory, frames_of, video_of
from ttvideo.decoders.residual import ChannelNorm, ChannelResidual
from ttvideo.decoders.rows import keep_row_major, nearest, shuffled


class WanTileDecoder(ClipDecoder):
    """A `WanDecoder3d` or `QwenImageDecoder3d` (diffusers), driven as its autoencoder drives it, exactly.

    [B, 16, T, H, W] -> [B, 3, 4 T, 8 H, 8 W] (2.2, with `patch` 2: 16 H, 16 W), the first step 3 frames
    fewer: the first latent frame of a clip is one frame of video, for no time convolution sees it, not even
    as the past. Streaming with a constant state: convolutions are causal, attention is within a frame. With
    the autoencoder, its `post_quant_conv`, its patches and the clamp belong to it.

    Copies the weights and changes nothing in the decoder. Raises `Refused` for another architecture.
    """

    def __init__(
        self, decoder: nn.Module, post_quant: nn.Module | None = None, clamped: bool = False, patch: int = 1
    ):
        super().__init__()
        if not isinstance(decoder.nonlinearity, nn.SiLU):
            raise Refused("decoder", f"the activation {type(decoder.nonlinearity).__name__}", "SiLU")
        self.clamped, self.patch = clamped, patch
        self.post_quant = pointwise(post_quant)
        self.latent_channels = decoder.conv_in.in_channels
        self.conv_in = causal("conv_in", 1, decoder.conv_in)
        mid = decoder.mid_block
        blocks = [Residual("mid_block.resnets.0", 1, mid.resnets[0])]
        for i, (attention, resnet) in enumerate(zip(mid.attentions, mid.resnets[1:]), start=1):
            blocks.append(FrameAttention(ChannelNorm(attention.norm), (attention.to_qkv,), attention.proj))
            blocks.append(Residual(f"mid_block.resnets.{i}", 1, resnet))
        scale = 1
        for i, block in enumerate(decoder.up_blocks):
            blocks.append(UpBlock(f"up_blocks.{i}", scale, block))
            scale *= 1 if blocks[-1].upsample is None else 2
        self.blocks, self.scale = nn.ModuleList(blocks), scale
        self.norm_out = ChannelNorm(decoder.norm_out)
        self.conv_out = causal("conv_out", scale, decoder.conv_out, patch)

    def clip(self, z_cthw: Tensor, memory: Memory) -> Tensor:
        frames = self.conv_in(self.quantised(frames_of(z_cthw)), memory)
        for block in self.blocks:
            frames = (
                [block(frame) for frame in frames]
                if isinstance(block, FrameAttention)
                else block(frames, memory)
            )
        frames = self.conv_out([F.silu(self.norm_out(frame)) for frame in frames], memory)
        if self.patch > 1:
            frames = [shuffled(frame, memory.at(self.scale), self.patch) for frame in frames]
        video = video_of(frames, memory.at(self.scale * self.patch))
        return video.clamp(-1, 1) if self.clamped else video


class UpBlock(nn.Module):
    """A `WanUpBlock`, or 2.2's `WanResidualUpBlock`, which has a shortcut of its own."""

    def __init__(self, name: str, scale: int, stock: nn.Module):
        super().__init__()
        self.residuals = nn.ModuleList(
            Residual(f"{name}.resnets.{i}", scale, resnet) for i, resnet in enumerate(stock.resnets)
        )
        upsampler = stock.upsampler if hasattr(stock, "upsampler") else (stock.upsamplers or [None])[0]
        self.upsample = None if upsampler is None else Upsample(f"{name}.upsampler", scale, upsampler)
        shortcut = getattr(stock, "avg_shortcut", None)
        dtype = stock.resnets[0].conv1.weight.dtype
        self.shortcut = None if shortcut is None else UpsampledShortcut(scale, shortcut, dtype)

    def forward(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        x = frames
        for residual in self.residuals:
            x = residual(x, memory)
        if self.upsample is not None:
            x = self.upsample(x, memory)
        return (
            x
            if self.shortcut is None
            else [a + b for a, b in zip(x, self.shortcut(frames, memory), strict=True)]
        )


class UpsampledShortcut(nn.Module):
    """A `DupUp3D`: [N, C] -> `factor_t` frames (the first of a clip: one) [2 H * 2 W, O], each number out of
    one of x.

    A frame's channels are picked by a matrix of ones and zeros, for each of its 2 x 2 pixels, and the pixels
    put in place.
    """

    def __init__(self, scale: int, stock: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.scale, self.by, self.alike = scale, stock.factor_s, stock.repeats % stock.factor_s**2 == 0
        outputs = torch.arange(stock.out_channels * stock.factor) // stock.repeats
        # (O, t, h, w) -> (t, h, w, O)
        picked = outputs.view(stock.out_channels, stock.factor_t, -1).permute(1, 2, 0)
        picked = picked[:, :1] if self.alike else picked
        picks = F.one_hot(picked.flatten(1), stock.in_channels)
        self.picks = nn.ParameterList(nn.Parameter(p.to(dtype), requires_grad=False) for p in picks)

    def forward(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        outs = [[self.output(frame, picks, memory) for picks in self.picks] for frame in frames]
        if memory.starts:
            outs[0] = outs[0][-1:]
        return [out for frame in outs for out in frame]

    def output(self, x_nc: Tensor, picks: Tensor, memory: Memory) -> Tensor:
        move = nearest if self.alike else shuffled
        return move(F.linear(x_nc, picks), memory.at(self.scale), self.by)


class Residual(ChannelResidual):
    """A `WanResidualBlock` on frames."""

    def __init__(self, name: str, scale: int, stock: nn.Module):
        super().__init__(
            [ChannelNorm(norm) for norm in (stock.norm1, stock.norm2)],
            [causal(f"{name}.{half}", scale, getattr(stock, half)) for half in ("conv1", "conv2")],
            pointwise(stock.conv_shortcut),
        )


class Upsample(nn.Module):
    """A `WanResample` upwards: twice the frames but for a clip's first, then twice the height and width."""

    def __init__(self, name: str, scale: int, stock: nn.Module):
        super().__init__()
        self.scale = scale
        conv = stock.resample[1]
        self.conv = FrameConv(conv.weight, conv.bias)
        self.time_convs = None
        if stock.mode == "upsample3d":
            # The even and the odd frames, each a half of its outputs; what they keep is the same.
            self.time_convs = nn.ModuleList(
                CausalConv(f"{name}.time_conv", scale, weight, bias)
                for weight, bias in zip(stock.time_conv.weight.chunk(2), stock.time_conv.bias.chunk(2))
            )

    def forward(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        if self.time_convs is not None:
            frames = self.interpolated(frames, memory)
        size = memory.at(self.scale)
        frames = [keep_row_major(nearest(frame, size)[None, None]) for frame in frames]
        return [self.conv(frame, doubled(size)).flatten(0, -2) for frame in frames]

    def interpolated(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        first, frames = (frames[:1], frames[1:]) if memory.starts else ([], frames)
        if not frames:
            memory.new |= self.time_convs[0].nothing_seen(first[0], memory)
            return first
        even, odd = (conv(frames, memory) for conv in self.time_convs)
        return [*first, *(frame for pair in zip(even, odd) for frame in pair)]


def doubled(size: tuple[int, int]) -> tuple[int, int]:
    return size[0] * 2, size[1] * 2


def causal(name: str, scale: int, stock: nn.Conv3d, patch: int = 1) -> CausalConv:
    """A `WanCausalConv3d` of stride 1 that gives as many frames as it takes, for patches [(h, w, C)] last."""
    kt, kh, kw = stock.kernel_size
    check_conv(name, stock, (0, 0, 0))
    pads = (kw // 2, kw // 2, kh // 2, kh // 2, kt - 1, 0)
    if tuple(stock._padding) != pads:
        raise Refused(f"convolution {name}", f"padding {stock._padding}", pads)
    return CausalConv(name, scale, patched(stock.weight, patch), patched(stock.bias, patch))


def patched(parameter: Tensor, patch: int) -> Tensor:
    """Wan 2.2's `unpatchify` reads channels as (C, w, h) of a patch: reordered to (h, w, C)."""
    return parameter.unflatten(0, (-1, patch, patch)).transpose(0, 2).flatten(0, 2)
