"""Convolutions that look ahead as far as they look back, on frames [N, C], and what waits for them: exact,
but later.

Such a convolution can't give its last output before the next frame is there, or the clip's end. So from step
to step each keeps the frames that it has yet to use, and its shortcut waits. Before and after a clip stand
its first and its last frame again. While a clip begins, deeper layers have seen fewer frames, with fewer
entries in the state: their names say where a clip stands, so a program knows it without looking at a value.
"""

from dataclasses import dataclass, replace

from torch import Tensor, nn

from ttvideo.basics.errors import Refused
from ttvideo.decoders.causal import FIRST, CausalConv, as_kept
from ttvideo.decoders.clip_decoder import Memory, keys


@dataclass(frozen=True)
class Place:
    """Where in a decoder frames are: `scale` times as high and wide as latents, and of n latents, while more
    follow, `rate` * n - `lag` frames have come. `ahead` is how far its convolutions look ahead."""

    ahead: int
    scale: int = 1
    rate: int = 1
    lag: int = 0

    def seen(self, latents: int) -> int:
        return max(0, self.rate * latents - self.lag)

    def after(self, convs: int) -> "Place":
        return replace(self, lag=self.lag + convs * self.ahead)

    def upsampled(self, by: int, times: int) -> "Place":
        """`times` the frames, but one for the first."""
        return Place(self.ahead, self.scale * by, self.rate * times, self.lag * times + times - 1)


class CentredConv(CausalConv):
    """A 3D convolution of stride 1 and three taps in time: a list of frames [N, C] -> as many [N, O], one
    frame late.

    A clip's first step gives one fewer, its last one more. Raises `Refused` for other taps.
    """

    def __init__(self, name: str, place: Place, weight: Tensor, bias: Tensor | None, padding: str = "zeros"):
        super().__init__(name, place.scale, weight, bias, FIRST, padding)
        self.place = place
        if self.kept != 2 or place.ahead != 1:
            raise Refused(
                f"convolution {name}", f"{self.kept + 1} taps, {place.ahead} ahead", "3 taps, 1 ahead"
            )

    def state_shapes(
        self, size: tuple[int, int], latents: int | None = None
    ) -> dict[str, tuple[int, int, int]]:
        """With `latents`, what there is after so many."""
        return newest(super().state_shapes(size), self.kept if latents is None else self.place.seen(latents))

    def forward(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        names = keys(self.name, memory.at(self.scale), self.kept)
        seen = [*recalled(names, memory), *frames]
        before = seen[:1] if self.begins(memory) else []
        if memory.ends:
            seen.append(seen[-1])
        else:
            keep(names, seen, memory)
        seen = [*before, *seen]
        return [self.output(seen[t : t + 3], memory.at(self.scale)) for t in range(len(seen) - 2)]


class DelayedShortcut(nn.Module):
    """Frames that wait for what up to `most` convolutions make of them."""

    def __init__(self, name: str, place: Place, channels: int, convs: int):
        super().__init__()
        self.name, self.place, self.channels, self.most = (
            f"{name}.shortcut",
            place,
            channels,
            convs * place.ahead,
        )

    def state_shapes(
        self, size: tuple[int, int], latents: int | None = None
    ) -> dict[str, tuple[int, int, int]]:
        at = size[0] * self.place.scale, size[1] * self.place.scale
        shapes = dict.fromkeys(keys(self.name, at, self.most), (1, at[0] * at[1], self.channels))
        return newest(shapes, self.most if latents is None else self.place.seen(latents))

    def forward(self, frames: list[Tensor], count: int, memory: Memory) -> list[Tensor]:
        """[N, C] each -> the oldest `count` of those that haven't gone yet."""
        names = keys(self.name, memory.at(self.place.scale), self.most)
        waiting = [*recalled(names, memory), *frames]
        keep(names, waiting[count:], memory)
        return [frame.flatten(0, -2) for frame in waiting[:count]]


def recalled(names: list[str], memory: Memory) -> list[Tensor]:
    return [memory.old[name] for name in names if name in memory.old] if memory.old else []


def keep(names: list[str], frames: list[Tensor], memory: Memory) -> None:
    """The newest frames under the last of the names, of which there may be more than frames."""
    count = min(len(names), len(frames))
    memory.new |= zip(names[len(names) - count :], map(as_kept, frames[len(frames) - count :]))


def newest(shapes: dict, count: int) -> dict:
    return dict(list(shapes.items())[max(0, len(shapes) - count) :])
