"""What the decoders for tiles have in common: a clip in steps, what is kept between them, and what is refused
before."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ttvideo.basics.errors import Refused

State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


def split(latent_frames: int, frames_per_step: int | None = None) -> list[int]:
    """Cut a clip into steps: [first, n, n, …], by default of one frame. What doesn't divide goes into the
    first step.

    So a clip of any length needs two programs: one for its first step, one for all others.
    Raises `Refused` for a clip or a step of less than one frame.
    """
    frames_per_step = 1 if frames_per_step is None else frames_per_step
    for what, count in (("latent frames", latent_frames), ("frames_per_step", frames_per_step)):
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise Refused(what, count, "an integer of at least 1")
    steps, rest = divmod(latent_frames, frames_per_step)
    return [rest] * (rest > 0) + [frames_per_step] * steps


@dataclass
class Memory:
    """One clip's step: what the step before left (`old`, None at the start of a clip), and what this one
    leaves.

    `size` is the latents' height and width; at scale 4, frames are 4 times as high and wide. `ends` says that
    the clip does, with this step.
    """

    size: tuple[int, int]
    old: State | None
    new: State = field(default_factory=dict)
    ends: bool = True

    @property
    def starts(self) -> bool:
        return self.old is None

    def next(self) -> "Memory":
        """For what follows in the same step: it finds what this leaves, and leaves what stays in `new`."""
        return Memory(self.size, dict(self.new), self.new, self.ends)

    def at(self, scale: int) -> tuple[int, int]:
        return self.size[0] * scale, self.size[1] * scale


def keys(name: str, size: tuple[int, int], kept: int, packed: int = 1) -> list[str]:
    """Names of a convolution's entries, oldest first, of as many frames each as are `packed`.

    They hold H x W: 60 x 106 and 106 x 60 have the same shape.
    """
    return [f"{name}.{size[0]}x{size[1]}.past{entry * packed}" for entry in range(kept, 0, -1)]


class ClipDecoder(nn.Module):
    """Decodes a clip in steps of any number of latent frames: `(z [B, C, T, H, W], state=None) -> (frames,
    state)`.

    Inside, a clip is a list of frames, and a frame is pixels by channels, [H * W, C]: channels last, no
    dimension under 32 in the last two places. The state is a flat dict of what its modules keep: whatever has
    `state_shapes(size, latents) -> {name: shape without the batch}` for latents of this height and width,
    after so many. A subclass sets `latent_channels` and implements `clip`.

    Where frames wait for latents that follow, `ends=False` says that there are some; a causal decoder needs
    no telling. `steps(latent_frames, frames_per_step=None)` cuts a clip as it can be streamed, `streaming`
    says at what price.
    """

    latent_channels: int
    streaming = "constant state"
    dropped_frames = 0  # at a clip's begin, by its pipeline
    # What of an autoencoder may have been changed since it was built (`ttvideo.decoders.as_built`), and how
    # it may pad.
    follows: tuple[str, ...] = ()
    padding_modes: tuple[str, ...] = ("zeros",)
    steps = staticmethod(split)

    def clip(self, z_cthw: Tensor, memory: Memory, *each: Tensor | None) -> Tensor:
        """A clip's latents -> its video, [3, T', H', W']. `each` is what else belongs to the clip."""
        raise NotImplementedError

    def quantised(self, frames: list[Tensor]) -> list[Tensor]:
        """Latents through `post_quant`, the autoencoder's layer before its decoder, if any."""
        return frames if self.post_quant is None else [self.post_quant(frame) for frame in frames]

    def state_shapes(self, batch: int, height: int, width: int, latents: int | None = None) -> Shapes:
        """The state's names and shapes, for latents of this height and width; after so many, where it depends
        on it."""
        keepers = [
            module for module in self.modules() if module is not self and hasattr(module, "state_shapes")
        ]
        kept = [keeper.state_shapes((height, width), latents) for keeper in keepers]
        return {name: (batch, *shape) for shapes in kept for name, shape in shapes.items()}

    def seen(self, state: State, size: tuple[int, int]) -> int | None:
        """How many latent frames of this size a state has seen, where its shapes depend on it: as the first
        module says that can tell."""
        tell = (module for module in self.modules() if module is not self and hasattr(module, "seen"))
        return next((module.seen(state, size) for module in tell), None)

    def check(self, z_bcthw: Tensor, state: State | None = None, ends: bool = True) -> None:
        """Raise `Refused` for latents or a state of a wrong rank, size or type. Looks at no value."""

        def shapes(batch: int, *size: int) -> Shapes:
            return self.state_shapes(batch, *size, self.seen(state, size))

        check_step(z_bcthw, state, self.latent_channels, next(self.parameters()).dtype, shapes)

    def forward(self, z_bcthw: Tensor, state: State | None = None, ends: bool = True) -> tuple[Tensor, State]:
        """Decode a step; `state` is None at the start of a clip. Raises `Refused` as `check` does."""
        self.check(z_bcthw, state, ends)
        return self.clips(z_bcthw, state, ends)

    def clips(self, z_bcthw: Tensor, state: State | None, ends: bool, *each) -> tuple[Tensor, State]:
        """The clips of a batch, one by one, each with its part of `each`."""
        videos, memories = [], []
        for b, z_cthw in enumerate(z_bcthw):
            old = state and {name: past[b : b + 1] for name, past in state.items()}
            memories.append(Memory(tuple(z_cthw.shape[2:]), old, ends=ends))
            videos.append(self.clip(z_cthw, memories[-1], *(one[b] for one in each)))
        return torch.stack(videos), joined(memories, state)


