"""What is run on the simulated chip: programs in little, and what each should give."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.decoders.causal_conv import CausalConv
from lib.decoders.group_norm import group_norm_silu
from lib.decoders.mochi import Rewrites
from lib.decoders.pixel_shuffle import PixelShuffle
from lib.probing.probe import probe_each
from lib.probing.trace import arguments_by_name, weights_by_name
from lib.programs.program import Program
from lib.ttnn import handmade
from lib.ways.decompose import decompose

COMPILED_FOR = "p150-compile"
FRAMES, HEIGHT, WIDTH, CHANNELS = 2, 4, 4, 32
PIXELS = 64  # of the frame that is normalised
POINTWISE, TAPS, SHUFFLE, NORM = "1×1×1", "3×3×3", "pixel shuffle", "GroupNorm, SiLU"


@dataclass(frozen=True)
class Case:
    """One program in bf16, its arguments by name, and its result in float64 on the same bf16 weights and input."""

    group: str
    name: str
    program: Program
    arguments: dict[str, Tensor]
    expected: Tensor

    @property
    def title(self) -> str:
        return f"{self.group}, {self.name}"


class Frames(nn.Module):
    """A Conv2d, on frames with channels last."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.conv = conv

    def forward(self, x_thwc: Tensor) -> Tensor:
        return self.conv(x_thwc.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Clip(nn.Module):
    """A Conv3d, on a clip with channels last."""

    def __init__(self, conv: nn.Conv3d):
        super().__init__()
        self.conv = conv

    def forward(self, x_ndhwc: Tensor) -> Tensor:
        return self.conv(x_ndhwc.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)


class Stacked(nn.Module):
    """The stacked way, given what each tap meets side by side, kt * C channels; or, with `taps`, the frames."""

    def __init__(self, way: nn.Module, taps=None):
        super().__init__()
        self.conv, self.taps = way.conv, taps

    def forward(self, x_thwc: Tensor) -> Tensor:
        return self.conv(torch.cat(self.taps(x_thwc), -1) if self.taps else x_thwc)


class Summed(nn.Module):
    """The sum over taps, given what each tap meets; or, with `taps`, the frames."""

    def __init__(self, way: nn.Module, taps=None):
        super().__init__()
        self.convs, self.taps = way.taps, taps

    def forward(self, *frames: Tensor) -> Tensor:
        frames = self.taps(*frames) if self.taps else frames
        first, *rest = (conv(x) for conv, x in zip(self.convs, frames, strict=True))
        return sum(rest, first)


def three_taps(x_thwc: Tensor) -> list[Tensor]:
    """What the temporal taps of a 3×3×3, padded with zeros, meet."""
    zero = torch.zeros_like(x_thwc[:1])
    padded = torch.cat([zero, x_thwc, zero])
    return [padded[i : i + len(x_thwc)] for i in range(3)]


class CausalFrames(nn.Module):
    """A causal Conv3d as the decoder for tiles has it, replicate padding included: [T, H * W, C] in and out.

    With pairs, a tensor holds two frames side by side: [T / 2, H * W, 2 C].
    """

    def __init__(self, conv: nn.Conv3d, abreast: int = 1):
        super().__init__()
        self.conv = CausalConv(conv, Rewrites(), abreast)

    def forward(self, x_tnc: Tensor) -> Tensor:
        return torch.stack(self.conv(list(x_tnc.unbind()), (HEIGHT, WIDTH), None)[0])


class Shuffle(nn.Module):
    def __init__(self, rewritten: bool):
        super().__init__()
        projection = nn.Linear(CHANNELS, 4 * CHANNELS)
        self.shuffle = PixelShuffle(projection, (1, 2, 2), Rewrites(pixel_shuffle=rewritten))

    def forward(self, x_nc: Tensor) -> Tensor:
        return self.shuffle([x_nc], (HEIGHT, WIDTH))[0][0]


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.GroupNorm(8, CHANNELS)
        self.norm.weight.data += 0.5 * torch.randn(CHANNELS)
        self.norm.bias.data += 0.5 * torch.randn(CHANNELS)

    def forward(self, x_nc: Tensor) -> Tensor:
        return group_norm_silu(x_nc, self.norm)


@torch.no_grad()
def cases(only: Callable[[str], bool] = lambda name: True) -> list[Case]:
    """All cases, or those whose title `only` accepts; seeded. The compiled ones are compiled here, in one process."""
    torch.manual_seed(0)
    point, conv = (nn.Conv3d(CHANNELS, CHANNELS, k, padding=k // 2).bfloat16() for k in (1, 3))
    conv2d = nn.Conv2d(CHANNELS, CHANNELS, 1).bfloat16()
    conv2d.weight.copy_(point.weight[:, :, 0]), conv2d.bias.copy_(point.bias)
    clip = torch.randn(FRAMES, HEIGHT, WIDTH, CHANNELS).bfloat16()
    taps, frames = three_taps(clip), clip.flatten(1, 2)
    rows = torch.randn(HEIGHT * WIDTH, CHANNELS).bfloat16()
    stacked, summed = decompose(conv, "stacked")[0], decompose(conv, "sum")[0]
    modules = {
        (POINTWISE, "linear"): (decompose(point)[0].linear, (clip,)),
        (POINTWISE, "conv2d"): (Frames(conv2d), (clip,)),
        (TAPS, "stacked"): (Stacked(stacked, three_taps), (clip,)),
        (TAPS, "stacked, taps from the host"): (Stacked(stacked), (torch.cat(taps, -1),)),
        (TAPS, "sum"): (Summed(summed, three_taps), (clip,)),
        (TAPS, "sum, taps from the host"): (Summed(summed), tuple(taps)),
        (TAPS, "for tiles, with its padding"): (CausalFrames(conv), (frames,)),
        (TAPS, "for tiles, a pair of frames"): (CausalFrames(conv, FRAMES), (torch.cat(list(frames), -1)[None],)),
        (SHUFFLE, "for tiles"): (Shuffle(True).bfloat16(), (rows,)),
        (SHUFFLE, "as a permute"): (Shuffle(False).bfloat16(), (rows,)),
        (NORM, "for tiles"): (Norm().bfloat16(), (torch.randn(PIXELS, CHANNELS).bfloat16() + 1,)),
    }
    wanted = {key: value for key, value in modules.items() if only(", ".join(key))}
    verdicts = probe_each({", ".join(key): value for key, value in wanted.items()}, COMPILED_FOR)
    found = [
        Case(
            *key,
            verdicts[", ".join(key)].program,
            weights_by_name(module) | arguments_by_name(inputs, "input"),
            exact(module, inputs),
        )
        for key, (module, inputs) in wanted.items()
    ]
    for group, module, blocks in ((POINTWISE, point, [(1, 4, 4)]), (TAPS, conv, [(2, 4, 4), (1, 4, 4), (1, 1, 1)])):
        for block in blocks:
            name = f"conv3d in blocks of {'×'.join(map(str, block))}"
            if only(f"{group}, {name}"):
                expected = exact(Clip(module), (clip[None],))
                found.append(Case(group, name, *handmade.conv3d(module, clip[None], block), expected))
    return sorted(found, key=lambda case: (POINTWISE, TAPS, SHUFFLE, NORM).index(case.group))


def exact(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    result = module.double()(*(x.double() for x in inputs))
    module.bfloat16()  # nothing is lost: its weights were bf16 before
    return result
