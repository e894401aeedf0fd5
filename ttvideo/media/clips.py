"""Procedural video clips: soft shapes that move, turn and pass behind one another, letters, gradients,
texture.

A clip is drawn from its seed alone, so nobody needs a data set, and any size and length can be had. Lengths
are in pixels of a 64-pixel frame and in frames; larger frames scale the picture up, smaller ones show less of
it, so that the finest detail is never finer than at 64 x 64. The values are rounded to 8 bits, as in a video
file, which also hides the last-digit differences between machines.

`HELD_OUT` names the clips that the small autoencoders of ttvideo/media/weights are judged on and never
trained on.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from math import cos, pi, sin, tau

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor
from torch.nn import functional as F

from ttvideo.basics.errors import Refused

SHAPES = {
    "seen": ("disk", "box", "triangle", "bar"),
    "unseen": ("star", "ring", "hexagon", "cross"),
}
LETTERS = {"seen": "ABCDEFHILMNOPTUVWZ", "unseen": "GJKQRSXY234579"}

# Training takes every seed from here on; below it the seeds are held out.
FIRST_TRAINING_SEED = 1_000_000

HELD_OUT = {
    "other seeds": dict(seeds=range(100, 108), frames=19, height=64, width=64),
    "other shapes": dict(seeds=range(200, 208), frames=19, height=64, width=64, kind="unseen"),
    "another size": dict(seeds=range(300, 308), frames=19, height=48, width=80),
    "twice the length": dict(seeds=range(400, 408), frames=37, height=64, width=64),
}


@dataclass
class Layer:
    """One thing in the picture: what it is, how large, how it moves (pixels of a 64-pixel frame, frames)."""

    what: str  # the name of a shape, or text in capitals
    radius: float
    colour: tuple  # RGB in [0, 1]
    centre: tuple  # (x, y) from the middle of the picture
    swing: tuple = (0.0, 0.0)  # how far (x, y) it swings to each side of its centre
    period: float = 48.0
    phase: float = 0.0
    angle: float = 0.0  # radians at frame 0
    spin: float = 0.0  # radians a frame
    shade: float = 0.0  # how much lighter its top is than its bottom


@dataclass
class Background:
    """A gradient between two colours along `angle`, under waves of gentle texture that drift slowly."""

    colours: tuple
    angle: float = 0.0
    waves: list = field(
        default_factory=list
    )  # (amplitude, x and y radians per pixel, radians per frame, phase)


def clip(seed: int, frames: int = 19, height: int = 64, width: int = 64, kind: str = "seen") -> Tensor:
    """Draw the clip of this seed: Tensor [3, frames, height, width] (CTHW), float32 in [-1, 1].

    kind "seen" has the shapes and letters that the small autoencoders were trained on, "unseen" has others.
    The Mochi VAE takes frames = 6 k + 1 and sizes in multiples of 8; here any will do. Raises `Refused`, a
    ValueError, for values that are impossible.
    """
    if kind not in SHAPES:
        raise Refused("clip: kind", repr(kind), " or ".join(map(repr, SHAPES)))
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise Refused("clip: seed", repr(seed), "an integer >= 0")
    rng = np.random.default_rng([int(seed), list(SHAPES).index(kind)])
    return draw(_random_background(rng), _random_layers(rng, kind), frames, height, width)


def held_out(name: str) -> list[Tensor]:
    """The clips of a row of `HELD_OUT`, each [3, T, H, W] in [-1, 1]. Raises `Refused` for another name."""
    if name not in HELD_OUT:
        raise Refused("held_out: name", repr(name), " or ".join(map(repr, HELD_OUT)))
    row = dict(HELD_OUT[name])
    return [clip(seed, **row) for seed in row.pop("seeds")]


def demo_clip(frames: int = 19, height: int = 64, width: int = 64) -> Tensor:
    """The clip of the notebooks: [3, 19, 64, 64] in [-1, 1]. A word, with a disk that passes behind it and a
    box that turns in front: a decoder that blurs, shifts or mixes up frames is seen at a glance."""
    background = Background(
        colours=((0.08, 0.12, 0.35), (0.35, 0.62, 0.78)), angle=1.2, waves=[(0.04, 0.16, 0.10, 0.10, 0.0)]
    )
    layers = [
        Layer("disk", 14, (0.98, 0.75, 0.10), (0, -9), swing=(20, 3), period=44, phase=-1.3, shade=0.1),
        Layer("HI", 21, (0.97, 0.97, 0.95), (0, -4), swing=(2, 1), period=40),
        Layer(
            "box", 9, (0.90, 0.25, 0.22), (-2, 15), swing=(17, 2), period=48, phase=0.4, spin=0.06, shade=0.1
        ),
    ]
    return draw(background, layers, frames, height, width)


def draw(background: Background, layers: list[Layer], frames: int, height: int, width: int) -> Tensor:
    """Draw the layers over the background, later ones in front: [3, frames, height, width], float32 in [-1,
    1]."""
    for name, value, least in (("frames", frames, 1), ("height", height, 8), ("width", width, 8)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise Refused(f"clip: {name}", repr(value), f"an integer >= {least}")
    scale = max(1.0, min(height, width) / 64)
    t = torch.arange(frames, dtype=torch.float32).view(-1, 1, 1)
    y = ((torch.arange(height) - (height - 1) / 2) / scale).view(1, -1, 1)
    x = ((torch.arange(width) - (width - 1) / 2) / scale).view(1, 1, -1)

    ramp = (0.5 + (x * cos(background.angle) + y * sin(background.angle)) / 80).clamp(0, 1)
    first, second = (torch.tensor(c).view(3, 1, 1, 1) for c in background.colours)
    picture = first + (second - first) * ramp
    for amplitude, kx, ky, speed, phase in background.waves:
        picture = picture + amplitude * torch.sin(kx * x + ky * y + speed * t + phase)
    picture = picture.expand(3, frames, height, width)

    for layer in layers:
        swing = torch.sin(tau * t / layer.period + layer.phase)
        dx, dy = x - layer.centre[0] - layer.swing[0] * swing, y - layer.centre[1] - layer.swing[1] * swing
        c, s = torch.cos(layer.angle + layer.spin * t), torch.sin(layer.angle + layer.spin * t)
        u, v = (c * dx + s * dy) / layer.radius, (c * dy - s * dx) / layer.radius
        if layer.what in _DISTANCE:  # an edge two pixels wide
            cover = (0.5 - _DISTANCE[layer.what](u, v) * layer.radius / 2).clamp(0, 1)
        else:
            cover = _text_cover(layer.what, u, v)
        shade = -layer.shade * (dy / layer.radius).clamp(-1, 1)
        colour = torch.tensor(layer.colour).view(3, 1, 1, 1) + shade
        picture = picture + cover * (colour - picture)
    return (picture.clamp(0, 1) * 255).round() / 127.5 - 1


# Signed distance of each shape of radius 1 (negative inside) at (u, v). Source of the formulas: Inigo Quilez,
# "2D distance functions", https://iquilezles.org/articles/distfunctions2d/


def _box(u, v, a=0.8, b=0.8):
    return torch.maximum(u.abs() - a, v.abs() - b)


def _polygon(u, v, sides):
    """Distance to the nearest of the lines that bound a regular polygon."""
    return torch.stack([u * sin(tau * k / sides) + v * cos(tau * k / sides) for k in range(sides)]).amax(0)


def _star(u, v, points=5):
    r, angle = (u * u + v * v).sqrt(), torch.atan2(u, v)
    fold = (angle + pi / points) % (tau / points) - pi / points
    px, py = r * torch.sin(fold.abs()), r * torch.cos(fold) - 1.15
    slope = 0.62  # from a tip to the dent beside it
    return px * cos(slope) + py * sin(slope)


_DISTANCE = {
    "disk": lambda u, v: (u * u + v * v).sqrt() - 1,
    "box": _box,
    "triangle": lambda u, v: _polygon(u, v, 3) - 0.6,
    "bar": lambda u, v: _box(u, v, 1.2, 0.4),
    "star": _star,
    "ring": lambda u, v: ((u * u + v * v).sqrt() - 0.75).abs() - 0.25,
    "hexagon": lambda u, v: _polygon(u, v, 6) - 0.85,
    "cross": lambda u, v: torch.minimum(_box(u, v, 1, 0.35), _box(u, v, 0.35, 1)),
}


@lru_cache(maxsize=256)
def _text_mask(text: str) -> Tensor:
    """Bold text, [1, 1, 96, W] in [0, 1], from Pillow's own font, so that no font file is needed."""
    font = ImageFont.load_default(size=88)
    left, top, right, bottom = font.getbbox(text, stroke_width=5)
    image = Image.new("L", (right - left + 24, 96))
    at = (12 - left, 48 - (top + bottom) / 2)
    ImageDraw.Draw(image).text(at, text, fill=255, font=font, stroke_width=5)
    return torch.from_numpy(np.array(image.filter(ImageFilter.GaussianBlur(1.5)), dtype=np.float32) / 255)[
        None, None
    ]


