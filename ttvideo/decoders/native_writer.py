"""The parts that native decoders are made of, written op after op into a TT-NN program: convolutions, norms
with SiLU, sums, upsampling, attention, frames, as TT-NN has them, or as ops of the project's own
(`ttvideo.programs.own`).

A clip is [1, T, H, W, C], row-major; channels that aren't a multiple of 32 are filled up to one with zeros,
which weights of zeros keep so. A convolution's weights are laid out in blocks of input channels, chosen for
the board.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count

import torch
from torch import Tensor, nn

from ttvideo.basics.errors import Refused
from ttvideo.programs.conv3d_blocks import Size
from ttvideo.programs.own import (
    add_after_past,
    after_past,
    depth_to_space,
    frame_moments,
    group_affine,
    norm_silu,
    rms_norm,
    spatial_norm,
)
from ttvideo.programs.own.sizes import CHUNK, PAST
from ttvideo.programs.program import TILE, Argument, Op, Value
from ttvideo.programs.seconds.blocks import choose
from ttvideo.targets.boards import BOARDS, FIDELITIES
from ttvideo.ttnn.handmade import tensor

STATE = "input.state."
PARTS = 16  # of a frame, for as many cores: with six frames, a step's at the last two sizes, 96
PIXEL_PARTS = 128  # the same, where the order of sums doesn't depend on it
ZEROS, EDGES = "zeros", "replicate"  # around a frame, as `ttnn.conv3d` calls them
FIRST = "first frame"  # before a clip; or ZEROS
QUERIES, WIDE_QUERIES, WIDE = 128, 64, 512  # a chunk of attention, of more channels than WIDE a smaller one
NO_ACTIVATIONS = {f"{which}activations": [] for which in ("input_tensor_a_", "input_tensor_b_")}


@dataclass(frozen=True)
class Arithmetic:
    """Of the convolutions and the project's own kernels: `fidelity` as `ttvideo.programs.fidelity` has it.

    HiFi3 is as close to float64 as HiFi4, in three passes of the multiplier for four, and a Wormhole's
    multiplier is wrong in HiFi4 (`ttvideo.programs.hazards`); what HiFi2 costs, 07 shows. Block floats are no
    switch: `ttnn.conv3d` takes weights in bf16 or float32, and rows, which bfloat8_b can't lie in.
    """

    fidelity: str = "hifi3"

    def __post_init__(self):
        if self.fidelity not in FIDELITIES:
            raise Refused("fidelity", repr(self.fidelity), f"one of {', '.join(FIDELITIES)}")

    def config(self) -> dict:
        return {
            "compute_config": {
                "math_fidelity": self.fidelity,
                "fp32_dest_acc_en": True,
                "packer_l1_acc": True,
            }
        }


def whole_channels(channels: int, least: int = 1) -> int:
    """As many or more, in whole tiles, at least so many."""
    return TILE * max(least, -(-channels // TILE))


def filled(rows: Tensor) -> Tensor:
    """Channels, the last dimension, that aren't a multiple of 32 filled up to one with zeros, at least 64:
    two blocks."""
    channels = rows.shape[-1]
    return nn.functional.pad(rows, (0, whole_channels(channels, 1 + (channels < TILE)) - channels))


def parts_filled(parameter: Tensor, parts: int) -> Tensor:
    """Each of so many parts of a parameter's outputs, its first dimension, with zeros up to whole tiles."""
    pieces = parameter.unflatten(0, (parts, -1))
    more = [0, 0] * (pieces.dim() - 2) + [0, -pieces.shape[1] % TILE]
    return nn.functional.pad(pieces, more).flatten(0, 1)


def past(name: str, size: tuple[int, int]) -> str:
    """A convolution's entry in the state, of frames of this size."""
    return f"{name}.{size[0]}x{size[1]}.past"


