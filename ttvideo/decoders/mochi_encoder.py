"""The Mochi encoder for tiles: the same weights and the same numbers, streamed in time.

What its structure allows: convolutions look back, norms see one frame, so their state is constant. Each
attention goes, at every pixel, over all frames so far: what it read of them is kept, and grows, most of it
for the three attentions at the largest size (`findings/next_part.py` has the bytes). While a step runs it is
there twice: the compiler gives what goes out another layout than what comes in.
"""

import math
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused
from ttvideo.decoders.clip_decoder import ClipDecoder, Memory, Shapes, State, check_step, split
from ttvideo.decoders.group_norm import group_norm, group_norm_silu
from ttvideo.decoders.mochi import Residual
from ttvideo.decoders.mochi_layout import Resnet
from ttvideo.decoders.rows import keep_row_major
from ttvideo.decoders.time_attention import TimeAttention


class TileEncoder(ClipDecoder):
    """A `MochiEncoder3D` (diffusers) that encodes a clip in steps, exactly: mean and log variance of its
    latents.

    The first frame of a clip is a latent frame of its own, then each 6 are one. So a first step is 1 + 6 n
    frames, the others are 6 n; inside, one latent frame is made after the other. (Frames after the last whole
    6 change nothing in the stock encoder's result; here they are refused.) A frame is pixels by channels, [H
    * W, C], as in the decoder.

    The state is a flat dict: the two frames that each convolution saw last, padded, [B, 1, (H + 2) * (W + 2),
    C], "block_in.resnets.0.conv1.480x848.past2"; and all frames that each attention saw, [B, H * W, C],
    "down_blocks.0.attentions.0.240x424.frame17". The latter are passed through from step to step.

    Copies the encoder's weights and changes nothing in it. Raises `Refused` for a module that isn't a Mochi
    encoder.
    """

    streaming = "state grows"

    def __init__(self, encoder: nn.Module):
        super().__init__()
        parts = (
            "fourier_features",
            "proj_in",
            "block_in",
            "down_blocks",
            "block_out",
            "norm_out",
            "proj_out",
        )
        if not all(hasattr(encoder, part) for part in parts):
            raise Refused("encoder", type(encoder).__name__, "a MochiEncoder3D")
        self.fourier = FourierProjection(encoder.fourier_features, encoder.proj_in)
        self.latent_channels = self.fourier.colours  # of what it takes: a video's 3
        blocks = {"block_in": encoder.block_in}
        blocks |= {f"down_blocks.{i}": block for i, block in enumerate(encoder.down_blocks)}
        blocks |= {"block_out": encoder.block_out}
        self.frames_per_latent = math.prod(block.temporal_expansion for block in encoder.down_blocks)
        self.shrink = math.prod(block.spatial_expansion for block in encoder.down_blocks)
        stages, scale, rate = (
            [],
            self.shrink,
            self.frames_per_latent,
        )  # times the latents' size, and frames a latent
        for name, block in blocks.items():
            if hasattr(block, "conv_in"):
                stages.append(Downsample(block.conv_in.conv, scale))
                scale, rate = scale // stages[-1].by, rate // stages[-1].frames
            for i, (resnet, norm, attention) in enumerate(zip(block.resnets, block.norms, block.attentions)):
                stages.append(Residual(Resnet(f"{name}.resnets.{i}", scale, rate, resnet)))
                if attention is not None:
                    stages.append(Attention(f"{name}.attentions.{i}", scale, rate, norm, attention))
        self.stages = nn.ModuleList(stages)
        self.norm_out, self.proj_out = deepcopy(encoder.norm_out.norm_layer), deepcopy(encoder.proj_out)

    def steps(self, frames: int, frames_per_step: int | None = None) -> list[int]:
        """Cut a clip of 1 + 6 n frames into steps, by default one of 1 frame, then of 6: `frames_per_step` is
        6 n.

        Raises `Refused` for a clip or a step of another length.
        """
        group = self.frames_per_latent
        per_step = group if frames_per_step is None else frames_per_step
        if not isinstance(per_step, int) or isinstance(per_step, bool) or per_step < 1 or per_step % group:
            raise Refused("frames_per_step", frames_per_step, f"a multiple of {group}")
        if frames < 1 or frames % group != 1 % group:
            raise Refused("frames", frames, f"1 + {group} n, of which every one counts")
        if frames == 1:
            return [1]
        first, *rest = split((frames - 1) // group, per_step // group)
        return [1, *(group * n for n in (first, *rest))]

    def seen(self, state: State, size: tuple[int, int]) -> int:
        """How many latent frames a state has seen, by what its last attention keeps; 1 where that can't be
        told."""
        attentions = [stage for stage in self.stages if isinstance(stage, Attention)]
        return max(1, attentions[-1].seen(state)) if attentions else 1

    def state_shapes(self, batch: int, height: int, width: int, latents: int | None = None) -> Shapes:
        """The state's names and shapes after so many latent frames, by default one, of video of this height
        and width."""
        return super().state_shapes(batch, height // self.shrink, width // self.shrink, latents)

    def check(self, x_bcthw: Tensor, state: State | None = None, ends: bool = True) -> None:
        """Raise `Refused` for a clip or a state of a wrong rank, size or type. Looks at no value."""

        def shapes(batch: int, *size: int) -> Shapes:
            return self.state_shapes(batch, *size, self.seen(state, size))

        dtype = self.proj_out.weight.dtype
        as_read = dtype if x_bcthw.dtype == torch.float32 else x_bcthw.dtype
        check_step(x_bcthw.to("meta", as_read), state, self.latent_channels, dtype, shapes, "clip")
        *_, frames, height, width = x_bcthw.shape
        if height % self.shrink or width % self.shrink:
            raise Refused("clip", f"{height} x {width}", f"multiples of {self.shrink}")
        group = self.frames_per_latent
        if frames % group != (1 % group if state is None else 0):
            need = f"1 + {group} n at the begin of a clip" if state is None else f"a multiple of {group}"
            raise Refused("clip", f"{frames} frames", need)

    def clip(self, x_cthw: Tensor, memory: Memory) -> Tensor:
        """A clip, [3, 1 + 6 n or 6 n, H, W], in float32 or the weights' type -> [24, 1 + n or n, H / 8, W /
        8]."""
        memory.size = tuple(n // self.shrink for n in memory.size)
        latents, first = divmod(x_cthw.shape[1], self.frames_per_latent)
        moments = []
        for piece in x_cthw.split([1] * first + [self.frames_per_latent] * latents, 1):
            moments.append(self.latent(piece, memory))
            memory = memory.next()
        return torch.stack(moments, 1)

    def latent(self, x_cthw: Tensor, memory: Memory) -> Tensor:
        """The frames of one latent frame -> [24, H / 8, W / 8]."""
        frames = [self.fourier(x_chw.flatten(1)) for x_chw in x_cthw.unbind(1)]
        for stage in self.stages:
            frames = stage(frames, memory)
        (frame,) = group_norm_silu(frames, self.norm_out)
        return F.linear(frame, self.proj_out.weight).t().unflatten(1, memory.size)


class FourierProjection(nn.Module):
    """`FourierFeatures` and the projection of them, of a frame as it comes: [3, N] -> [N, C].

    Hazard: with 3 channels last, each is stored as 32. Channels stay first until they are 15. The angles, up
    to 800, are float32, as in the stock one: in bf16 their sine would mean nothing. Nor does that of a pixel
    that was rounded to bf16, whose angle is up to 1.6 off: so a clip is taken in float32, too, whatever the
    weights' type.
    """

    def __init__(self, features: nn.Module, proj: nn.Linear):
        super().__init__()
        self.scales = [
            2.0**power * 2 * math.pi for power in range(features.start, features.stop, features.step)
        ]
        self.colours, rest = divmod(proj.in_features, 1 + 2 * len(self.scales))
        if rest:
            raise Refused(
                "proj_in", f"{proj.in_features} inputs", f"a multiple of {1 + 2 * len(self.scales)}"
            )
        # Stock: colours, then their sines and cosines, (colour, scale) each; here (scale, colour).
        plain, *waves = proj.weight.detach().split(
            [self.colours, *[self.colours * len(self.scales)] * 2], dim=1
        )
        waves = [w.unflatten(1, (self.colours, -1)).transpose(1, 2).flatten(1) for w in waves]
        self.weight = nn.Parameter(torch.cat([plain, *waves], 1), requires_grad=False)
        self.bias = nn.Parameter(proj.bias.detach().clone(), requires_grad=False)

    def forward(self, x_cn: Tensor) -> Tensor:
        angles = [x_cn.float() * scale for scale in self.scales]
        waves = [wave(angle) for wave in (torch.sin, torch.cos) for angle in angles]
        rows = [row.to(self.weight.dtype) for row in (x_cn, *waves)]
        return F.linear(torch.cat(rows).t(), self.weight, self.bias)


class Attention(nn.Module):
    """The attention after a residual block, with its norm, on frames: each pixel sees itself in all frames so
    far."""

    def __init__(self, name: str, scale: int, rate: int, norm: nn.Module, stock: nn.Module):
        super().__init__()
        self.name, self.scale, self.rate = name, scale, rate
        self.norm, self.attention = deepcopy(norm.norm_layer), TimeAttention(stock)

    def key(self, size: tuple[int, int], frame: int) -> str:
        return f"{self.name}.{size[0]}x{size[1]}.frame{frame}"

    def seen(self, state: State | None) -> int:
        """How many frames a state has of it."""
        return sum(name.startswith(f"{self.name}.") for name in state or ())

    def state_shapes(self, size: tuple[int, int], latents: int | None = None) -> Shapes:
        """What it keeps after so many latent frames, by default one: the first is one frame, the others
        `rate` each."""
        at, frames = (size[0] * self.scale, size[1] * self.scale), 1 + self.rate * ((latents or 1) - 1)
        return {self.key(at, frame): (at[0] * at[1], self.norm.num_channels) for frame in range(frames)}

    def forward(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        size, seen = memory.at(self.scale), self.seen(memory.old)
        kept = {self.key(size, frame): memory.old[self.key(size, frame)] for frame in range(seen)}
        normed = group_norm(frames, self.norm)
        memory.new |= kept | {self.key(size, seen + i): frame[None] for i, frame in enumerate(normed)}
        past = [frame.flatten(0, 1) for frame in kept.values()]
        return [a + b for a, b in zip(frames, self.attention(past, normed))]


class Downsample(nn.Module):
    """The convolution that a `MochiDownBlock3D` begins with: its kernel is its stride, so no output shares an
    input.

    [H * W, C] each -> [H / s * W / s, O], one for each t frames; the first frame of a clip, alone, stands for
    all t.
    """

    def __init__(self, conv: nn.Conv3d, scale: int):
        super().__init__()
        self.scale = scale
        (self.frames, self.by, width), rest = conv.kernel_size, conv.stride
        if rest != conv.kernel_size or self.by != width or self.by > 2:
            raise Refused(
                "downsampling", f"kernel {conv.kernel_size}, stride {rest}", "both [t, s, s], s 1 or 2"
            )
        taps = conv.weight.detach().unbind(2)
        self.taps = nn.ParameterList(
            nn.Parameter(tap.contiguous().clone(), requires_grad=False) for tap in taps
        )
        self.bias = nn.Parameter(conv.bias.detach().clone(), requires_grad=False)

    def forward(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        frames = frames * self.frames if len(frames) == 1 else frames
        groups = [frames[i : i + self.frames] for i in range(0, len(frames), self.frames)]
        return [self.output(group, memory.at(self.scale)) for group in groups]

    def output(self, group: list[Tensor], size: tuple[int, int]) -> Tensor:
        parts = [self.conv2d(x_nc, tap, size) for x_nc, tap in zip(group, self.taps, strict=True)]
        return sum(parts[1:], parts[0])

    def conv2d(self, x_nc: Tensor, tap: Tensor, size: tuple[int, int]) -> Tensor:
        x_nchw = keep_row_major(x_nc[None, None]).reshape(1, *size, -1).permute(0, 3, 1, 2)
        bias = self.bias if tap is self.taps[-1] else None
        return F.conv2d(x_nchw, tap, bias, stride=self.by).permute(0, 2, 3, 1).flatten(0, 2)
