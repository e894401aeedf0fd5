"""LTX-Video's decoder, and LTX-2's, for tiles."""

import copy
import math
from functools import partial
from itertools import count

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused
from ttvideo.decoders.attention import as_linear
from ttvideo.decoders.causal import FIRST, CausalConv, check_conv
from ttvideo.decoders.clip_decoder import ClipDecoder, Memory, State, frames_of, video_of
from ttvideo.decoders.lookahead import CentredConv, DelayedShortcut, Place
from ttvideo.decoders.residual import CentredNorm
from ttvideo.decoders.rows import shuffled


class LTXTileDecoder(ClipDecoder):
    """An `LTXVideoDecoder3d` or `LTX2VideoDecoder3d` (diffusers), exactly.

    [B, 128, T, H, W] -> [B, 3, 8 T - 7, 32 H, 32 W], in steps of any number of latent frames. Its
    convolutions repeat a clip's first frame. Where they are causal, streaming is with a constant state. Where
    they look ahead, as in all that Lightricks published, they repeat the last frame too, and streaming is
    with a delay: after `delay` latent frames there is no frame yet, the next one brings the first, and what
    is pending comes with the step that `ends` the clip, after which there is no state. The state grows with
    each of those latent frames and is constant from there on. The delay is 24 latent frames in LTX-Video 0.9
    and 22 in LTX-2: of shorter clips all comes with the last step.

    The timestep `temb`, one number a clip and the same in each step, is what `vae.decode` takes; without
    `timestep_conditioning` it is left unused, as there. Set as the decoder's `temb` [1], it is that of every
    call without one, so of a stream. Instead of LTX-2's `decode(causal=True)`, set the decoder's `is_causal`
    first.

    Copies the weights and changes nothing in the decoder. Raises `Refused` for another architecture, and for
    noise that is injected: it is drawn anew whenever a clip is decoded.
    """

    follows, padding_modes = ("is_causal",), ("zeros", "reflect")

    def __init__(self, decoder: nn.Module):
        super().__init__()
        if decoder.patch_size_t != 1:
            raise Refused("patches", f"{decoder.patch_size_t} frames", "1 frame")
        causal = getattr(decoder, "is_causal", getattr(decoder.conv_in, "is_causal", None))
        place = Place(ahead=0 if causal else 1)
        self.latent_channels, self.patch = decoder.conv_in.in_channels, decoder.patch_size
        self.conv_in = conv("conv_in", place, decoder.conv_in)
        self.reflects = self.conv_in.taps[0].reflects
        place = place.after(1)
        blocks = []
        for name, block in (("mid_block", decoder.mid_block), *decoder.up_blocks.named_children()):
            blocks.append(Block(name if block is decoder.mid_block else f"up_blocks.{name}", place, block))
            place = blocks[-1].place
        self.blocks, self.scale = nn.ModuleList(blocks), place.scale
        self.norm_out = NormSilu("norm_out", decoder.norm_out, decoder.conv_act)
        self.embedder = None if decoder.time_embedder is None else Embedder(decoder.time_embedder)
        self.register_buffer("temb", None, persistent=False)
        self.table, self.times = fixed(decoder.scale_shift_table), fixed(decoder.timestep_scale_multiplier)
        order = partial(channels_last, by=(1, self.patch, self.patch), transposed=True)
        self.conv_out = conv("conv_out", place, decoder.conv_out, order)
        self.place = place.after(1)

    @property
    def streaming(self) -> str:
        return f"{self.delay} latent frames late" if self.place.ahead else "constant state"

    @property
    def delay(self) -> int:
        """After so many latent frames, while more follow, there is no frame yet; the next one brings the
        first."""
        return next(n for n in count() if self.place.seen(n + 1))

    def seen(self, state: State, size: tuple[int, int]) -> int | None:
        """How many latent frames a state has seen; None where it is constant. Each adds something, so its
        entries tell."""
        if not self.place.ahead:
            return None
        if not state:
            raise Refused("state", "an empty one: its clip has ended", "None, where a clip begins")
        entries = min(len(state), len(self.state_shapes(1, 1, 1)))
        return next(n for n in count(1) if len(self.state_shapes(1, 1, 1, n)) >= entries)

    def check(
        self, z_bcthw: Tensor, state: State | None = None, ends: bool = True, temb: Tensor | None = None
    ) -> None:
        super().check(z_bcthw, state, ends)
        if self.reflects and min(z_bcthw.shape[3:]) < 2:
            raise Refused(
                "latents", f"{z_bcthw.shape[3]} x {z_bcthw.shape[4]}", "at least 2 x 2, for reflection"
            )
        if self.embedder is not None and (temb is None or temb.numel() != len(z_bcthw)):
            got = None if temb is None else f"shape {tuple(temb.shape)}"
            raise Refused("temb", got, f"[{len(z_bcthw)}], a timestep for each clip")

    def forward(
        self, z_bcthw: Tensor, state: State | None = None, temb: Tensor | None = None, ends: bool = True
    ) -> tuple[Tensor, State]:
        """Decode a step. `state` is None where a clip begins; `ends` says whether it ends with this step."""
        if temb is None and self.temb is not None:
            temb = self.temb.expand(len(z_bcthw))
        self.check(z_bcthw, state, ends, temb)
        if self.embedder is None:
            return self.clips(z_bcthw, state, ends)
        return self.clips(z_bcthw, state, ends, (temb * self.times).flatten().split(1))

    def clip(self, z_cthw: Tensor, memory: Memory, timestep: Tensor | None = None) -> Tensor:
        frames = self.conv_in(frames_of(z_cthw), memory)
        for block in self.blocks:
            frames = block(frames, memory, timestep)
        shift = None if self.embedder is None else shifts(self.embedder(timestep), self.table)[0]
        frames = self.conv_out([self.norm_out(frame, shift) for frame in frames], memory)
        frames = [shuffled(frame, memory.at(self.scale), self.patch) for frame in frames]
        size = memory.at(self.scale * self.patch)
        return video_of(frames, size) if frames else z_cthw.new_empty(3, 0, *size)