class Writer:
    """Writes a program for one board, op after op, for a step of some latent frames, after those `seen`.

    In what order a frame's numbers are added up doesn't depend on their count, so that steps give what one
    call gives. `laid_out` are the weights of other programs, by name, which this one shares and adds to.
    """

    def __init__(
        self, board: str, arithmetic: Arithmetic, latents: int = 1, begins: bool = True, seen: int = 0,
        ends: bool = True, laid_out: dict[str, Tensor] | None = None,
    ):  # fmt: skip
        if board not in BOARDS:
            raise Refused("board", board, f"one of {', '.join(BOARDS)}")
        self.board, self.chip, self.arithmetic = board, BOARDS[board].chip, arithmetic
        self.latents, self.begins, self.seen, self.ends = latents, begins, seen, ends
        self.laid_out = {} if laid_out is None else laid_out
        self.arguments: list[Argument] = []
        self.weights: dict[str, Tensor] = {}
        self.held: dict[str, Value] = {}  # the weights, by name
        self.ops: list[Op] = []
        self.numbers = count()  # of values' names
        # What nothing has read yet, and the op that makes it; and what a norm has made on its way instead.
        self.put_off: dict[Value, Op] = {}
        self.on_the_way: set[Value] = set()
        self.place = ""  # in the model, for what follows
        self.parts = PARTS  # of a frame whose numbers are summed up
        # Around a clip: how often its first frame stands before it and its last after it, "lead" and "tail",
        # where that isn't twice and never; whether frames get an edge, "reflected", for the convolution.
        self.beyond: dict[str, int] = {}
        # By their names in the state: the frames before these, none where a clip begins, and those for the
        # next.
        self.pasts: dict[str, Value] = {}
        self.kept: dict[str, Value] = {}

    def follow(self, latents: int) -> None:
        """What is written from here are the next latent frames of the same step."""
        self.pasts, self.kept = self.kept, {}
        self.latents, self.begins, self.seen = latents, False, self.seen + self.latents

    def argument(self, name: str, shape: tuple[int, ...]) -> Value:
        return self.given(tensor(name, shape, layout="row_major"), name, "input")

    def weight(self, name: str, value: Tensor, layout: str = "tile") -> Value:
        if name not in self.held:
            self.weights[name] = self.laid_out.setdefault(name, value)
            self.held[name] = self.given(tensor(name, tuple(value.shape), layout=layout), name, "parameter")
        return self.held[name]

    def given(self, value: Value, name: str, kind: str) -> Value:
        self.arguments.append(Argument(value, name, kind))
        return value

    def op(
        self, name: str, operands: list[Value], *results: tuple, layout: str = "row_major", **attributes
    ) -> list[Value]:
        """`results` are (shape, dtype) each, or what is made on the way (see `taken`)."""
        self.catch_up(operands)
        made = [
            result if isinstance(result, Value) else tensor(f"%{next(self.numbers)}", *result, layout=layout)
            for result in results
        ]
        self.ops.append(Op(name, tuple(operands), tuple(made), attributes, self.place))
        return made

    # What is made where it is read

    def later(self, made: Value) -> Value:
        """Put the last op off until what it makes is read: a norm that is the first to read it makes it on
        its way, and for anything else it is written before."""
        self.put_off[made] = self.ops.pop()
        return made

    def catch_up(self, values: Iterable[Value]) -> None:
        """Write what was put off that makes these."""
        self.ops += [self.put_off.pop(value) for value in dict.fromkeys(values) if value in self.put_off]

    def taken(self, x: Value) -> Op | None:
        """What was put off that makes x, if anything, for an op that makes it on its way."""
        if x in self.put_off:
            self.on_the_way.add(x)
        return self.put_off.pop(x, None)

    def written(self, returns: list[Value]) -> list[Op]:
        """All ops, for these results; what was made on the way and nothing else reads isn't given."""
        self.catch_up(returns)
        unread = self.on_the_way.difference(returns, *(op.operands for op in self.ops))
        return [replace(op, results=tuple(r for r in op.results if r not in unread)) for op in self.ops]

    # Convolutions

    def conv(
        self,
        x: Value,
        weight: Tensor,
        bias: Tensor,
        padding: int = 0,
        c_in: int | None = None,
        around: str = EDGES,
        frames: int | None = None,
    ) -> Value:
        """A convolution of stride 1, [O, C, kt, kh, kw], of as many or more channels, its outputs filled up
        to whole tiles; `padding` is the height's and width's.

        In blocks of `c_in` input channels, or of as many as are best for the `frames` of one latent frame, by
        default its share of these; of output pixels and channels as are best for all frames.
        """
        _, t, h, w, c = x.type.shape
        more = c - weight.shape[1], -weight.shape[0] % TILE
        weight = nn.functional.pad(weight, (0, 0, 0, 0, 0, 0, 0, more[0], 0, more[1]))
        bias = nn.functional.pad(bias, (0, more[1]))
        out_channels, _, *kernel = weight.shape
        out = (t - kernel[0] + 1, h + 2 * padding - kernel[1] + 1, w + 2 * padding - kernel[2] + 1)
        size = Size(out, c, out_channels, tuple(kernel), (0, padding, padding), around)
        one = replace(size, out=(frames or max(out[0] // self.latents, 1), *out[1:]))
        best = choose(one, self.board, self.arithmetic.fidelity).c_in
        blocks = choose(size, self.board, self.arithmetic.fidelity, best)
        blocks = replace(blocks, c_in=c_in or best)
        rows = weight.permute(2, 3, 4, 1, 0).unflatten(3, (-1, blocks.c_in)).movedim(3, 0).flatten(0, 4)
        w_2d = self.weight(f"{self.place}.weight in blocks of {blocks.c_in}", rows)
        bias = self.weight(f"{self.place}.bias", bias[None])
        attributes = size.attributes(blocks) | self.arithmetic.config()
        return self.op("ttnn.conv3d", [x, w_2d, bias], ((1, *out, out_channels), "bf16"), **attributes)[0]

    def pointwise(
        self, x: Value, weight: Tensor, bias: Tensor, least: int = 1, frames: int | None = None
    ) -> Value:
        """A linear layer, [O, C], its outputs filled up to whole tiles, at least so many."""
        more = whole_channels(weight.shape[0], least) - weight.shape[0]
        weight = nn.functional.pad(weight, (0, 0, 0, more))
        bias = nn.functional.pad(bias, (0, more))
        return self.conv(x, weight[:, :, None, None, None], bias, frames=frames)

    # A clip behind its past

    def before(self, key: str, frame: tuple[int, ...]) -> Value | None:
        """The frames before these, [1, 2, H, W, C]; None where a clip begins."""
        return self.left(key, (1, PAST, *frame))

    def left(self, key: str, shape: tuple[int, ...]) -> Value | None:
        """What the latent frames before these have left, an argument of the program; None where a clip
        begins."""
        if self.begins:
            return None
        if key not in self.pasts:
            self.pasts[key] = self.argument(STATE + key, shape)
        return self.pasts[key]

    def after_past(self, x: Value, before: str | None) -> Value:
        """A clip as it is behind its past; before None, the clip alone, with its frames' edges."""
        key = past(self.place, x.type.shape[2:4])
        given = self.before(key, self.edged(x)) if before else None
        clip, *kept = after_past.write(self, x, given, before or "nothing", self.beyond)
        if kept:
            (self.kept[key],) = kept
        return clip

    def edged(self, x: Value) -> tuple[int, ...]:
        """A frame's size [H, W, C], with its edges where it gets some."""
        _, _, h, w, c = x.type.shape
        edges = 2 * self.beyond.get("reflected", False)
        return h + edges, w + edges, c

    def add_after_past(self, x: Value, rest: Value, before: str, offset: int) -> Value:
        """x + rest behind its past; x's first frame goes with rest's frame `offset`."""
        _, _, h, w, c = x.type.shape
        self.check_channels(c)
        key, parts = past(self.place, (h, w)), min(PIXEL_PARTS, -(-h * w // (CHUNK // c)))
        given = self.before(key, (h, w, c))
        clip, self.kept[key] = add_after_past.write(
            self, x, rest, given, before, self.beyond, offset=offset, parts=parts, **self.arithmetic.config()
        )
        return clip

    def nothing_seen(self, x: Value) -> None:
        """What a convolution keeps that doesn't see a clip's first frame."""
        shape = (1, PAST, *x.type.shape[2:])
        (self.kept[past(self.place, x.type.shape[2:4])],) = self.op(
            "ttnn.zeros", [], (shape, "bf16"), shape=list(shape)
        )

    def norm_silu(self, x: Value, norm: nn.GroupNorm, before: str | None = FIRST, silu: bool = True) -> Value:
        """silu(norm(x)) frame by frame, behind its past; before None, of the clip alone. Or without SiLU."""
        _, _, h, w, c = x.type.shape
        affine, parts = self.affine([x], norm)
        key = past(self.place, (h, w))
        given = self.before(key, (h, w, c)) if before else None
        clip, *kept = norm_silu.write(
            self, x, affine, given, before or "nothing", silu=silu, parts=parts, **self.arithmetic.config()
        )
        if kept:
            (self.kept[key],) = kept
        return clip

    def clip_norm(
        self,
        place: str,
        norm: nn.GroupNorm,
        pieces: list[Value],
        before: str | None = FIRST,
        silu: bool = True,
    ) -> Iterator[Value]:
        """silu(norm(x)) of a clip in pieces, normalised as one, each behind those before it; before None,
        each alone. Or without SiLU."""
        self.place, given = place, None
        affine, parts = self.affine(pieces, norm, together=True)
        for x in pieces:
            self.place = place
            (clip,) = norm_silu.write(
                self, x, affine, given, before or "nothing", stays=False, silu=silu, parts=parts,
                **self.arithmetic.config(),
            )  # fmt: skip
            given = clip if before else None
            yield clip

    def affine(self, clips: list[Value], norm: nn.GroupNorm, together: bool = False) -> tuple[Value, int]:
        """A norm as scale and shift of each frame, or of all frames `together`, [.., C]; and as how many
        items a frame is shared out."""
        _, _, h, w, c = clips[0].type.shape
        self.check_channels(c)
        parts = min(self.parts, -(-h * w // (CHUNK // c)))
        sums = [frame_moments.write(self, x, parts, **self.arithmetic.config()) for x in clips]
        sums = self.concat(sums, 0)
        frames = sums.type.shape[0] // (2 * parts) if together else 1
        affine = group_affine.write(
            self, sums, self.pair("norm", norm.weight, norm.bias, c), norm.num_channels, frames * h * w,
            norm.num_groups, frames * parts, norm.eps,
        )  # fmt: skip
        return affine, parts

    def rms_norm(self, x: Value, gain: Tensor, shift: Tensor, epsilon: float, before: str | None) -> Value:
        """silu(norm(x)) of each pixel's channels, behind its past; before None the norm alone, of the clip
        alone.

        `gain` and `shift` are [C]; where channels were filled up, it is of the first C.
        """
        affine = self.pair("norm", gain, shift, x.type.shape[-1])
        return self.pixel_norm(x, affine, len(gain), epsilon, before, silu=before is not None)

    def pixel_norm(
        self, x: Value, affine: Value, channels: int, epsilon: float, before: str | None, **how: bool
    ) -> Value:
        """The same of the first `channels`, of a gain and a shift as `pair` gives them; `how` has silu and
        centred, see `ttvideo.programs.own.rms_norm`."""
        _, _, h, w, c = x.type.shape
        self.check_channels(c)
        parts, key = min(PIXEL_PARTS, -(-h * w // (CHUNK // c))), past(self.place, (h, w))
        given = self.before(key, self.edged(x)) if before else None
        clip, *kept = rms_norm.write(
            self, x, affine, given, before or "nothing", self.beyond, channels=channels, epsilon=epsilon,
            parts=parts, **how, **self.arithmetic.config(),
        )  # fmt: skip
        if kept:
            (self.kept[key],) = kept
        return clip

    def spatial_norm_silu(
        self, x: Value, norm: nn.GroupNorm, by: nn.Conv3d, shift: nn.Conv3d, latents: Value
    ) -> Value:
        """silu(norm(x) * by(z) + shift(z)) behind its past; the norm is of all frames together, z are latent
        frames."""
        _, _, h, w, c = x.type.shape
        key, place = past(self.place, (h, w)), self.place
        affine, parts = self.affine([x], norm, together=True)
        more = c - norm.num_channels
        weight = torch.cat([nn.functional.pad(m.weight.flatten(1), (0, 0, 0, more)) for m in (by, shift)])
        bias = torch.cat([nn.functional.pad(m.bias, (0, more)) for m in (by, shift)])
        self.place = f"{place}.maps"
        maps = self.pointwise(latents, weight, bias)
        self.place, given = place, self.before(key, (h, w, c))
        clip, self.kept[key] = spatial_norm.write(self, x, affine, maps, given, FIRST, parts)
        return clip

    def pair(self, name: str, gain: Tensor, shift: Tensor, channels: int) -> Value:
        """Two vectors as rows [2, C], filled up to so many channels."""
        rows = nn.functional.pad(torch.stack([gain, shift]), (0, channels - len(gain)))
        return self.weight(f"{self.place}.{name}", rows, "row_major")

    def check_channels(self, channels: int) -> None:
        if channels % TILE or channels > CHUNK:
            raise Refused(f"{self.place}", f"{channels} channels", f"a multiple of {TILE}, at most {CHUNK}")

    # What else there is

    def add(self, a: Value, b: Value, activations: tuple[str, ...] = ()) -> Value:
        """Without activations, put off until it is read."""
        made = self.binary("add", a, b, activations)
        return made if activations else self.later(made)

    def binary(self, name: str, a: Value, b: Value, activations: tuple[str, ...] = ()) -> Value:
        """Of two of one shape; `activations` follow."""
        fused = [{"op_type": activation} for activation in activations]
        return self.op(f"ttnn.{name}", [a, b], (a.type.shape, "bf16"), activations=fused, **NO_ACTIVATIONS)[0]

    def full(self, shape: tuple[int, ...], value: float) -> Value:
        return self.op("ttnn.full", [], (shape, "bf16"), shape=list(shape), fill_value=value)[0]

    def depth_to_space(
        self,
        x: Value,
        expansion: tuple[int, int, int] = (1, 1, 1),
        repeats: tuple[int, int, int] = (1, 1, 1),
        single: bool = False,
    ) -> Value:
        """Channels (t, h, w, C) to pixels; each is repeated, nearest upsampling, but for a `single` first
        frame in time."""
        made = depth_to_space.write(self, x, expansion, repeats, single)
        return made if single or repeats != (1, 1, 1) else self.later(made)

    # Attention of one head among pixels; a layer is pointwise, of any rank

    def frame_attention(self, x: Value, normed: Value, qkv: nn.Module, proj: nn.Module) -> Value:
        """x and what attention within each frame of `normed` adds to it."""
        parts = zip(qkv.weight.chunk(3), qkv.bias.chunk(3))
        return self.attended(x, self.attend(*self.projected(normed, parts), proj), proj)

    def causal_attention(self, x: Value, normed: Value, qkv: list[nn.Module], proj: nn.Module) -> Value:
        """The same to a frame's own pixels and those of all before it, whose keys and values are kept, [1, 1,
        T * H * W, C]."""
        _, t, h, w, c = x.type.shape
        queries, *own = self.projected(normed, [(layer.weight, layer.bias) for layer in qkv])
        names = [f"{self.place}.{h}x{w}.{part}" for part in ("keys", "values")]
        kept, outs = [self.left(name, (1, 1, self.seen * h * w, c)) for name in names], []
        for i in range(t):
            kept = [self.behind(old, self.frame(new, i)) for old, new in zip(kept, own)]
            outs.append(self.attend(self.frame(queries, i), *(self.tiles(rows) for rows in kept), proj))
        self.kept |= zip(names, kept)
        return self.attended(x, self.concat(outs, 0, layout="tile"), proj)

    def projected(self, normed: Value, parts) -> list[Value]:
        """Queries, keys and values by a (weight, bias) each: [1, T, H, W, C] -> [T, 1, H * W, C] in tiles."""
        _, t, h, w, c = normed.type.shape
        tiles, name, found = self.tiles(self.reshape(normed, (t, 1, h * w, c))), self.place, []
        for part, (weight, bias) in zip("qkv", parts, strict=True):
            self.place = f"{name}.{part}"
            found.append(self.linear(tiles, weight.flatten(1), bias))
        self.place = name
        return found

    def attend(self, q: Value, k: Value, v: Value, proj: nn.Module) -> Value:
        """In chunks that are given, so that no scores go to DRAM; `proj` tells the channels that aren't
        filled up."""
        size = WIDE_QUERIES if q.type.shape[-1] > WIDE else QUERIES
        chunks = {"q_chunk_size": size, "k_chunk_size": size}
        return self.op(
            "ttnn.scaled_dot_product_attention", [q, k, v], (q.type.shape, "bf16"), layout="tile",
            is_causal=False, scale=proj.weight.shape[1] ** -0.5, program_config=chunks,
            **self.arithmetic.config(),
        )[0]  # fmt: skip

    def attended(self, x: Value, seen: Value, proj: nn.Module) -> Value:
        """x and a projection of what was seen, [T, 1, H * W, C]."""
        self.place = f"{self.place}.proj"
        rows = self.rows(self.linear(seen, proj.weight.flatten(1), proj.bias))
        return self.add(x, self.reshape(rows, x.type.shape))

    def frame(self, x: Value, i: int) -> Value:
        """[T, 1, N, C] in tiles -> [1, 1, N, C]."""
        t, *frame = x.type.shape
        if t == 1:
            return x
        cut = {"begins": [i, 0, 0, 0], "ends": [i + 1, *frame], "step": [1, 1, 1, 1]}
        return self.op("ttnn.slice_static", [x], ((1, *frame), "bf16"), layout="tile", **cut)[0]

    def behind(self, old: Value | None, new: Value) -> Value:
        """A frame's keys, in tiles, as rows behind those before it, if any."""
        rows = self.rows(new)
        return rows if old is None else self.concat([old, rows], 2)

    def concat(self, parts: list[Value], dim: int, layout: str = "row_major") -> Value:
        if len(parts) == 1:
            return parts[0]
        shape = list(parts[0].type.shape)
        shape[dim] = sum(part.type.shape[dim] for part in parts)
        result = tuple(shape), parts[0].type.dtype
        return self.op("ttnn.concat", parts, result, layout=layout, dim=dim)[0]

    def tiles(self, rows: Value) -> Value:
        return self.op("ttnn.to_layout", [rows], (rows.type.shape, "bf16"), layout="tile")[0]

    def rows(self, tiles: Value) -> Value:
        return self.op("ttnn.to_layout", [tiles], (tiles.type.shape, "bf16"))[0]

    def frames(self, x: Value, begin: int, end: int) -> Value:
        """Some frames of a clip."""
        _, _, *frame = x.type.shape
        a = {"begins": [0, begin, 0, 0, 0], "ends": [1, end, *frame], "step": [1] * 5}
        return self.op("ttnn.slice_static", [x], ((1, end - begin, *frame), "bf16"), **a)[0]

    def reshape(self, x: Value, shape: tuple[int, ...]) -> Value:
        return self.op("ttnn.reshape", [x], (shape, "bf16"), shape=list(shape))[0]

    def linear(self, x: Value, weight: Tensor, bias: Tensor) -> Value:
        """[O, C] on tiles, as many channels out as in."""
        c = x.type.shape[-1]
        weight = nn.functional.pad(weight.t(), (0, c - weight.shape[0], 0, c - weight.shape[1]))
        w_2d = self.weight(f"{self.place}.weight", weight.contiguous())
        bias = self.weight(f"{self.place}.bias", nn.functional.pad(bias, (0, c - len(bias)))[None])
        return self.op(
            "ttnn.linear", [x, w_2d, bias], (x.type.shape, "bf16"), layout="tile",
            transpose_a=False, transpose_b=False, **self.arithmetic.config(),
        )[0]  # fmt: skip
