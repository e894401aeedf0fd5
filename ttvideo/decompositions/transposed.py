"""Transposed: a ConvTranspose3d as one ConvTranspose2d for each phase of its temporal stride.

Output frame q*s + r takes from input frame q + a with tap i just where i*d = r + p - a*s, so each tap belongs
to one phase r alone. The taps of a phase are stacked along channels, as in `ttvideo.decompositions.stacked`,
and the phases' frames interleaved. The plugin's compiler refuses a strided ConvTranspose3d and takes
ConvTranspose2d.
"""

from copy import copy

import torch
import torch.nn.functional as F
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.decompositions.decomposition import Decomposition, parameter
from ttvideo.decompositions.form import Form
from ttvideo.decompositions.padding import pad
from ttvideo.decompositions.stacked import beside


def phases(form: Form) -> list[list[tuple[int, int]]]:
    """For each phase of the temporal stride, its (tap, input frame of the first output frame)."""
    s, d, p = form.stride[0], form.dilation[0], form.padding[0][0]
    return [
        [(i, (r + p - i * d) // s) for i in range(form.kernel[0]) if (r + p - i * d) % s == 0]
        for r in range(s)
    ]


def split(weight: torch.Tensor, form: Form) -> list[torch.Tensor]:
    """[I, O/groups, kt, kh, kw] -> for each phase [taps*I, O/groups, kh, kw], a group's taps together.

    A phase that no tap reaches gets one of zeros: its frames are the bias.
    """
    by_group = weight.unflatten(0, (form.groups, -1))
    nothing = torch.zeros_like(by_group[:, :, :, 0])
    pieces = [[by_group[:, :, :, tap] for tap, _ in phase] or [nothing] for phase in phases(form)]
    return [torch.cat(piece, 1).flatten(0, 1) for piece in pieces]


class Transposed(Decomposition):
    """[B, I, T, H, W] -> [B, O, T', H', W'], T' = (T - 1)*s - 2p + d*(kt - 1) + output padding + 1."""

    name = "transposed"

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, form: Form, output_padding=(0, 0, 0)):
        super().__init__(form)
        self.output_padding = output_padding
        self.weights = nn.ParameterList(parameter(piece) for piece in split(weight, form))
        self.bias = None if bias is None else parameter(bias)

    @classmethod
    def of(cls, conv: nn.ConvTranspose3d) -> "Transposed":
        padding = tuple((p, p) for p in conv.padding)
        form = Form(conv.kernel_size, conv.stride, padding, dilation=conv.dilation, groups=conv.groups)
        return cls(conv.weight, conv.bias, form, conv.output_padding)

    def kernel(self) -> torch.Tensor:
        taps = {}
        for phase, weight in zip(phases(self.form), self.weights, strict=True):
            pieces = weight.unflatten(0, (self.form.groups, -1)).chunk(max(1, len(phase)), 1)
            taps |= {tap: piece.flatten(0, 1) for (tap, _), piece in zip(phase, pieces)}
        return torch.stack([taps[tap] for tap in sorted(taps)], 2)

    def forward(self, x: torch.Tensor, output_size=None) -> torch.Tensor:
        """`output_size` is as a ConvTranspose3d takes it: of the sizes that a stride allows, which one."""
        if output_size is None:
            return super().forward(x)
        form, sized = self.form, copy(self)
        padding = [before for before, _ in form.padding]
        sized.output_padding = nn.ConvTranspose3d._output_padding(
            self, x, list(output_size), form.stride, padding, form.kernel, 3, form.dilation
        )
        return Decomposition.forward(sized, x)

    def frames_out(self, frames: int) -> int:
        form = self.form
        span = form.dilation[0] * (form.kernel[0] - 1) + 1 + self.output_padding[0]
        count = (frames - 1) * form.stride[0] - 2 * form.padding[0][0] + span
        if count < 1:
            raise Refused("frames out of a transposed convolution", count, "at least 1")
        return count

    def frames(self, x, count):
        batch, frames, stride = x.shape[0], x.shape[2], self.form.stride[0]
        each = -(-count // stride)
        x = x.permute(2, 0, 3, 4, 1).flatten(0, 1)
        done = []
        for phase, weight in zip(phases(self.form), self.weights, strict=True):
            firsts = [first for _, first in phase] or [0]
            before, after = max(0, -min(firsts)), max(0, max(firsts) + each - frames)
            padded = pad(x, 0, before, after, "zeros", block=batch)
            taps = [padded.narrow(0, (first + before) * batch, each * batch) for first in firsts]
            done.append(self.conv(beside(taps, self.form.groups), weight).unflatten(0, (each, batch)))
        return torch.stack(done, 1).flatten(0, 1)[:count].flatten(0, 1)

    def conv(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        form = self.form
        x = F.conv_transpose2d(
            x.permute(0, 3, 1, 2),
            weight,
            self.bias,
            form.stride[1:],
            [before for before, _ in form.padding[1:]],
            self.output_padding[1:],
            form.groups,
            form.dilation[1:],
        )
        return x.permute(0, 2, 3, 1)
