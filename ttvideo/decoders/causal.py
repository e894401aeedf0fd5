"""Causal convolutions on frames [N, C], N = H * W: a Conv2d for each frame that is read, added up.

A frame is read by each of the kt outputs that it belongs to, and kept for those of the next step. Before a
clip stand zeros (Wan), which need no arithmetic, or its first frame again (CogVideoX, HunyuanVideo, LTX,
Mochi). Space is padded with zeros, by Conv2d itself; reflected (LTX-2), by a gather of rows; or with the
frame's edges again (HunyuanVideo, Mochi), once for all outputs that read the frame, and kept so.

Hazards, in the order met: ttnn.conv3d compiles and can't run here; a 3x3 kernel in the last two dimensions is
stored as 32x32, 113 times the bytes, so weights are reordered before they reach the graph; padding and
stacking whole clips copies them. Where the start of a clip repeats, the compiler applies a Conv2d to the same
frame only once. Upstream: tt-xla#1662 and tt-mlir#5397 (Conv3d), tt-metal#15103 (an early decomposition, PCC
0.98).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused
from ttvideo.decoders.clip_decoder import Memory, keys
from ttvideo.decoders.packed import packed_weight
from ttvideo.decoders.rows import keep_row_major, nearest, reflected

ZEROS, FIRST = "zeros", "first frame"
REFLECT, EDGES = "reflect", "replicate"


class FrameConv(nn.Module):
    """A Conv2d on one frame: [H * W, C] -> [1, 1, H * W, O], as TT-NN has it, so that sums of several need no
    reshape each.

    Without spatial extent it is a Linear, of [H * W, O]. `padding` is ZEROS or REFLECT; with EDGES the frame
    comes with them: [(H + kh - 1) * (W + kw - 1), C].
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, padding: str = ZEROS):
        super().__init__()
        *_, kh, kw = weight.shape
        if padding not in (ZEROS, REFLECT, EDGES):
            raise Refused("padding", padding, f"{ZEROS}, {REFLECT} or {EDGES}")
        if kh % 2 == 0 or kw % 2 == 0:
            raise Refused("kernel", f"{kh} x {kw}", "odd sizes")
        around = kh // 2, kw // 2
        self.pointwise, self.reflects = (kh, kw) == (1, 1), padding == REFLECT
        self.padding, self.wider = (around, (0, 0)) if padding == ZEROS else ((0, 0), around)
        weight = weight.detach().flatten(1) if self.pointwise else weight.detach()
        self.weight = nn.Parameter(weight.clone(memory_format=torch.contiguous_format), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)

    def forward(self, x_nc: Tensor, size: tuple[int, int]) -> Tensor:
        """Also takes [1, 1, H * W, C], as it comes from the host: what is of rank 4 there need not be
        reshaped."""
        if self.pointwise:
            return F.linear(x_nc.flatten(0, -2), self.weight, self.bias)
        if self.reflects:
            x_nc = keep_row_major(reflected(x_nc.flatten(0, -2), size, *self.wider)[None, None])
        wide = size[0] + 2 * self.wider[0], size[1] + 2 * self.wider[1]
        x_nchw = x_nc.reshape(1, *wide, -1).permute(0, 3, 1, 2)
        out = F.conv2d(x_nchw, self.weight, self.bias, padding=self.padding).permute(0, 2, 3, 1)
        return out.reshape(1, 1, size[0] * size[1], -1)