def _text_cover(text, u, v):
    """How far the text covers each point; the letters are about 1.5 high in units of (u, v)."""
    mask = _text_mask(text)
    high, wide = mask.shape[-2:]
    grid = torch.stack([u * high / wide, v.expand_as(u)], dim=-1)
    frames = grid.shape[0]
    return F.grid_sample(mask.expand(frames, -1, -1, -1), grid, padding_mode="zeros", align_corners=False)[
        :, 0
    ]


def _colour(rng, unlike, apart=0.35):
    """An RGB colour that stands out from each of `unlike`."""
    for _ in range(20):
        colour = rng.uniform(0.05, 0.95, 3)
        if all(np.abs(colour - other).mean() > apart for other in unlike):
            break
    return tuple(colour.tolist())


def _random_background(rng):
    first = rng.uniform(0.1, 0.9, 3)
    second = np.clip(first + rng.uniform(-0.35, 0.35, 3), 0, 1)
    waves = []
    for _ in range(2):
        k, heading = tau / rng.uniform(18, 40), rng.uniform(0, tau)
        depth = rng.uniform(0.02, 0.05)
        waves.append((depth, k * cos(heading), k * sin(heading), rng.uniform(-0.2, 0.2), rng.uniform(0, tau)))
    return Background((tuple(first.tolist()), tuple(second.tolist())), rng.uniform(0, tau), waves)