class Block(nn.Module):
    """An `LTXVideoUpBlock3d`, a mid block, or LTX-2's. `place` is where its frames come out."""

    def __init__(self, name: str, place: Place, stock: nn.Module):
        super().__init__()
        self.embedder = None if stock.time_embedder is None else Embedder(stock.time_embedder)
        self.first = self.upsample = None
        if getattr(stock, "conv_in", None) is not None:
            if self.embedder is not None:
                raise Refused(
                    f"{name}.conv_in", "timestep conditioning", "none: diffusers itself fails there"
                )
            self.first = Residual(f"{name}.conv_in", place, stock.conv_in)
            place = self.first.place
        if getattr(stock, "upsamplers", None) is not None:
            self.upsample = Upsample(f"{name}.upsamplers.0", place, stock.upsamplers[0])
            place = self.upsample.place
        residuals = []
        for i, resnet in enumerate(stock.resnets):
            residuals.append(Residual(f"{name}.resnets.{i}", place, resnet))
            place = residuals[-1].place
        self.residuals, self.place = nn.ModuleList(residuals), place

    def forward(self, frames: list[Tensor], memory: Memory, timestep: Tensor | None) -> list[Tensor]:
        if self.first is not None:
            frames = self.first(frames, memory, None)
        if self.upsample is not None:
            frames = self.upsample(frames, memory)
        embedded = None if self.embedder is None else self.embedder(timestep)
        for residual in self.residuals:
            frames = residual(frames, memory, embedded)
        return frames


class Residual(nn.Module):
    """An `LTXVideoResnetBlock3d`, or LTX-2's, on frames."""

    def __init__(self, name: str, place: Place, stock: nn.Module):
        super().__init__()
        for noise in (stock.per_channel_scale1, stock.per_channel_scale2):
            if noise is not None and noise.count_nonzero():
                raise Refused(f"{name}", "inject_noise", "none: it is drawn anew whenever a clip is decoded")
        self.norms = nn.ModuleList(
            NormSilu(f"{name}.{half}", getattr(stock, half), stock.nonlinearity)
            for half in ("norm1", "norm2")
        )
        self.convs = nn.ModuleList(
            conv(f"{name}.{half}", place.after(i), getattr(stock, half))
            for i, half in enumerate(("conv1", "conv2"))
        )
        self.table = fixed(stock.scale_shift_table)
        self.waiting = DelayedShortcut(name, place, stock.conv1.in_channels, convs=2)
        self.norm = self.shortcut = None
        if stock.conv_shortcut is not None:
            self.norm = CentredNorm(stock.norm3)
            self.shortcut = as_linear(getattr(stock.conv_shortcut, "conv", stock.conv_shortcut))
        self.place = place.after(2)

    def forward(self, frames: list[Tensor], memory: Memory, embedded: Tensor | None) -> list[Tensor]:
        both = [None, None] if embedded is None else shifts(embedded, self.table)
        x = frames
        for norm, conv, shift in zip(self.norms, self.convs, both):
            x = conv([norm(frame, shift) for frame in x], memory)
        rest = self.waiting(frames, len(x), memory)
        if self.shortcut is not None:
            rest = [self.shortcut(self.norm(frame)) for frame in rest]
        return [a + b for a, b in zip(x, rest, strict=True)]


