"""Decoders written in TT-NN's ops, one program for each kind of step: no compiler, no tiles on the way but
for attention.

A clip is one tensor of rows of channels, [1, T, H, W, C], row-major, from the latents to the frames, as
TT-NN's conv3d takes and gives it, with the padding of space in the kernel. What TT-NN has no row-major op
for, or takes several passes for, are ops of the project's own (`ttvideo.programs.own`). A family's file says
which of the parts (`native_writer.py`) follow each other.

Rounded to bf16: each op's result, the norms' scale and shift, the weights. In float32: sums, statistics,
convolutions, but of 32 channels, which are rounded once more before their bias.
"""

from dataclasses import dataclass, field

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from ttvideo.basics.errors import Refused
from ttvideo.decoders import families
from ttvideo.decoders.as_built import as_computed, check_as_built
from ttvideo.decoders.clip_decoder import Shapes, State, check_step
from ttvideo.decoders.cogvideox import CogVideoXTileDecoder
from ttvideo.decoders.hunyuan import HunyuanVideoTileDecoder
from ttvideo.decoders.hunyuan15 import HunyuanVideo15TileDecoder
from ttvideo.decoders.hunyuan_image import HunyuanImageTileDecoder
from ttvideo.decoders.image import ImageTileDecoder, TinyTileDecoder
from ttvideo.decoders.ltx import LTXTileDecoder
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.decoders.native_cogvideox import CogVideoX
from ttvideo.decoders.native_family import FRAMES, Family
from ttvideo.decoders.native_hunyuan import HunyuanVideo
from ttvideo.decoders.native_hunyuan15 import HunyuanVideo15
from ttvideo.decoders.native_image import HunyuanImage, Image, Tiny
from ttvideo.decoders.native_ltx import LTX
from ttvideo.decoders.native_mochi import Mochi
from ttvideo.decoders.native_session import NativePrograms
from ttvideo.decoders.native_wan import Wan
from ttvideo.decoders.native_writer import STATE, Arithmetic, Writer, filled
from ttvideo.decoders.wan import WanTileDecoder
from ttvideo.programs.evaluate import evaluate
from ttvideo.programs.own import frames as own_frames
from ttvideo.programs.program import Program
from ttvideo.targets.target import Target
from ttvideo.ttnn.handmade import deallocated, program

LATENTS = "input.z"
# By the module for tiles that stands for the same decoder, which says what it takes of an autoencoder.
IN_OPS: dict[type[nn.Module], type[Family]] = {
    TileDecoder: Mochi,
    WanTileDecoder: Wan,
    CogVideoXTileDecoder: CogVideoX,
    HunyuanVideo15TileDecoder: HunyuanVideo15,
    HunyuanVideoTileDecoder: HunyuanVideo,
    LTXTileDecoder: LTX,
    ImageTileDecoder: Image,
    HunyuanImageTileDecoder: HunyuanImage,
    TinyTileDecoder: Tiny,
}
FAMILIES = {kind: one for kind, one in families.FAMILIES.items() if one.tiles in IN_OPS}


@dataclass(frozen=True)
class Written:
    """A step's program, the weights that it takes, and the names of its results: "frames", if there are any,
    then the state's entries."""

    program: Program
    weights: dict[str, Tensor] = field(repr=False)
    results: tuple[str, ...]

    @property
    def state(self) -> Shapes:
        """What it leaves: shapes by name."""
        found = zip(self.results, self.program.main.returns, strict=True)
        return {name: value.type.shape for name, value in found if name != FRAMES}


def native(model: nn.Module, **how) -> "NativeDecoder":
    """The decoder in TT-NN's own ops, as `for_tiles` gives it in torch's: `NativeDecoder(model, **how)`."""
    return NativeDecoder(model, **how)


