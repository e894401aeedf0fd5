"""The Mochi decoder written in TT-NN's ops, one program for each kind of step: no compiler, no tiles on the way.

A clip is one tensor of rows of channels, [1, T, H, W, C], row-major, from the latents to the frames, as TT-NN's conv3d
takes and gives it, with the replicate padding of space in the kernel. What TT-NN has no row-major op for, or takes
several passes for, are four ops of the project's own (ttvideo/ttnn/host/own_ops.py): the norms' sums, their scale and shift,
norm and SiLU in one, and the pixel shuffle. Norm and SiLU write the clip behind the two frames of its past, so that the
convolution finds them in one tensor, and keep its last two for the next step: nothing else is copied.

Rounded to bf16: each op's result, the norms' scale and shift, the weights. In float32: sums, statistics, convolutions, but
of 32 channels, which are rounded once more before their bias.
"""

from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ttvideo.basics.errors import Refused
from ttvideo.decoders.clip_decoder import Shapes, State, check_step, split
from ttvideo.decoders.mochi_layout import Resnet, mochi_layout
from ttvideo.decoders.native_session import NativePrograms
from ttvideo.decoders.native_writer import PAST, Arithmetic, Writer, filled, past
from ttvideo.media.latents import DROPPED_FRAMES
from ttvideo.programs.evaluate import evaluate
from ttvideo.programs.program import Program
from ttvideo.targets.target import Target
from ttvideo.ttnn.handmade import deallocated, program

LATENTS, PREFIX = "input.z", "input.state."


@dataclass(frozen=True)
class Written:
    """A step's program, the weights that it takes, and the names of its results: "frames", then the state's entries."""

    program: Program
    weights: dict[str, Tensor] = field(repr=False)
    results: tuple[str, ...]


class NativeDecoder(nn.Module):
    """A `MochiDecoder3D` (diffusers) in TT-NN's ops, in bf16: `(z, state=None) -> (frames, state)`, like `TileDecoder`.

    Called, it evaluates its program on the host, for `board`; `stream_decode` runs it on a target of TT-NN's (n150-ttnn,
    p150-ttsim, ttnn ...). The state are the last two frames that each convolution saw, by its name and size:
    [B, 2, H, W, C], "block_in.resnets.0.conv1.60x106.past". One clip at a time, B = 1.

    Copies the decoder's weights, or an autoencoder's decoder's. Raises `Refused` for a module that isn't a Mochi
    decoder; as a step is written also for channels that aren't multiples of 32, or more than 1,024.
    """

    streaming = "constant state"
    dropped_frames = DROPPED_FRAMES
    steps = staticmethod(split)

    def __init__(self, decoder: nn.Module, board: str = "p150", arithmetic: Arithmetic = Arithmetic()):
        super().__init__()
        decoder = getattr(decoder, "decoder", decoder)
        mochi_layout(decoder)
        self.decoder = deepcopy(decoder).to(torch.bfloat16).requires_grad_(False)
        self.board, self.arithmetic = board, arithmetic
        self.written: dict[tuple, Written] = {}

    @property
    def latent_channels(self) -> int:
        return self.decoder.conv_in.in_channels

    def state_shapes(self, batch: int, height: int, width: int, latents: int | None = None) -> Shapes:
        """The state's names and shapes, for latents of this height and width."""
        shapes = {}
        for part in mochi_layout(self.decoder):
            if isinstance(part, Resnet):
                size = height * part.scale, width * part.scale
                shapes |= {past(name, size): (batch, PAST, *size, part.channels) for name, *_ in part.halves}
        return shapes

    def check(self, z_bcthw: Tensor, state: State | None = None) -> None:
        """Raise `Refused` for latents or a state of a wrong rank, size or type, and for several clips; reads no value."""
        check_step(z_bcthw, state, self.latent_channels, torch.bfloat16, self.state_shapes)
        if z_bcthw.shape[0] != 1:
            raise Refused("latents", f"{z_bcthw.shape[0]} clips", "one at a time")

    def forward(self, z_bcthw: Tensor, state: State | None = None, ends: bool = True) -> tuple[Tensor, State]:
        """Evaluate a step on the host: [1, 12, T, H, W] -> [1, 3, 6 T, 8 H, 8 W], and the state for the next step.

        `state` is None at the start of a clip; `ends` is other families' need to know. Raises `Refused` as `check` does.
        """
        return self.evaluate(z_bcthw, state, self.board)

    def evaluate(self, z_bcthw: Tensor, state: State | None, board: str) -> tuple[Tensor, State]:
        """The same, of the program for a board: blocks differ, and with them the order in which numbers are added up."""
        self.check(z_bcthw, state)
        written = self.step(tuple(z_bcthw.shape[2:]), state is None, board)
        found = evaluate(written.program, written.weights | self.inputs(z_bcthw, state))
        frames, *kept = found
        return self.frames(frames), dict(zip(written.results[1:], kept, strict=True))

    def inputs(self, z_bcthw: Tensor, state: State | None = None) -> State:
        """The latents as the program takes them, channels last and filled up; the state by its names there."""
        rows = filled(z_bcthw.permute(0, 2, 3, 4, 1))
        return {LATENTS: rows} | {PREFIX + name: value for name, value in (state or {}).items()}

    def frames(self, rows: Tensor) -> Tensor:
        """The program's frames, [1, T, H, W, 32], as a video: [1, 3, T, H, W]."""
        return rows[..., : self.decoder.proj_out.out_features].permute(0, 4, 1, 2, 3)

    def programs(self, target: Target, stateful: bool) -> NativePrograms:
        """What runs where others' compiled programs do (see `ttvideo.probing.probe.open_session`)."""
        return NativePrograms(self, target, stateful)

    def step(self, size: tuple[int, int, int], begins: bool, board: str) -> Written:
        """The program of a step on latents of this (T, H, W) that begins a clip, or goes on with one, for a board."""
        key = size, begins, board
        if key not in self.written:
            self.written[key] = self.write(size, begins, board)
        return self.written[key]

    def write(self, size: tuple[int, int, int], begins: bool, board: str) -> Written:
        writer, decoder = Writer(board, self.arithmetic, size[0]), self.decoder
        latents = torch.empty(1, self.latent_channels, *size, device="meta")
        z = writer.argument(LATENTS, tuple(self.inputs(latents)[LATENTS].shape))
        if not begins:
            shapes = self.state_shapes(1, *size[1:])
            writer.pasts = {name: writer.argument(PREFIX + name, shape) for name, shape in shapes.items()}
        writer.place = "conv_in"
        x = writer.pointwise(z, decoder.conv_in.weight.flatten(1), decoder.conv_in.bias)
        x = writer.parts(mochi_layout(decoder), x, ends=True)
        writer.place = "proj_out"
        frames = writer.pointwise(x, decoder.proj_out.weight, decoder.proj_out.bias)
        returns = [frames, *writer.kept.values()]
        held = {a.value for a in writer.arguments if a.kind == "parameter"} | {z}
        made = program(writer.arguments, deallocated(writer.ops, held | set(returns)), returns, writer.chip)
        return Written(made, writer.weights, ("frames", *writer.kept))