class ChunkedDecoder(ClipDecoder):
    """A decoder that normalises some frames as one: `first` latent frames where a clip begins, then
    `together` each time.

    So a step is a multiple of those, but for the first, which is longer or shorter by the difference, and for
    the last. A subclass sets both and `scale`, and implements `chunk`.
    """

    first: int
    together: int
    scale: int

    def chunk(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        """Latent frames that are normalised as one, [H * W, C] each -> video frames."""
        raise NotImplementedError

    def steps(self, latent_frames: int, frames_per_step: int | None = None) -> list[int]:
        """Cut a clip: [first, n, n, …, what is left], n by default as many as are normalised together.

        Raises `Refused` for steps that aren't a multiple of those.
        """
        size = self.together if frames_per_step is None else frames_per_step
        split(latent_frames, size)
        if size % self.together:
            need = f"a multiple of {self.together}, what is normalised together"
            raise Refused("frames_per_step", size, need)
        first = min(self.first, latent_frames)
        times, rest = divmod(latent_frames - first, size)
        return [first] + [size] * times + [rest] * (rest > 0)

    def check(self, z_bcthw: Tensor, state: State | None = None, ends: bool = True) -> None:
        super().check(z_bcthw, state, ends)
        extra = z_bcthw.shape[2] - (self.first if state is None else 0)
        if not ends and (extra < 0 or extra % self.together):
            need = (
                f"{self.first} where a clip begins, a multiple of {self.together} more, unless it ends there"
            )
            raise Refused("latent frames of a step", z_bcthw.shape[2], need)

    def clip(self, z_cthw: Tensor, memory: Memory) -> Tensor:
        frames, count = frames_of(z_cthw), self.first if memory.starts else self.together
        video = []
        while frames:
            chunk, frames = frames[:count], frames[count:]
            video += self.chunk(chunk, memory)
            memory, count = memory.next(), self.together
        return video_of(video, memory.at(self.scale))


class WholeClipDecoder(ClipDecoder):
    """A decoder each of whose frames depends on all others, and `why`: a clip is one step, and nothing is
    kept."""

    streaming = "none"
    why = "the norms take the statistics of all its frames"

    @staticmethod
    def steps(latent_frames: int, frames_per_step: int | None = None) -> list[int]:
        """[all of them]. Raises `Refused` for a step of another length."""
        split(latent_frames, frames_per_step)
        if (frames_per_step or latent_frames) < latent_frames:
            raise Refused("frames_per_step", frames_per_step, "all of the clip's")
        return [latent_frames]

    def check(self, z_bcthw: Tensor, state: State | None = None, ends: bool = True) -> None:
        check_whole(state, ends, self.why)
        super().check(z_bcthw, state, ends)

    def state_shapes(self, batch: int, height: int, width: int, latents: int | None = None) -> Shapes:
        return {}


def check_whole(state: State | None, ends: bool, why: str = WholeClipDecoder.why) -> None:
    """Raise `Refused` for a part of a clip."""
    if state is not None or not ends:
        got = "a step of several" if state is None else "a state"
        raise Refused("a clip", got, f"all of it at once: {why}")


def joined(memories: list[Memory], state: State | None) -> State:
    """What the clips of a batch leave. What a step has only passed on goes out as it came in."""
    old, new = memories[0].old or {}, memories[0].new
    return {
        name: state[name] if value is old.get(name) else torch.cat([memory.new[name] for memory in memories])
        for name, value in new.items()
    }


def frames_of(z_cthw: Tensor) -> list[Tensor]:
    """[C, T, H, W] -> T frames [H * W, C]."""
    return [z_chw.flatten(1).t().contiguous() for z_chw in z_cthw.unbind(1)]


def video_of(frames: list[Tensor], size: tuple[int, int]) -> Tensor:
    """T frames [H * W, 3] -> [3, T, H, W]."""
    return torch.stack([frame.t().unflatten(1, size) for frame in frames], 1)


def check_step(
    z_bcthw: Tensor,
    state: State | None,
    channels: int,
    dtype: torch.dtype,
    state_shapes: Callable[[int, int, int], Shapes],
    what: str = "latents",
) -> None:
    """Raise `Refused` for latents, or what else goes in, or a state of a wrong rank, size or type. Looks at
    no value.

    `state_shapes(batch, height, width)` gives the state's names and shapes.
    """
    if z_bcthw.dim() != 5 or z_bcthw.shape[1] != channels or 0 in z_bcthw.shape:
        raise Refused(what, f"shape {tuple(z_bcthw.shape)}", f"[B, {channels}, T, H, W], each at least 1")
    if z_bcthw.dtype != dtype:
        raise Refused(what, z_bcthw.dtype, f"the model's {dtype}")
    if state is None:
        return
    batch, _, _, height, width = z_bcthw.shape
    shapes = state_shapes(batch, height, width)
    if state.keys() != shapes.keys():
        extra, missing = sorted(state.keys() - shapes.keys()), sorted(shapes.keys() - state.keys())
        got = f"{len(state)} tensors, " + (f"among them {extra[0]}" if extra else f"without {missing[0]}")
        raise Refused("state", got, f"the {len(shapes)} of this model for {what} of {height} x {width}")
    for name, shape in shapes.items():
        if tuple(state[name].shape) != shape or state[name].dtype != dtype:
            got = f"{tuple(state[name].shape)} {state[name].dtype}"
            raise Refused(f"state {name}", got, f"{shape} {dtype}")