class CausalConv(nn.Module):
    """A 3D convolution of stride 1 that looks back: a list of frames [N, C] -> as many [N, O].

    `weight` is [O, C, kt, kh, kw]; `before` says what stands before a clip, ZEROS or FIRST; `scale` is how
    many times the latents' height and width its frames have; `padding` is space's. Of `packed` frames, [N,
    packed * C], see `ttvideo.decoders.packed`. What it keeps are the last kt - 1 frames, [1, 1, N, packed *
    C] each; with EDGES N counts them. Raises `Refused` where packed frames can't hold kt - 1.

    Hazard: ttnn.conv2d takes [1, 1, N, C] in rows, as which a state comes from the host. Were it kept as [N,
    C], the program would make tiles of it for the reshape, and rows again: 4 passes over each.
    """

    def __init__(
        self, name: str, scale: int, weight: Tensor, bias: Tensor | None, before: str = ZEROS,
        padding: str = ZEROS, packed: int = 1,
    ):  # fmt: skip
        super().__init__()
        frames = weight.shape[2] - 1
        self.kept, rest = divmod(frames, packed)
        if rest:
            raise Refused("packed frames", packed, f"a divisor of {frames}, the frames that are kept")
        self.name, self.scale, self.before, self.packed = name, scale, before, packed
        self.channels = packed * weight.shape[1]
        self.edges = (weight.shape[3] // 2, weight.shape[4] // 2) if padding == EDGES else (0, 0)
        pieces = packed_weight(weight.detach(), packed).chunk(self.kept + 1, dim=1)
        bias = None if bias is None else bias.detach().repeat(packed)
        # Hazard: where a clip begins, all taps read one frame, and the compiler makes one product of linear
        # layers that do; one with a bias among them without, it fails to (`ttir.concat`). So there the bias
        # is added last.
        last = before == FIRST and tuple(weight.shape[3:]) == (1, 1) and self.kept > 0
        self.bias = nn.Parameter(bias, requires_grad=False) if last and bias is not None else None
        biases = [None] * self.kept + [None if last else bias]
        self.taps = nn.ModuleList(FrameConv(piece, bias, padding) for piece, bias in zip(pieces, biases))

    def keys(self, size: tuple[int, int]) -> list[str]:
        """The names of what it keeps of frames of this size, oldest first."""
        return keys(self.name, size, self.kept, self.packed)

    def state_shapes(self, size: tuple[int, int], latents: int | None = None) -> dict[str, tuple[int, ...]]:
        """Name and shape, without the batch, of each entry for latents of this size, however many."""
        at = size[0] * self.scale, size[1] * self.scale
        pixels = (at[0] + 2 * self.edges[0]) * (at[1] + 2 * self.edges[1])
        return dict.fromkeys(self.keys(at), (1, pixels, self.channels))

    def forward(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        windows = self.windows([self.surrounded(frame, memory) for frame in frames], memory)
        return [self.output(window, memory.at(self.scale)) for window in windows]

    def surrounded(self, x_nc: Tensor, memory: Memory, by: int = 1) -> Tensor:
        """The frame with its edges, [1, 1, N, C], or as it is; `by` times as high and wide, in the same
        gather."""
        if self.edges == (0, 0) and by == 1:
            return x_nc
        height, width = memory.at(self.scale)
        return keep_row_major(nearest(x_nc, (height // by, width // by), by, self.edges)[None, None])

    def windows(self, frames: list[Tensor], memory: Memory) -> list[list[Tensor | None]]:
        """What each output reads, oldest first, of frames as `surrounded` gives them; the last are kept."""
        names = self.keys(memory.at(self.scale))
        if memory.starts:
            past = [self.repeated(frames[0]) if self.before == FIRST else None] * self.kept
        else:
            past = [memory.old[name] for name in names]
        seen = [*past, *frames]
        last = seen[len(seen) - self.kept :]
        memory.new |= zip(names, [as_kept(torch.zeros_like(frames[0]) if f is None else f) for f in last])
        return [seen[t : t + self.kept + 1] for t in range(len(frames))]

    def repeated(self, first: Tensor) -> Tensor:
        """What stands before a clip: its first frame, in the place of each that is packed."""
        if self.packed == 1:
            return first
        channel = torch.arange(self.channels // self.packed, dtype=torch.int32, device=first.device)
        # Not a slice: a gather takes and gives row-major rows, a slice would have them in tiles.
        return keep_row_major(first.index_select(-1, channel.repeat(self.packed)))

    def begins(self, memory: Memory) -> bool:
        """Whether no step before has given an output: then not all is there that it keeps."""
        return not memory.old or self.keys(memory.at(self.scale))[0] not in memory.old

    def nothing_seen(self, like: Tensor, memory: Memory) -> dict[str, Tensor]:
        """The state of a clip whose frames so far were none of this convolution's."""
        return dict.fromkeys(self.keys(memory.at(self.scale)), as_kept(torch.zeros_like(like)))

    def output(self, inputs: list[Tensor | None], size: tuple[int, int]) -> Tensor:
        """One output frame; None stands for a frame of zeros."""
        parts = [tap(x, size) for tap, x in zip(self.taps, inputs, strict=True) if x is not None]
        total = sum(parts[1:], parts[0]).flatten(0, -2)
        return total if self.bias is None else total + self.bias


def check_conv(
    name: str, conv: nn.Module, padding: tuple[int, ...], modes: tuple[str, ...] = (ZEROS,)
) -> None:
    """Raise `Refused` for a convolution with a stride, dilation or groups, or padded by itself otherwise."""
    ones = (1,) * len(conv.kernel_size)
    for setting, need in (("stride", ones), ("dilation", ones), ("groups", 1), ("padding", padding)):
        if (got := getattr(conv, setting)) != need:
            raise Refused(f"convolution {name}", f"{setting} {got}", f"{setting} {need}")
    if conv.padding_mode not in modes:
        raise Refused(f"convolution {name}", f"padding_mode {conv.padding_mode}", " or ".join(modes))


def as_kept(x: Tensor) -> Tensor:
    """[N, C], or what is kept already -> [1, 1, N, C]."""
    return x.reshape(1, 1, *x.shape[-2:])
