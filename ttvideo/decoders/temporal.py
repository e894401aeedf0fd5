"""Decoders of images with layers over time in between, Stable Video Diffusion's and Allegro's, for tiles.

Those layers normalise all frames that are decoded together as one, so no frame is known before the last
latent: a clip is one step. Stable Video Diffusion's pipeline decodes so many frames at a time as its
`decode_chunk_size` says, each lot a clip of its own here.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused
from ttvideo.decoders.causal import FIRST, ZEROS, FrameConv
from ttvideo.decoders.clip_decoder import Memory, WholeClipDecoder, frames_of, video_of
from ttvideo.decoders.group_norm import clip_norm, group_norm_silu
from ttvideo.decoders.image import Residual, Size, check_norm, enlarged, frame_conv, image_blocks, spatial

Frames = list[Tensor]


class TemporalTileDecoder(WholeClipDecoder):
    """What both have in common. A subclass says what stands for a residual block, and what is before and
    after."""

    def __init__(self, decoder: nn.Module):
        super().__init__()
        check_norm("conv_norm_out", decoder.conv_norm_out, decoder.conv_act)
        self.latent_channels = decoder.conv_in.in_channels
        self.conv_in = frame_conv("conv_in", decoder.conv_in)
        self.blocks, self.scale = image_blocks(decoder, self.residuals)
        self.norm_out = deepcopy(decoder.conv_norm_out)
        self.conv_out = frame_conv("conv_out", decoder.conv_out)

    def residuals(self, name: str, block: nn.Module, i: int) -> list[nn.Module]:
        raise NotImplementedError

    def before(self, frames: Frames, size: Size) -> Frames:
        return frames

    def after(self, frames: Frames, size: Size) -> Frames:
        return convolved(self.conv_out, frames, size)

    def clip(self, z_cthw: Tensor, memory: Memory) -> Tensor:
        size = memory.size
        frames = self.before(convolved(self.conv_in, frames_of(z_cthw), size), size)
        for block in self.blocks:
            over_time = isinstance(block, (TimeResidual, TimeLayers))
            frames = block(frames, size) if over_time else [block(frame, size) for frame in frames]
            size = enlarged(size, block)
        return video_of(self.after(group_norm_silu(frames, self.norm_out), size), size)


class StableVideoTileDecoder(TemporalTileDecoder):
    """A `TemporalDecoder` (diffusers): [B, 4, T, H, W] -> [B, 3, T, 8 H, 8 W].

    Copies the weights and changes nothing in the decoder. Raises `Refused` for another architecture.
    """

    def __init__(self, decoder: nn.Module):
        super().__init__(decoder)
        self.time_conv_out = TimeConv("time_conv_out", decoder.time_conv_out, ZEROS)

    def residuals(self, name: str, block: nn.Module, i: int) -> list[nn.Module]:
        stock, name = block.resnets[i], f"{name}.resnets.{i}"
        half = Residual(f"{name}.spatial_res_block", stock.spatial_res_block)
        return [half, TimeResidual(name, stock)]

    def after(self, frames: Frames, size: Size) -> Frames:
        return self.time_conv_out(super().after(frames, size), size)


class AllegroTileDecoder(TemporalTileDecoder):
    """An `AllegroDecoder3D` (diffusers): [B, 4, T, H, W] -> [B, 3, 4 T, 8 H, 8 W].

    Copies the weights and changes nothing in the decoder. Raises `Refused` for another architecture.
    """

    def __init__(self, decoder: nn.Module):
        super().__init__(decoder)
        self.temp_conv_in = TimeConv("temp_conv_in", decoder.temp_conv_in, ZEROS)
        self.temp_conv_out = TimeConv("temp_conv_out", decoder.temp_conv_out, ZEROS)

    def residuals(self, name: str, block: nn.Module, i: int) -> list[nn.Module]:
        parts = [spatial(name, block, i), TimeLayers(f"{name}.temp_convs.{i}", block.temp_convs[i])]
        if i + 1 == len(block.resnets) and getattr(block, "add_temp_upsample", False):
            parts.append(TimeLayers(f"{name}.temp_conv_up", block.temp_conv_up))
        return parts

    def before(self, frames: Frames, size: Size) -> Frames:
        return added(frames, self.temp_conv_in(frames, size))

    def after(self, frames: Frames, size: Size) -> Frames:
        return super().after(added(frames, self.temp_conv_out(frames, size)), size)


class TimeConv(nn.Module):
    """A Conv3d of stride 1 with one or three taps in time: a list of frames [N, C] -> as many [N, O].

    Before and after a clip stand zeros, or its first and its last frame (FIRST), which the module that it is
    of puts there. `rows` picks some of its outputs. Raises `Refused` for another convolution.

    Hazard: without spatial extent its taps are linear layers, and three of them read each frame. The compiler
    takes what is added to a product for its bias, and makes one product of those that read the same; where
    one such bias is a row and another one a matrix, it fails (`ttir.concat`). So an output is one product of
    the frames that it reads, side by side, which moves fewer bytes, too.
    """

    def __init__(self, name: str, conv: nn.Conv3d, beyond: str, rows: slice = slice(None)):
        super().__init__()
        kt, kh, kw = conv.kernel_size
        got = conv.stride, conv.dilation, conv.groups, conv.padding_mode, conv.padding
        need = (1, 1, 1), (1, 1, 1), 1, "zeros", (kt // 2 if beyond == ZEROS else 0, kh // 2, kw // 2)
        if got != need or kt not in (1, 3):
            said = "stride {}, dilation {}, groups {}, {} around, {}"
            raise Refused(
                f"convolution {name}", f"{kt} taps, " + said.format(*got), "1 or 3, " + said.format(*need)
            )
        self.beyond, self.reach = beyond, kt // 2
        taps, bias = conv.weight[rows].unbind(2), conv.bias[rows]
        self.side_by_side = (kh, kw) == (1, 1)
        self.taps = nn.ModuleList(
            FrameConv(tap, bias if i == self.reach else None) for i, tap in enumerate(taps)
        )

    def forward(self, frames: Frames, size: Size) -> Frames:
        first, last = (frames[0], frames[-1]) if self.beyond == FIRST else (None, None)
        seen = [first] * self.reach + frames + [last] * self.reach
        return [self.output(seen[t : t + len(self.taps)], size) for t in range(len(frames))]

    def output(self, window: list[Tensor | None], size: Size) -> Tensor:
        there = [(tap, x) for tap, x in zip(self.taps, window, strict=True) if x is not None]
        if self.side_by_side:
            weight = torch.cat([tap.weight for tap, _ in there], dim=1)
            return F.linear(torch.cat([x for _, x in there], dim=1), weight, self.taps[self.reach].bias)
        parts = [tap(x, size) for tap, x in there]
        return sum(parts[1:], parts[0]).flatten(0, -2)


class TimeResidual(nn.Module):
    """What a `SpatioTemporalResBlock` does after its spatial half: a residual block over time, a share of it
    added."""

    def __init__(self, name: str, stock: nn.Module):
        super().__init__()
        block, mixer = stock.temporal_res_block, stock.time_mixer
        if block.time_emb_proj is not None or block.conv_shortcut is not None:
            raise Refused(f"{name}.temporal_res_block", "a timestep or a shortcut", "neither")
        if mixer.merge_strategy != "learned":
            raise Refused(f"{name}.time_mixer", f"merge_strategy {mixer.merge_strategy}", "learned")
        for norm in (block.norm1, block.norm2):
            check_norm(name, norm, block.nonlinearity)
        self.norms = nn.ModuleList(deepcopy(norm) for norm in (block.norm1, block.norm2))
        self.convs = nn.ModuleList(
            TimeConv(f"{name}.temporal_res_block.{half}", getattr(block, half), ZEROS)
            for half in ("conv1", "conv2")
        )
        share = torch.sigmoid(mixer.mix_factor.detach())
        self.share = nn.Parameter(
            share if mixer.switch_spatial_to_temporal_mix else 1 - share, requires_grad=False
        )

    def forward(self, frames: Frames, size: Size) -> Frames:
        x = frames
        for norm, conv in zip(self.norms, self.convs):
            x = conv(clip_norm_silu(x, norm), size)
        return [a + self.share * b for a, b in zip(frames, x)]


class TimeLayers(nn.Module):
    """An `AllegroTemporalConvLayer`, without change or upwards: there each frame becomes two, halves of its
    outputs.

    A clip's first and last frames are repeated ahead of the norms.
    """

    def __init__(self, name: str, stock: nn.Module):
        super().__init__()
        if stock.down_sample:
            raise Refused(name, "down_sample", "none, or up_sample")
        layers = [getattr(stock, f"conv{i}") for i in range(1, 5)]
        for i, layer in enumerate(layers, start=1):
            check_norm(f"{name}.conv{i}", layer[0], layer[1])
        self.norms = nn.ModuleList(deepcopy(layer[0]) for layer in layers)
        (first, *convs), self.doubles = [layer[-1] for layer in layers], stock.up_sample
        half = first.out_channels // 2
        halves = (slice(half), slice(half, None)) if self.doubles else (slice(None),)
        beyond = ZEROS if self.doubles else FIRST  # of one tap, which sees neither
        self.first = nn.ModuleList(TimeConv(f"{name}.conv1", first, beyond, rows) for rows in halves)
        self.convs = nn.ModuleList(
            TimeConv(f"{name}.conv{i}", conv, FIRST) for i, conv in enumerate(convs, start=2)
        )

    def forward(self, frames: Frames, size: Size) -> Frames:
        x = clip_norm_silu(frames, self.norms[0], padded=not self.doubles)
        each = [conv(x, size) for conv in self.first]
        x = [frame for both in zip(*each) for frame in both]
        for norm, conv in zip(self.norms[1:], self.convs):
            x = conv(clip_norm_silu(x, norm, padded=True), size)
        return added([frame for frame in frames for _ in self.first], x)


def clip_norm_silu(frames: Frames, norm: nn.GroupNorm, padded: bool = False) -> Frames:
    return [F.silu(frame) for frame in clip_norm(frames, norm, padded)]


def convolved(conv: FrameConv, frames: Frames, size: Size) -> Frames:
    return [conv(frame, size).flatten(0, -2) for frame in frames]


def added(frames: Frames, others: Frames) -> Frames:
    return [a + b for a, b in zip(frames, others, strict=True)]
