"""HunyuanVideo's decoder for tiles."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused
from ttvideo.decoders.attention import CausalAttention, check_one_head, pointwise
from ttvideo.decoders.causal import EDGES, FIRST, CausalConv, as_kept, check_conv
from ttvideo.decoders.clip_decoder import (
    ClipDecoder,
    Memory,
    State,
    WholeClipDecoder,
    check_whole,
    frames_of,
    keys,
    split,
)
from ttvideo.decoders.group_norm import clip_norm
from ttvideo.decoders.residual import ResidualBlock
from ttvideo.decoders.rows import nearest


@dataclass(frozen=True)
class Stretches:
    """How an autoencoder cuts a clip: each stretch is `latents` + 1 long and begins `stride` after the one
    before.

    All but the first drop their first video frame, and fade in over what the one before has beyond its
    stride; a clip of no more than `latents` is one stretch. `frames` are the video frames of a latent.
    """

    latents: int
    stride: int
    frames: int

    @property
    def overlap(self) -> int:
        """Latents that two stretches share."""
        return self.latents + 1 - self.stride

    @property
    def fading(self) -> int:
        """Video frames over which one stretch fades into the next."""
        return (self.latents - self.stride) * self.frames

    def check(self, latents: int, begins: bool, ends: bool) -> None:
        """Raise `Refused` for a step of a number of latent frames that no other can follow."""
        if ends:
            return
        first = self.latents + 1 if begins else self.stride
        extra, rest = divmod(latents - first, self.stride)
        if extra < 0 or rest:
            need = f"{first}, or more by a multiple of {self.stride}, unless the clip ends with it"
            raise Refused("latent frames of a step", latents, need)


class HunyuanVideoTileDecoder(ClipDecoder):
    """A `HunyuanVideoDecoder3D` (diffusers), driven as its autoencoder drives it, exactly.

    [B, 16, T, H, W] -> [B, 3, 4 T - 3, 8 H, 8 W]. Its norms take the statistics of all frames that are
    decoded together, and its attention sees all before: no frame of the decoder's own is known before the
    last latent. But a pipeline's autoencoder by default decodes stretches of five latent frames, three apart,
    and fades each into the next (`use_framewise_decoding`). That is what `for_tiles(vae)` gives, not the
    whole clip normalised as one. Streaming with a constant state and a delay of one latent frame: the first
    step is of 5 + 3 k latent frames, later ones of 3 k, and the last, of any number, gives what waited. All
    but the last are called with `ends=False`.

    Without `stretches`, as for a decoder alone, or for an autoencoder with `use_framewise_decoding` off: the
    clip at once.

    Copies the weights and changes nothing in the decoder. Raises `Refused` for another architecture.
    """

    follows = ("use_framewise_decoding", "tile_sample_min_num_frames", "tile_sample_stride_num_frames")

    def __init__(
        self, decoder: nn.Module, post_quant: nn.Module | None = None, stretches: Stretches | None = None
    ):
        super().__init__()
        self.stretches = stretches
        self.post_quant = pointwise(post_quant)
        self.latent_channels = decoder.conv_in.conv.in_channels
        self.conv_in = causal("conv_in", 1, decoder.conv_in)
        mid = decoder.mid_block
        blocks = [Residual("mid_block.resnets.0", 1, mid.resnets[0])]
        for i, (attention, resnet) in enumerate(zip(mid.attentions, mid.resnets[1:])):
            if attention is not None:
                blocks.append(Attention(f"mid_block.attentions.{i}", attention))
            blocks.append(Residual(f"mid_block.resnets.{i + 1}", 1, resnet))
        scale = 1
        for i, block in enumerate(decoder.up_blocks):
            name = f"up_blocks.{i}"
            residuals = [
                Residual(f"{name}.resnets.{j}", scale, resnet) for j, resnet in enumerate(block.resnets)
            ]
            if isinstance(blocks[-1], Upsample) and residuals[0].shortcut is not None:
                residuals[0] = UpsampledResidual(blocks.pop(), residuals[0])
            blocks += residuals
            if block.upsamplers is not None:
                blocks.append(Upsample(f"{name}.upsamplers.0", scale, block.upsamplers[0]))
                scale = blocks[-1].conv.scale
        self.blocks, self.scale = nn.ModuleList(blocks), scale
        self.norm_out = deepcopy(decoder.conv_norm_out)
        self.conv_out = causal("conv_out", scale, decoder.conv_out)

    @property
    def streaming(self) -> str:
        if self.stretches is None:
            return "none"
        return f"constant state, {self.stretches.overlap - 1} latent frame late"

    def steps(self, latent_frames: int, frames_per_step: int | None = None) -> list[int]:
        """Cut a clip: a stretch, then by default a stride at a time, and what is left; without stretches it
        stays whole.

        Raises `Refused` for a step of another number than so many strides.
        """
        cut = self.stretches
        if cut is None:
            return WholeClipDecoder.steps(latent_frames, frames_per_step)
        size = cut.stride if frames_per_step is None else frames_per_step
        split(latent_frames, size)
        if size % cut.stride:
            need = f"a multiple of {cut.stride}, as stretches are apart"
            raise Refused("frames_per_step", size, need)
        first = min(cut.latents + 1, latent_frames)
        times, rest = divmod(latent_frames - first, size)
        return [first] + [size] * times + [rest] * (rest > 0)

    def state_shapes(
        self, batch: int, height: int, width: int, latents: int | None = None
    ) -> dict[str, tuple[int, int, int, int]]:
        if self.stretches is None:
            return {}
        size, video_size = (height, width), (height * self.scale, width * self.scale)
        latents = (batch, 1, height * width, self.latent_channels)
        video = (batch, self.conv_out.taps[0].weight.shape[0], *video_size)
        return dict.fromkeys(keys("latents", size, self.stretches.overlap), latents) | dict.fromkeys(
            keys("video", video_size, self.stretches.fading), video
        )

    def check(self, z_bcthw: Tensor, state: State | None = None, ends: bool = True) -> None:
        if self.stretches is None:
            check_whole(state, ends)
        super().check(z_bcthw, state, ends)
        if self.stretches is not None:
            self.stretches.check(z_bcthw.shape[2], state is None, ends)

    def clip(self, z_cthw: Tensor, memory: Memory) -> Tensor:
        frames, cut = frames_of(z_cthw), self.stretches
        if cut is None or memory.starts and len(frames) <= cut.latents:
            return torch.stack(self.stretch(frames, memory.size), 1)
        names = keys("latents", memory.size, cut.overlap), keys("video", memory.at(self.scale), cut.fading)
        first, fading = memory.starts, []
        if not first:
            past, fading = ([memory.old[name][0] for name in part] for part in names)
            frames = [*(z.flatten(0, 1) for z in past), *frames]
        video = []
        while len(frames) > (1 if memory.ends else cut.latents):
            new = self.stretch(frames[: cut.latents + 1], memory.size)
            if not first:
                new = faded(fading, new[1:])
            done = cut.stride * cut.frames + first
            video, fading, frames, first = video + new[:done], new[done:], frames[cut.stride :], False
        if not memory.ends:
            memory.new |= zip(names[0], [as_kept(z) for z in frames])
            memory.new |= zip(names[1], [frame[None] for frame in fading])
        return torch.stack(video, 1)

    def stretch(self, frames: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """Latent frames that are normalised as one -> video frames [3, H', W']."""
        memory = Memory(size, None)
        frames = self.quantised(frames)
        frames = self.conv_in(frames, memory)
        for block in self.blocks:
            frames = block(frames, memory)
        frames = self.conv_out([F.silu(frame) for frame in clip_norm(frames, self.norm_out)], memory)
        return [frame.t().unflatten(1, memory.at(self.scale)) for frame in frames]


def faded(old: list[Tensor], new: list[Tensor]) -> list[Tensor]:
    """`new`, beginning as `old` does and going over to its own."""
    count = len(old)
    return [
        a * (1 - i / count) + b * (i / count) if i else a for i, (a, b) in enumerate(zip(old, new))
    ] + new[count:]


class Residual(ResidualBlock):
    """A `HunyuanVideoResnetBlockCausal3D` on frames."""

    def __init__(self, name: str, scale: int, stock: nn.Module):
        check_silu(name, stock.nonlinearity)
        shortcut = stock.conv_shortcut
        super().__init__(
            [deepcopy(norm) for norm in (stock.norm1, stock.norm2)],
            [causal(f"{name}.{half}", scale, getattr(stock, half)) for half in ("conv1", "conv2")],
            None if shortcut is None else causal(f"{name}.conv_shortcut", scale, shortcut),
        )

    def normed(self, frames: list[Tensor], norm: nn.GroupNorm) -> list[Tensor]:
        return [F.silu(frame) for frame in clip_norm(frames, norm)]

    def rest(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        return frames if self.shortcut is None else self.shortcut(frames, memory)


class Attention(nn.Module):
    """An `Attention` of one head, as it stands in a `HunyuanVideoMidBlock3D`: each frame sees itself and
    those before."""

    def __init__(self, name: str, stock: nn.Module):
        super().__init__()
        check_one_head(name, stock)
        self.norm = deepcopy(stock.group_norm)
        self.attention = CausalAttention(name, stock.to_q, stock.to_k, stock.to_v, stock.to_out[0])

    def forward(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        return self.attention(frames, clip_norm(frames, self.norm), memory)


class Upsample(nn.Module):
    """A `HunyuanVideoUpsampleCausal3D`: each frame but the first twice, and higher and wider, then convolved.

    Hazard: a frame that stands twice is one tensor, so the compiler applies a tap to it only once.
    """

    def __init__(self, name: str, scale: int, stock: nn.Module):
        super().__init__()
        self.frames, self.by, wide = stock.upsample_factor
        if self.frames not in (1, 2) or self.by != wide or self.by not in (1, 2):
            raise Refused(f"{name}.upsample_factor", stock.upsample_factor, "1 or 2 in time, 1 or 2 in space")
        self.conv = causal(name, scale * self.by, stock.conv)

    def forward(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        return [
            self.conv.output(window, memory.at(self.conv.scale)) for window in self.windows(frames, memory)
        ]

    def windows(self, frames: list[Tensor], memory: Memory) -> list[list[Tensor]]:
        return self.doubled([self.conv.surrounded(frame, memory, self.by) for frame in frames], memory)

    def windows_again(self, frames: list[Tensor], memory: Memory) -> list[list[Tensor]]:
        """The same in two gathers a frame, which the compiler doesn't take for `windows`' own and hold."""
        height, width = memory.at(self.conv.scale)
        frames = [nearest(frame, (height // self.by, width // self.by), self.by) for frame in frames]
        return self.doubled([self.conv.surrounded(frame, memory) for frame in frames], memory)

    def doubled(self, frames: list[Tensor], memory: Memory) -> list[list[Tensor]]:
        return self.conv.windows(
            [*frames[:1], *(frame for frame in frames[1:] for _ in range(self.frames))], memory
        )


class UpsampledResidual(nn.Module):
    """An `Upsample` and the residual block after it, whose shortcut is taken of what the upsampling reads.

    Hazard: torch_xla orders a program from its outputs, so a shortcut comes when the end of its block needs
    it, and what it reads is held till then: 17 frames of 256 channels at 720 x 1280, 8 GB, beside the 4 GB of
    the first convolution. The shortcut of an upsampling is one convolution, of frames that are 1 GB before
    they are enlarged.
    """

    def __init__(self, upsample: Upsample, residual: Residual):
        super().__init__()
        self.upsample, self.residual = upsample, residual
        conv, (linear,) = upsample.conv, residual.shortcut.taps
        weight = torch.stack([tap.weight for tap in conv.taps], 2).double()
        weight, bias = (
            linear.weight.double() @ weight.flatten(1),
            linear.weight.double() @ conv.taps[-1].bias.double(),
        )
        weight = weight.unflatten(1, (conv.channels, len(conv.taps), *conv.taps[0].weight.shape[2:]))
        weight, bias = (t.to(linear.weight.dtype) for t in (weight, bias + linear.bias.double()))
        self.shortcut = CausalConv(conv.name, conv.scale, weight, bias, before=FIRST, padding=EDGES)
        residual.shortcut = None

    def forward(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        added, size = (
            self.residual.added(self.upsample(frames, memory), memory),
            memory.at(self.shortcut.scale),
        )
        windows = self.upsample.windows_again(frames, memory)
        return [a + self.shortcut.output(window, size) for a, window in zip(added, windows)]


def framewise(vae: nn.Module) -> Stretches | None:
    """How an `AutoencoderKLHunyuanVideo` cuts a clip; None where it doesn't. Raises `Refused` for other
    stretches."""
    if not vae.use_framewise_decoding:
        return None
    lengths, ratio = (
        (vae.tile_sample_min_num_frames, vae.tile_sample_stride_num_frames),
        vae.temporal_compression_ratio,
    )
    latents, stride = (length // ratio for length in lengths)
    if any(length % ratio for length in lengths) or not stride <= latents <= 2 * stride:
        need = f"multiples of {ratio}, the second from half the first to all of it"
        raise Refused("tile_sample_min_num_frames and tile_sample_stride_num_frames", lengths, need)
    return Stretches(latents, stride, ratio)


def check_silu(name: str, activation: nn.Module) -> None:
    if not isinstance(activation, nn.SiLU):
        raise Refused(name, f"the activation {type(activation).__name__}", "SiLU")


def causal(name: str, scale: int, stock: nn.Module) -> CausalConv:
    """A `HunyuanVideoCausalConv3d` or `HunyuanVideo15CausalConv3d`, which repeats edges and first frame."""
    conv, pads = stock.conv, stock.time_causal_padding
    kt, kh, kw = conv.kernel_size
    check_conv(name, conv, (0, 0, 0))
    known = (kw // 2, kw // 2, kh // 2, kh // 2, kt - 1, 0)
    if stock.pad_mode != "replicate" or pads != known:
        raise Refused(f"convolution {name}", f"{stock.pad_mode} {pads}", f"replicate {known}")
    return CausalConv(name, scale, conv.weight, conv.bias, before=FIRST, padding=EDGES)
