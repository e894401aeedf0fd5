"""The Mochi decoder for the host, eager PyTorch on CPU or CUDA: the same weights and function, a frame at a
time.

What is slow or large there, in the order met: GroupNorm and padding of whole clips, each a copy of them; a
convolution in float64, which PyTorch unfolds to 27 copies of its input; and the two frames that each
convolution keeps between steps, which at 480 x 848 are 10.6 GB in float64: more than all the rest.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.decoders.clip_decoder import Shapes, State, check_step, split
from ttvideo.decoders.mochi_layout import Resnet, Shuffle, mochi_layout
from ttvideo.media.latents import DROPPED_FRAMES

BLOCK_BYTES = 2**25  # of a frame in float32 at a time: what is held in the wide type besides the frames


class HostDecoder(nn.Module):
    """A `MochiDecoder3D` (diffusers) that decodes in steps on the host, exactly; called like `TileDecoder`.

    A frame is [H, W, C]. The state is the last two frames of each convolution's input, padded, by the
    convolution's name: [B, 2, H + 2, W + 2, C]. Copies the weights. Raises `Refused` for a module that isn't
    a Mochi decoder.
    """

    streaming = "constant state"
    dropped_frames = DROPPED_FRAMES
    steps = staticmethod(split)

    def __init__(self, decoder: nn.Module):
        super().__init__()
        mochi_layout(decoder)
        self.decoder = deepcopy(decoder).requires_grad_(False)
        for module in self.decoder.modules():
            if isinstance(module, nn.Conv3d):
                module.to(memory_format=torch.channels_last_3d)

    @property
    def latent_channels(self) -> int:
        return self.decoder.conv_in.in_channels

    @property
    def conv_in(self) -> nn.Conv3d:
        return self.decoder.conv_in

    def state_shapes(self, batch: int, height: int, width: int, latents: int | None = None) -> Shapes:
        """The state's names and shapes, for latents of this height and width."""
        resnets = [part for part in mochi_layout(self.decoder) if isinstance(part, Resnet)]
        return {
            name: (batch, 2, height * part.scale + 2, width * part.scale + 2, part.channels)
            for part in resnets
            for name, *_ in part.halves
        }

    def check(self, z_bcthw: Tensor, state: State | None = None) -> None:
        """Raise `Refused` for latents or a state of a wrong rank, size or type. Looks at no value."""
        check_step(z_bcthw, state, self.latent_channels, self.conv_in.weight.dtype, self.state_shapes)

    @torch.no_grad()
    def forward(self, z_bcthw: Tensor, state: State | None = None, ends: bool = True) -> tuple[Tensor, State]:
        """Decode a step: [B, 12, T, H, W] -> [B, 3, 6 T, 8 H, 8 W], and the state for the next step.

        `state` is None at the start of a clip; the one given is used up: the new one is written over it.
        Where the clip `ends` no state is returned, nor held. Raises `Refused` as `check` does.
        """
        self.check(z_bcthw, state)
        pasts = [{name: past[b] for name, past in (state or {}).items()} for b in range(len(z_bcthw))]
        clips = [self.clip(z_cthw, past, not ends) for z_cthw, past in zip(z_bcthw, pasts)]
        if state is None:
            state = {name: torch.stack([past.pop(name) for past in pasts]) for name in list(pasts[0])}
        return torch.stack(clips), {} if ends else state

    def clip(self, z_cthw: Tensor, pasts: State, keep: bool) -> Tensor:
        conv_in, proj_out = self.decoder.conv_in, self.decoder.proj_out
        frames = [
            F.linear(z.permute(1, 2, 0), conv_in.weight.flatten(1), conv_in.bias) for z in z_cthw.unbind(1)
        ]
        for part in mochi_layout(self.decoder):
            if isinstance(part, Resnet):
                self.residual(frames, part, pasts, keep)
            else:
                frames = [out for _ in range(len(frames)) for out in depth_to_space(frames.pop(0), part)]
        pictures = []
        while frames:
            pictures.append(F.linear(F.silu(frames.pop(0), inplace=True), proj_out.weight, proj_out.bias))
        return torch.stack(pictures).permute(3, 0, 1, 2)

    def residual(self, frames: list[Tensor], resnet: Resnet, pasts: State, keep: bool) -> None:
        """A residual block, on each frame in place."""
        windows = {name: (norm, CausalWindow(conv, pasts.get(name))) for name, norm, conv in resnet.halves}
        for frame in frames:
            x = frame
            for norm, window in windows.values():
                norm_silu(x, norm, window.next(x))
                x = window.convolve()
            frame += x
        for name, (_, window) in windows.items():
            if keep and name in pasts:
                pasts[name].copy_(window.frames[1:])
            elif keep:
                pasts[name] = window.frames[1:].clone()


