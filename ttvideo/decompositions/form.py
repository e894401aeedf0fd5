"""What a Conv3d does, apart from its numbers: one frozen value that every way reads."""

from dataclasses import dataclass
from functools import cached_property

from torch import nn

from ttvideo.basics.errors import Refused

MODES = ("zeros", "replicate", "reflect", "circular")
Triple = tuple[int, int, int]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Form:
    """The form of a Conv3d; every triple is in the order (t, h, w).

    `padding` holds (before, after) for each axis and `modes` what is put there, so a causal
    convolution is simply one whose time padding is (kt - 1, 0): Mochi's is "replicate" on all three
    axes, CogVideoX's "replicate" in time and "zeros" in space. Padding is separable in all four modes.
    """

    kernel: Triple
    stride: Triple = (1, 1, 1)
    padding: tuple[Pair, Pair, Pair] = ((0, 0), (0, 0), (0, 0))
    modes: tuple[str, str, str] = ("zeros", "zeros", "zeros")
    dilation: Triple = (1, 1, 1)
    groups: int = 1

    def __post_init__(self):
        for mode in self.modes:
            if mode not in MODES:
                raise Refused("padding mode", repr(mode), f"one of {', '.join(MODES)}")

    @classmethod
    def of(cls, conv: nn.Conv3d) -> "Form":
        """The form of an `nn.Conv3d`, its 'same' and 'valid' resolved to numbers.

        'same' puts the odd one at the end, as torch does (aten `_convolution_same`).
        """
        if isinstance(conv, nn.ConvTranspose3d) or not isinstance(conv, nn.Conv3d):
            raise Refused("Form.of", type(conv).__name__, "an nn.Conv3d")
        if conv.padding == "valid":
            padding = ((0, 0),) * 3
        elif conv.padding == "same":
            spans = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size)]
            padding = tuple((s // 2, s - s // 2) for s in spans)
        else:
            padding = tuple((p, p) for p in conv.padding)
        return cls(
            conv.kernel_size, conv.stride, padding, (conv.padding_mode,) * 3, conv.dilation, conv.groups
        )

    @property
    def pointwise(self) -> bool:
        return self.kernel == (1, 1, 1)

    @property
    def spatially_pointwise(self) -> bool:
        """No spatial extent and no groups: each tap is a Linear over channels."""
        return self.kernel[1:] == (1, 1) and self.groups == 1

    @property
    def causal(self) -> bool:
        return self.padding[0] == (self.dilation[0] * (self.kernel[0] - 1), 0) and self.kernel[0] > 1

    @property
    def repeats_frames(self) -> bool:
        """The padding in time shows a frame to several taps of one output, at stride 1."""
        return self.modes[0] == "replicate" and any(self.padding[0]) and self.stride[0] == 1

    @cached_property
    def conv2d_padding(self) -> Pair:
        """The (h, w) padding that Conv2d does by itself: zeros, the same on both sides."""
        return tuple(
            before if mode == "zeros" and before == after and not self.spatially_pointwise else 0
            for (before, after), mode in zip(self.padding[1:], self.modes[1:])
        )

    @cached_property
    def explicit_padding(self) -> tuple[Pair, Pair, Pair]:
        """The rest, to be made before it: (before, after) for t, h, w."""
        spatial = tuple((0, 0) if own else pair for own, pair in zip(self.conv2d_padding, self.padding[1:]))
        return (self.padding[0], *spatial)

    def frames_out(self, frames: int) -> int:
        """How many frames come out for `frames` coming in; raises `Refused` where it is none."""
        span = self.dilation[0] * (self.kernel[0] - 1) + 1
        padded = frames + sum(self.padding[0])
        if padded < span:
            raise Refused("frames after padding", padded, f"at least {span}, the kernel's temporal span")
        return (padded - span) // self.stride[0] + 1

    def __str__(self) -> str:
        def short(values):
            return "×".join(map(str, values))

        parts = [short(self.kernel)]
        if self.stride != (1, 1, 1):
            parts.append(f"stride {short(self.stride)}")
        if any(map(any, self.padding)):
            pads = [str(a) if a == b else f"({a},{b})" for a, b in self.padding]
            modes = self.modes[0] if len(set(self.modes)) == 1 else "/".join(self.modes)
            parts.append(f"pad {short(pads)} {modes}")
        if self.dilation != (1, 1, 1):
            parts.append(f"dilation {short(self.dilation)}")
        if self.groups != 1:
            parts.append(f"groups {self.groups}")
        if self.causal:
            parts.append("causal")
        return ", ".join(parts)
