"""What a decoder remembers from step to step: for each causal convolution, the last frames of its input."""

from dataclasses import dataclass, field

from torch import Tensor

State = dict[str, Tensor]


@dataclass
class Memory:
    """One clip's step: what the step before left (`old`, None at the start of a clip), and what this one leaves.

    `size` is the latents' height and width; at scale 4, frames are 4 times as high and wide. `ends` says that the clip
    does, with this step.
    """

    size: tuple[int, int]
    old: State | None
    new: State = field(default_factory=dict)
    ends: bool = True

    @property
    def starts(self) -> bool:
        return self.old is None

    def next(self) -> "Memory":
        """For what follows in the same step: it finds what this one leaves, and leaves what stays in `new`."""
        return Memory(self.size, dict(self.new), self.new, self.ends)

    def at(self, scale: int) -> tuple[int, int]:
        return self.size[0] * scale, self.size[1] * scale


def keys(name: str, size: tuple[int, int], kept: int) -> list[str]:
    """Names of a convolution's entries, oldest first. They hold H x W: 60 x 106 and 106 x 60 have the same shape."""
    return [f"{name}.{size[0]}x{size[1]}.past{age}" for age in range(kept, 0, -1)]