def _random_layers(rng, kind):
    """Two or three shapes and, in front of some of them, a letter; three clips in four have one."""
    background = ()
    layers = []
    for _ in range(rng.integers(2, 4)):
        colour = _colour(rng, [layer.colour for layer in layers] + list(background), 0.2)
        layers.append(_moving(rng, str(rng.choice(SHAPES[kind])), rng.uniform(8, 16), colour, spin=0.08))
    if rng.random() < 0.75:
        colour = _colour(rng, [layer.colour for layer in layers], 0.3)
        letter = _moving(
            rng, str(rng.choice(list(LETTERS[kind]))), rng.uniform(15, 22), colour, spin=0.015, tilt=0.25
        )
        layers.insert(rng.integers(1, len(layers) + 1), letter)
    return layers


def _moving(rng, what, radius, colour, spin, tilt=pi):
    return Layer(
        what,
        radius,
        colour,
        centre=tuple(rng.uniform(-20, 20, 2).tolist()),
        swing=tuple(rng.uniform(-14, 14, 2).tolist()),
        period=rng.uniform(40, 64),
        phase=rng.uniform(0, tau),
        angle=rng.uniform(-tilt, tilt),
        spin=rng.uniform(-spin, spin),
        shade=rng.uniform(0, 0.15),
    )