class NativeDecoder(nn.Module):
    """A decoder (diffusers) in TT-NN's ops, in bf16: `(z, state=None) -> (frames, state)`, as `for_tiles`
    gives them.

    Called, it evaluates its program on the host, for `board`; `stream_decode` runs it on a target of TT-NN's
    (n150-ttnn, p150-ttsim, ttnn ...). The state are the last two frames that each convolution saw, by its
    name and size: [B, 2, H, W, C], "block_in.resnets.0.conv1.60x106.past"; where `streaming` says that it
    grows, keys and values of attention, too; where frames come late, there is none of those that have seen
    nothing yet, and none at all once a clip has ended. One clip at a time, B = 1. A timestep `temb` [1], set
    here, is that of every step without one.

    Frames are bf16, or with `eight_bits` float32 of what leaves the chip in 8 bits, half the bytes. `model`
    is a decoder, or an autoencoder for what its `decode` gives; its weights are copied. Raises `Refused` for
    a class or config that isn't known and for weights that aren't finite; as a step is written also for more
    than 1,024 channels.
    """

    def __init__(
        self,
        model: nn.Module,
        board: str = "p150",
        arithmetic: Arithmetic = Arithmetic(),
        eight_bits: bool = False,
    ):
        super().__init__()
        self.family = family_of(model)
        self.board, self.arithmetic, self.dtype = board, arithmetic, "u8" if eight_bits else "bf16"
        self.written: dict[tuple, Written] = {}
        self.laid_out: dict[str, Tensor] = {}  # weights, as programs take them
        self.register_buffer("temb", None, persistent=False)
        same = ("latent_channels", "streaming", "dropped_frames", "steps")
        self.latent_channels, self.streaming, self.dropped_frames, self.steps = (
            getattr(self.family, name) for name in same
        )

    def extra_repr(self) -> str:
        return f"{self.arithmetic.fidelity}, frames in {self.dtype}"

    @property
    def decoder(self) -> nn.Module:
        """The stock module, its weights in bf16."""
        return self.family.decoder

    @property
    def embedder(self) -> nn.Module | None:
        """Of a timestep, where the decoder is conditioned on one."""
        return self.decoder.time_embedder if self.family.timed else None

    def state_shapes(self, batch: int, height: int, width: int, latents: int | None = None) -> Shapes:
        """The state's names and shapes, for latents of this height and width; after so many, where it depends
        on it."""
        if self.streaming == "none":
            return {}
        board = next((key[2] for key in self.written), self.board)  # any would do
        left = self.step((self.family.first, height, width), True, board).state
        latents = latents or 1 + self.family.delay
        if latents > 1 and self.family.seen(left, (height, width)) is not None:
            left = self.step((1, height, width), False, board, latents - 1).state
        return {name: (batch, *shape[1:]) for name, shape in left.items()}

    def seen(self, state: State | None, size: tuple[int, int]) -> int | None:
        """How many latent frames of this size a state has seen, where programs depend on it."""
        return self.family.seen({name: tuple(value.shape) for name, value in (state or {}).items()}, size)

    def check(
        self, z_bcthw: Tensor, state: State | None = None, ends: bool = True, temb: Tensor | None = None
    ) -> None:
        """Raise `Refused` for latents or a state of a wrong rank, size or type, for several clips, and for a
        timestep that lacks; reads no value."""

        def shapes(batch: int, *size: int) -> Shapes:
            return self.state_shapes(batch, *size, self.seen(state, size))

        check_step(z_bcthw, state, self.latent_channels, torch.bfloat16, shapes)
        if z_bcthw.shape[0] != 1:
            raise Refused("latents", f"{z_bcthw.shape[0]} clips", "one at a time")
        temb = self.temb if temb is None else temb
        if self.family.timed and (temb is None or temb.numel() != 1):
            got = None if temb is None else f"shape {tuple(temb.shape)}"
            raise Refused("temb", got, "[1], the clip's timestep")

    def forward(
        self, z_bcthw: Tensor, state: State | None = None, temb: Tensor | None = None, ends: bool = True
    ) -> tuple[Tensor, State]:
        """Evaluate a step on the host: [1, C, T, H, W] -> frames [1, 3, ...], and the state for the next
        step.

        Decoders of images take them, too: [B, C, H, W] -> [B, 3, s H, s W]. `state` is None at the start of a
        clip; `ends` says whether it ends with this step. Raises `Refused` as `check` does.
        """
        if not self.family.images or z_bcthw.dim() != 4:
            return self.evaluate(z_bcthw, state, self.board, temb, ends)
        video, state = self.evaluate(z_bcthw.transpose(0, 1)[None], state, self.board, ends=ends)
        return video[0].transpose(0, 1), state

    def evaluate(
        self, z_bcthw: Tensor, state: State | None, board: str, temb: Tensor | None = None, ends: bool = True
    ) -> tuple[Tensor, State]:
        """The same, of the program for a board: blocks differ, and with them the order in which numbers are
        added up."""
        self.check(z_bcthw, state, ends, temb)
        size, begins = tuple(z_bcthw.shape[2:]), state is None
        seen = None if begins else self.seen(state, size[1:])
        written = self.step(size, begins, board, seen, ends)
        given = written.weights | self.inputs(z_bcthw, state, begins, temb)
        found = dict(zip(written.results, evaluate(written.program, given), strict=True))
        frames = found.pop(FRAMES, None)
        return self.no_frames(size[1:]) if frames is None else own_frames.video(frames), found

    def no_frames(self, size: tuple[int, int]) -> Tensor:
        """The video of a step that gives none, for latents of this size."""
        dtype = torch.float32 if self.dtype == "u8" else torch.bfloat16
        return torch.empty(
            1, own_frames.COLOURS, 0, *(side * self.family.scale for side in size), dtype=dtype
        )

    def inputs(self, z_bcthw: Tensor, state: State | None, begins: bool, temb: Tensor | None = None) -> State:
        """The latents as the program of a step takes them, channels last and filled up, and what their
        timestep says; the state, where it is given and not on a chip, by its names there."""
        rows = filled(z_bcthw.permute(0, 2, 3, 4, 1))
        pieces = rows.split(self.family.pieces(rows.shape[1], begins), dim=1)
        given = {named(i): piece for i, piece in enumerate(pieces)}
        if self.family.timed:
            given |= self.family.conditions(self.temb if temb is None else temb)
        return given | {STATE + name: value for name, value in (state or {}).items()}

    def programs(self, target: Target, stateful: bool) -> NativePrograms:
        """What runs where others' compiled programs do (see `ttvideo.probing.probe.open_session`)."""
        return NativePrograms(self, target, stateful)

    def step(
        self,
        size: tuple[int, int, int],
        begins: bool,
        board: str,
        seen: int | None = None,
        ends: bool = False,
    ) -> Written:
        """The program of a step on latents of this (T, H, W) that begins a clip, or goes on with one, for a
        board.

        Where programs depend on it, `seen` is how many latent frames came before, by default one or, where
        frames come late, as many as the state grows with; and the clip `ends` with these.
        """
        key = size, begins, board, None if begins else seen, ends and self.family.delay > 0
        if key not in self.written:
            self.written[key] = self.write(*key)
        return self.written[key]

    def write(
        self, size: tuple[int, int, int], begins: bool, board: str, seen: int | None, ends: bool
    ) -> Written:
        family, (latents, height, width) = self.family, size
        pieces = family.pieces(latents, begins)
        before = 0 if begins else seen or 1 + family.delay
        writer = Writer(board, self.arithmetic, pieces[0], begins, before, ends, self.laid_out)
        writer.parts = family.parts
        channels = filled(torch.empty(self.latent_channels, device="meta")).shape[0]
        zs = [writer.argument(named(i), (1, n, height, width, channels)) for i, n in enumerate(pieces)]
        videos = []
        for rows in family.rows(writer, zs):
            writer.place = FRAMES
            if rows is not None:
                videos.append(own_frames.write(writer, rows, family.patch, family.clamped, self.dtype))
        kept = {} if ends else writer.kept
        results = ({FRAMES: writer.concat(videos, 0)} if videos else {}) | kept
        returns = list(results.values())
        held = {a.value for a in writer.arguments if a.kind == "parameter"} | {*zs, *returns}
        made = program(writer.arguments, deallocated(writer.written(returns), held), returns, writer.chip)
        return Written(made, writer.weights, tuple(results))


def family_of(model: nn.Module) -> Family:
    """The model's family. Raises `Refused` for a class that isn't known."""
    kind = type(model).__name__
    if type(model) not in FAMILIES:
        names = (known.__name__ for known in FAMILIES if issubclass(known, ModelMixin))
        raise Refused("native", kind, f"for_tiles, or a decoder or autoencoder of {', '.join(names)}")
    model, rewrite = as_computed(model), FAMILIES[type(model)]
    family = IN_OPS[rewrite.tiles](*rewrite.arguments(model))
    check_as_built(model, family.follows, family.padding_modes)
    return family


def named(piece: int) -> str:
    """The argument of a step's latents, and of those that go through after them."""
    return LATENTS + f".{piece}" * (piece > 0)
