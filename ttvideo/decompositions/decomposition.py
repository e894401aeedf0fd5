"""What all exact ways share: the layout, the padding, and one convolution over frames.

A clip becomes a stack of channels-last frames, [T*B, H, W, C] with time slowest. Then a temporal tap is
a run of whole frames for any batch, no small dimension stands last (tile layout pads the last two to 32),
and Conv2d, which works on channels-last data on the chip and on the host, is reached by a mere view.
"""

import torch
import torch.nn.functional as F
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.decompositions.form import Form
from ttvideo.decompositions.padding import pad


class FrameConv(nn.Module):
    """A Conv2d over frames, channels last: [N, H, W, C] -> [N, H', W', O].

    `weight` is [O, C/groups, kh, kw]. Without spatial extent it is held as [O, C] and is a Linear.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, form: Form):
        super().__init__()
        self.form = form
        weight = weight.flatten(1) if form.spatially_pointwise else weight
        self.weight = parameter(weight)
        self.bias = None if bias is None else parameter(bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        form, (_, h, w) = self.form, self.form.stride
        if form.spatially_pointwise:
            x = x if (h, w) == (1, 1) else x[:, ::h, ::w]
            # On rank 4 the compiler may repeat the bias to the size of the output, and keep it.
            return F.linear(x.flatten(0, 2), self.weight, self.bias).unflatten(0, x.shape[:3])
        x = F.conv2d(
            x.permute(0, 3, 1, 2),
            self.weight,
            self.bias,
            (h, w),
            form.conv2d_padding,
            form.dilation[1:],
            form.groups,
        )
        return x.permute(0, 2, 3, 1)

    def kernel(self) -> torch.Tensor:
        """The weight as it came, [O, C/groups, kh, kw]."""
        return self.weight if self.weight.dim() == 4 else self.weight[..., None, None]


class Decomposition(nn.Module):
    """A Conv3d done otherwise: [B, C, T, H, W] -> [B, O, T', H', W'], an unbatched [C, T, H, W] as well.

    A subclass takes (weight [O, C/groups, kt, kh, kw], bias [O] or None, form), converts the weight once,
    and implements `frames`. `why_not(form)` is the reason that a form can't go this way, else None.

    It stands in for the Conv3d: `bias`, and `weight` [O, C/groups, kt, kh, kw], put together again by
    `kernel()` for those who read its type, device or values; what is written into that is lost, and to set it
    is an error.
    """

    name: str

    def __init__(self, form: Form):
        super().__init__()
        reason = self.why_not(form)
        if reason:
            raise Refused(f"decomposition '{self.name}'", str(form), reason)
        self.form = form

    @classmethod
    def why_not(cls, form: Form) -> str | None:
        return None

    def __getattr__(self, name: str):
        if name == "weight" and hasattr(type(self), "kernel"):
            return self.kernel()
        convs = (part for part in self.modules() if isinstance(part, FrameConv))
        if name == "bias" and (conv := next(convs, None)) is not None:
            return conv.bias
        return super().__getattr__(name)

    def frames(self, x: torch.Tensor, count: int) -> torch.Tensor:
        """[B, C, T, H, W] -> the `count` frames that come out, channels last: [count*B, H', W', O]."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() == 4:
            return self(x[None])[0]
        if x.dim() != 5:
            raise Refused(
                f"decomposition '{self.name}'",
                f"an input of rank {x.dim()}",
                "[B, C, T, H, W] or [C, T, H, W]",
            )
        count = self.frames_out(x.shape[2])
        return self.frames(x, count).unflatten(0, (count, x.shape[0])).permute(1, 4, 0, 2, 3)

    def frames_out(self, frames: int) -> int:
        return self.form.frames_out(frames)

    def taps_of(self, x: torch.Tensor, count: int) -> list[torch.Tensor]:
        """What each of the kt temporal taps meets: [B, C, T, H, W] -> kt times [count*B, H, W, C], padded."""
        batch, (kt, _, _), step, gap = (
            x.shape[0],
            self.form.kernel,
            self.form.stride[0],
            self.form.dilation[0],
        )
        # Space before time: there are fewer frames then.
        x = pad(self.padded_in_space(x), 0, *self.form.padding[0], self.form.modes[0], block=batch)
        if step == 1:
            return [x.narrow(0, i * gap * batch, count * batch) for i in range(kt)]
        x = x.unflatten(0, (-1, batch))
        return [x[i * gap :: step][:count].flatten(0, 1) for i in range(kt)]

    def padded_in_space(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, T, H, W] -> [T*B, H, W, C]."""
        (_, height, width), modes = self.form.explicit_padding, self.form.modes
        x = pad(x.permute(2, 0, 3, 4, 1).flatten(0, 1), 2, *width, modes[2])
        return pad(x, 1, *height, modes[1])

    def extra_repr(self) -> str:
        return str(self.form)


def parameter(value: torch.Tensor) -> nn.Parameter:
    """A dense copy: a view would drag the whole 3D kernel into the graph and the checkpoint.

    A Conv2d's weight is laid out channels last, like its input, or the host reorders it at every call (a
    third of the time of a 768-channel one); the chip's graph sees shapes only.
    """
    layout = torch.channels_last if value.dim() == 4 else torch.contiguous_format
    return nn.Parameter(value.detach().clone(memory_format=layout))