class Upsample(nn.Module):
    """An `LTXVideoUpsampler3d`, or LTX-2's: a convolution and depth to space, in time too, without a clip's
    very first.

    Its residual is the input, repeated and moved from depth to space itself: picked by a matrix of ones and
    zeros, it is added ahead of what both share.
    """

    def __init__(self, name: str, place: Place, stock: nn.Module):
        super().__init__()
        self.times, *by = stock.stride
        if by not in ([1, 1], [2, 2]) or self.times not in (1, 2):
            raise Refused(
                f"{name}.stride", stock.stride, "1 or 2 in time, and 1 or 2 in height and width alike"
            )
        self.scale, self.by = place.scale, by[0]
        order = partial(channels_last, by=(self.times, self.by, self.by))
        self.conv = conv(name, place, stock.conv, order)
        self.waiting = self.picks = None
        if stock.residual:
            self.waiting = DelayedShortcut(name, place, stock.conv.in_channels, convs=1)
            self.picks = fixed(order(picked(stock).to(stock.conv.conv.weight.dtype)))
        self.place = place.after(1).upsampled(self.by, self.times)

    def forward(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        x = self.conv(frames, memory)
        if self.picks is not None:
            rest = self.waiting(frames, len(x), memory)
            x = [a + F.linear(b, self.picks) for a, b in zip(x, rest, strict=True)]
        skipped = self.times - 1 if self.conv.begins(memory) else 0
        parts = [(frame, part) for frame in x for part in range(self.times)][skipped:]
        return [self.part(frame, part, memory) for frame, part in parts]

    def part(self, x_nc: Tensor, part: int, memory: Memory) -> Tensor:
        return shuffled(x_nc, memory.at(self.scale), self.by, part, self.times)


def picked(stock: nn.Module) -> Tensor:
    """Which input each output of an upsampler's residual is: ones and zeros, [outputs, inputs]."""
    inputs, outputs, spread = stock.conv.in_channels, stock.conv.out_channels, math.prod(stock.stride)
    # Inputs are (C, spread); outputs read C again and again.
    read = torch.arange(outputs) % spread + (torch.arange(outputs) // spread * spread) % inputs
    return F.one_hot(read, inputs)


class NormSilu(nn.Module):
    """An RMS norm over channels without a gain, shifted and scaled by what the timestep says, and SiLU: on
    [N, C]."""

    def __init__(self, name: str, norm: nn.Module, activation: nn.Module):
        super().__init__()
        if getattr(norm, "weight", None) is not None or not isinstance(activation, nn.SiLU):
            raise Refused(name, f"{norm}, {activation}", "an RMS norm without a gain, and SiLU")
        self.eps = norm.eps

    def forward(self, x_nc: Tensor, shift_and_scale: tuple[Tensor, Tensor] | None = None) -> Tensor:
        x_nc = F.rms_norm(x_nc, x_nc.shape[-1:], None, self.eps)
        if shift_and_scale is not None:
            shift, scale = shift_and_scale
            x_nc = x_nc * (1 + scale) + shift
        return F.silu(x_nc)


class Embedder(nn.Module):
    """A block's time embedder: a timestep [1] -> [1, n * C]."""

    def __init__(self, stock: nn.Module):
        super().__init__()
        self.stock = copy.deepcopy(stock).requires_grad_(False)

    def forward(self, timestep: Tensor) -> Tensor:
        dtype = self.stock.timestep_embedder.linear_1.weight.dtype
        return self.stock(timestep, resolution=None, aspect_ratio=None, batch_size=1, hidden_dtype=dtype)


def shifts(embedded: Tensor, table: Tensor) -> list[tuple[Tensor, Tensor]]:
    """[1, n * C] and a table [n, C] -> a shift and a scale [1, C] for each norm."""
    rows = (embedded.reshape(table.shape) + table).split(1)
    return list(zip(rows[::2], rows[1::2]))


def fixed(parameter: Tensor | None) -> nn.Parameter | None:
    return None if parameter is None else nn.Parameter(parameter.detach().clone(), requires_grad=False)


def channels_last(parameter: Tensor, by: tuple[int, int, int], transposed: bool = False) -> Tensor:
    """Outputs (C, t, h, w) of a depth to space -> (t, h, w, C). `transposed`: (C, t, w, h), like patches."""
    parameter = parameter.unflatten(0, (-1, *by))
    parameter = parameter.transpose(2, 3) if transposed else parameter
    return parameter.movedim(0, 3).flatten(0, 3)


def conv(name: str, place: Place, stock: nn.Module, order=lambda parameter: parameter) -> CausalConv:
    """An `LTXVideoCausalConv3d`, or LTX-2's, its outputs put in order. Raises `Refused` for another one."""
    conv3d, (_, kh, kw) = stock.conv, stock.kernel_size
    check_conv(name, conv3d, (0, kh // 2, kw // 2), LTXTileDecoder.padding_modes)
    if getattr(stock, "is_causal", place.ahead == 0) != (place.ahead == 0):
        raise Refused(f"convolution {name}", f"is_causal {stock.is_causal}", "the same as conv_in's")
    weight, bias = order(conv3d.weight), order(conv3d.bias)
    if place.ahead:
        return CentredConv(name, place, weight, bias, conv3d.padding_mode)
    return CausalConv(name, place.scale, weight, bias, FIRST, conv3d.padding_mode)


def whole_clips(vae: nn.Module) -> nn.Module:
    """The decoder of an `AutoencoderKLLTXVideo` or `AutoencoderKLLTX2Video`. Raises `Refused` for one that
    fades stretches into another."""
    if vae.use_framewise_decoding:
        raise Refused(
            "autoencoder", "use_framewise_decoding", "the whole clip: vae.use_framewise_decoding = False"
        )
    return vae.decoder