class CausalWindow:
    """The three frames that a causal 3x3x3 convolution reads, padded: [3, H + 2, W + 2, C], newest last."""

    def __init__(self, conv: nn.Conv3d, past: Tensor | None):
        self.conv, self.past, self.frames = conv, past, None

    def next(self, like_hwc: Tensor) -> Tensor:
        """Move on by a frame; returns the place of the new one, [H, W, C], to be written."""
        if self.frames is None:
            height, width, _ = like_hwc.shape
            self.frames = like_hwc.new_empty(3, height + 2, width + 2, self.conv.in_channels)
            if self.past is not None:
                self.frames[:2] = self.past
        else:
            self.frames[0] = self.frames[1]
            self.frames[1] = self.frames[2]
            self.past = self.frames[:2]
        return self.frames[2, 1:-1, 1:-1]

    def convolve(self) -> Tensor:
        """The newest frame's output, [H, W, C']."""
        newest = self.frames[2]
        newest[:, 0], newest[:, -1] = newest[:, 1], newest[:, -2]
        newest[0], newest[-1] = newest[1], newest[-2]
        if self.past is None:  # before a clip stands its first frame, repeated
            self.frames[:2] = newest
        return convolved(self.frames, self.conv)


def convolved(frames_thwc: Tensor, conv: nn.Conv3d) -> Tensor:
    """[3, H + 2, W + 2, C] -> [H, W, C']."""
    if frames_thwc.dtype != torch.float64 or frames_thwc.is_cuda:
        out = F.conv3d(frames_thwc.permute(3, 0, 1, 2)[None], conv.weight, conv.bias)
        return out[0, :, 0].permute(1, 2, 0)
    return as_products(frames_thwc, conv)


def as_products(frames_thwc: Tensor, conv: nn.Conv3d) -> Tensor:
    """`convolved` as 27 matrix products, one a tap, added up where they stand.

    Rows of pixels follow one another, so a tap is the same rows, moved: nothing is copied. The last two
    pixels of each row come out as nonsense, and are cut off.
    """
    _, height, width, channels = frames_thwc.shape
    pixels = frames_thwc.reshape(-1, channels)
    out = conv.bias.repeat((height - 2) * width, 1)
    sums = out[:-2]
    for t in range(3):
        for h in range(3):
            for w in range(3):
                first = (t * height + h) * width + w
                sums.addmm_(pixels[first : first + len(sums)], conv.weight[:, :, t, h, w].t())
    return out.view(height - 2, width, -1)[:, :-2]


def norm_silu(x_hwc: Tensor, norm: nn.GroupNorm, out_hwc: Tensor) -> None:
    """silu(GroupNorm(x)), a few rows at a time; statistics, arithmetic in float32 at least, rounded once."""
    wide = torch.promote_types(x_hwc.dtype, torch.float32)
    height, width, channels = x_hwc.shape
    rows = max(1, BLOCK_BYTES // (width * channels * 4)) if not x_hwc.is_cuda else height
    total = x_hwc.new_zeros(2, channels, dtype=wide)
    for block in x_hwc.split(rows):
        block = block.to(wide).reshape(-1, channels)
        total[0] += block.sum(0)
        total[1] += block.square().sum(0)
    mean, square = (total.view(2, norm.num_groups, -1).mean(2) / (height * width)).repeat_interleave(
        channels // norm.num_groups, dim=1
    )
    scale = torch.rsqrt((square - mean.square()).clamp_min(0) + norm.eps) * norm.weight.to(wide)
    shift = norm.bias.to(wide) - mean * scale
    for block, out in zip(x_hwc.split(rows), out_hwc.split(rows)):
        out.copy_(F.silu(torch.addcmul(shift, block.to(wide), scale), inplace=True))


def depth_to_space(x_hwc: Tensor, shuffle: Shuffle) -> list[Tensor]:
    """The end of a `MochiUpBlock3D`: one frame [H, W, C] -> t frames [H * by, W * by, C']."""
    (height, width, _), by = x_hwc.shape, shuffle.by
    y = F.linear(x_hwc, shuffle.proj.weight, shuffle.proj.bias).view(height, width, -1, shuffle.times, by, by)
    return [part.permute(0, 3, 1, 4, 2).reshape(height * by, width * by, -1) for part in y.unbind(3)]
