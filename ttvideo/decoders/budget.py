"""What decoding takes on the host: memory, from a step's largest tensors, and arithmetic; asked before it
starts.

At 480 x 848 a latent frame is minutes on a few cores, and the state between two of them gigabytes in float64.
So what is decoded on the host by default follows from the size, and what memory can't hold is refused with
the figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import psutil
import torch
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.decoders.clip_decoder import split
from ttvideo.decoders.host import BLOCK_BYTES
from ttvideo.decoders.mochi_layout import Resnet, mochi_layout
from ttvideo.media.latents import pixels_of

# Arithmetic that the host does without being asked: a latent frame at 480 x 848, and float64 where it is a
# third of that.
HOST_FLOPS, FLOAT64_FLOPS, CROP_FLOPS = 4e13, 1.3e13, 1e11
SPARE = 0.5e9  # what else it takes: buffers of the libraries, pages not yet given back
COMPILER = 1.2e9  # Tenstorrent's libraries, with a program, in a process of their own
TYPES = (torch.float64, torch.float32, torch.bfloat16)
NARROWER = {dtype: TYPES[i:] for i, dtype in enumerate(TYPES)}


@dataclass(frozen=True)
class Stage:
    """A residual block: `frames` frames a latent frame, of `pixels` x `channels`, and two convolutions."""

    frames: int
    pixels: int
    padded: int
    channels: int

    @property
    def flops(self) -> float:
        return 2 * self.frames * 2 * 27 * self.pixels * self.channels**2

    @property
    def state(self) -> int:
        """Elements that the convolutions keep: two frames each."""
        return 2 * 2 * self.padded * self.channels


def stages(decoder: nn.Module, height: int, width: int) -> list[Stage]:
    """The residual blocks of a `MochiDecoder3D`, for latents of `height` x `width`."""
    resnets = [part for part in mochi_layout(decoder) if isinstance(part, Resnet)]
    sizes = [(height * part.scale, width * part.scale) for part in resnets]
    return [
        Stage(part.frames, h * w, (h + 2) * (w + 2), part.channels)
        for part, (h, w) in zip(resnets, sizes, strict=True)
    ]


def flops(decoder: nn.Module, height: int, width: int) -> float:
    """Floating-point operations of one latent frame, convolutions alone: nearly all."""
    return sum(stage.flops for stage in stages(decoder, height, width))


def host_bytes(decoder: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> int:
    """Peak memory of `HostDecoder` on latents of `shape` [B, C, T, H, W], a latent frame a step, its weights
    included.

    In the largest stage: its frames, the windows of a residual block's two convolutions, three frames on
    their way.
    """
    batch, _, latent_frames, height, width = shape
    parts = stages(decoder, height, width)
    working = max((s.frames * s.pixels + 6 * s.padded + 3 * s.pixels) * s.channels for s in parts)
    state = sum(s.state for s in parts) * batch if latent_frames > 1 else 0
    weights = sum(w.numel() for w in decoder.parameters())
    return int(dtype.itemsize * (weights + working + state) + 3 * BLOCK_BYTES + SPARE)


def evaluated_bytes(decoder: nn.Module, shape: tuple[int, ...], longest_step: int = 1) -> int:
    """Peak memory of evaluating the steps of a `TileDecoder` in bf16, from the same.

    Weights and state as stored, the state twice (the step before's and this one's); a stage's frames before
    and after a block, and padded; two pairs of frames and a convolution's weights in float32, as arithmetic
    sees them. The target's process beside it has the weights too.
    """
    _, _, latent_frames, height, width = shape
    step = min(longest_step, latent_frames)
    parts = stages(decoder, height, width)
    working = max((3 * step * s.frames * s.padded) * s.channels for s in parts)
    wide = max(8 * s.padded * s.channels for s in parts)
    state = sum(s.state for s in parts) * (2 if latent_frames > step else 1)
    weights = sum(w.numel() for w in decoder.parameters())
    return int(2 * (3 * weights + working + state) + 4 * wide + SPARE + COMPILER)


@dataclass(frozen=True)
class Plan:
    """What the host does of a clip, cut into `steps`: the first `host_frames` latent frames decoded,
    `evaluated_frames`, the first `evaluated_steps`, evaluated.

    `dtype` is the reference's. `crop` [T, H, W] is what is small enough to be decoded by everything, in
    float64.
    """

    steps: tuple[int, ...]
    host_frames: int
    evaluated_frames: int
    dtype: torch.dtype
    crop: tuple[int, int, int]
    size: tuple[int, int]
    host_bytes: int
    evaluated_bytes: int
    flops: float

    @property
    def latent_frames(self) -> int:
        return sum(self.steps)

    @property
    def everything(self) -> bool:
        return self.host_frames == self.evaluated_frames == self.latent_frames

    @property
    def evaluated_steps(self) -> int:
        return sum(end <= self.evaluated_frames for end in accumulate(self.steps))

    def __str__(self) -> str:
        height, width = self.size
        lines = [
            f"host: {self.host_frames} of {self.latent_frames} latent frames at {height}×{width} in "
            f"{name_of(self.dtype)}, {self.host_frames * self.flops / 1e12:.2g} TFLOP, up to "
            f"{gb(self.host_bytes)} more memory"
        ]
        if self.evaluated_frames:
            lines += [
                f"evaluated: {self.evaluated_frames} of {self.latent_frames}, up to "
                f"{gb(self.evaluated_bytes)} more memory"
            ]
        if min(self.host_frames, self.evaluated_frames or self.latent_frames) < self.latent_frames:
            lines += ["the rest is left out; host_frames and evaluated_frames ask for more"]
        return "\n".join(lines)


def plan(
    decoder: nn.Module,
    shape: tuple[int, ...],
    host_frames: int = 0,
    evaluated_frames: int = 0,
    steps: Sequence[int] | None = None,
    evaluates: bool = True,
    dtype: torch.dtype | None = None,
    host: str = "cpu",
    available: int | None = None,
) -> Plan:
    """What the host decodes and evaluates of latents of `shape` [B, 12, T, H, W], cut into `steps`, by
    default of one latent frame; 0 frames: as many as the size suggests.

    Steps are evaluated whole. `dtype` None is float64 where that is quick, else float32; `evaluates` False
    where the target's own frames are real. Raises `Refused` for more frames than there are, for evaluated
    frames without a reference, and for what doesn't fit into memory (`available` bytes; None asks the
    machine).
    """
    latent_frames, height, width = shape[2:]
    per_frame = flops(decoder, height, width)
    some = min(latent_frames, max(1, int(HOST_FLOPS // per_frame)))
    if host_frames > latent_frames:
        raise Refused("host_frames", host_frames, f"at most the {latent_frames} latent frames of the clip")
    most, steps = host_frames or latent_frames, tuple(steps or split(latent_frames))
    if evaluated_frames > most:
        raise Refused(
            "evaluated_frames", evaluated_frames, f"at most host_frames, {most}, to be compared with"
        )
    asked = (evaluated_frames or min(some, most)) if evaluates else 0
    evaluated_frames = next(end for end in accumulate(steps, initial=0) if end >= asked)
    if evaluated_frames > most:
        need = f"at least {evaluated_frames}: steps (frames_per_step) are evaluated whole"
        raise Refused("host_frames", host_frames, need)
    host_frames = host_frames or max(some, evaluated_frames)
    if dtype is None:
        dtype = torch.float64 if host_frames * per_frame <= FLOAT64_FLOPS or host != "cpu" else torch.float32
    found = Plan(
        steps,
        host_frames,
        evaluated_frames,
        dtype,
        crop=next(c for c in crops(decoder, latent_frames, height, width)),
        size=pixels_of(shape),
        host_bytes=host_bytes(decoder, (*shape[:2], host_frames, height, width), dtype),
        evaluated_bytes=evaluated_bytes(decoder, (*shape[:2], evaluated_frames, height, width), max(steps)),
        flops=per_frame,
    )
    check(found, decoder, shape, host, available)
    return found


def crops(decoder: nn.Module, latent_frames: int, height: int, width: int):
    """[T, H, W] from the largest to the smallest, those that take seconds; the smallest in any case."""
    choices = [
        (min(t, latent_frames), min(side, height), min(side, width))
        for t, side in ((4, 8), (2, 8), (2, 4), (2, 2))
    ]
    yield from (c for c in choices if c[0] * flops(decoder, *c[1:]) <= CROP_FLOPS)
    yield choices[-1]


def check(plan: Plan, decoder: nn.Module, shape: tuple[int, ...], host: str, available: int | None) -> None:
    free = memory(host) if available is None else available
    clip = "latent frames at {}×{}".format(*plan.size)
    if plan.host_bytes > free:
        choices = [
            (frames, dtype) for frames in {plan.host_frames: 0, 1: 0} for dtype in NARROWER[plan.dtype]
        ]
        sizes = {
            choice: host_bytes(decoder, (*shape[:2], choice[0], *shape[3:]), choice[1]) for choice in choices
        }
        fits = [f"{n} in {name_of(dtype)}, {gb(size)}" for (n, dtype), size in sizes.items() if size <= free]
        got = f"{plan.host_frames} {clip} in {name_of(plan.dtype)}, which take {gb(plan.host_bytes)}"
        raise Refused("host_frames", got, advice(free, fits))
    free = memory("cpu") if available is None else available
    if plan.evaluated_frames and plan.evaluated_bytes > free:
        sizes = {
            n: evaluated_bytes(decoder, (*shape[:2], n, *shape[3:]), max(plan.steps))
            for n in accumulate(plan.steps[: plan.evaluated_steps - 1])
        }
        fits = [f"{n}, {gb(size)}" for n, size in sizes.items() if size <= free][-1:]
        got = f"{plan.evaluated_frames} {clip}, which take {gb(plan.evaluated_bytes)}"
        raise Refused("evaluated_frames", got, advice(free, fits))


def advice(free: int, fits: list[str]) -> str:
    return f"at most the {gb(free)} that are free: " + (
        "; ".join(fits) or "a machine with more, or smaller latents"
    )


def gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def memory(host: str) -> int:
    """Free bytes where the host decodes."""
    return psutil.virtual_memory().available if host == "cpu" else torch.cuda.mem_get_info()[0]
