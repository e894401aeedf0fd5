"""Each kind of block of a native decoder as a program of its own, beside diffusers' module in float64."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ttvideo.decoders import native_mochi
from ttvideo.decoders.mochi_layout import mochi_layout
from ttvideo.decoders.native_writer import Arithmetic, Writer, filled
from ttvideo.programs.program import Op, Program, Value
from ttvideo.ttnn.chip import Chip
from ttvideo.ttnn.handmade import program, tensor


@dataclass(frozen=True)
class Part:
    """A kind of block: what torch makes of [1, C, T, H, W], and what writes it, of rows of channels."""

    channels: int
    out_channels: int
    in_torch: Callable[[Tensor], Tensor]
    write: Callable[[Writer, Value], Value]

    def program(
        self, x_bcthw: Tensor, board: str, arithmetic: Arithmetic = Arithmetic()
    ) -> tuple[Program, dict[str, Tensor]]:
        """For a clip that begins, and its arguments; what it gives is [1, T, H, W, C], C filled up to a
        tile."""
        rows = filled(x_bcthw.permute(0, 2, 3, 4, 1))
        writer = Writer(board, arithmetic)
        y = self.write(writer, writer.argument("x", tuple(rows.shape)))
        return program(writer.arguments, writer.written([y]), [y], writer.chip), writer.weights | {"x": rows}

    def on(self, chip: Chip, x_bcthw: Tensor, arithmetic: Arithmetic = Arithmetic()) -> Tensor:
        """What the chip makes of it."""
        y = chip.run(*self.program(x_bcthw, chip.target.board.name, arithmetic)).outputs[0]
        return y.movedim(-1, 1)[:, : self.out_channels]


def parts(decoder: nn.Module) -> dict[str, Part]:
    """The kinds of block of a `MochiDecoder3D`, by their names and channels, with its weights in bf16."""
    decoder = deepcopy(decoder).bfloat16().requires_grad_(False)
    exact = deepcopy(decoder).double()
    conv_in, out = decoder.conv_in, decoder.proj_out
    first, last = conv_in.in_channels, conv_in.out_channels

    def write_in(writer: Writer, x: Value) -> Value:
        return writer.pointwise(x, conv_in.weight.flatten(1), conv_in.bias)

    found = {f"conv_in, {first} to {last}": Part(first, last, exact.conv_in, write_in)}
    layout = mochi_layout(decoder)
    for i, (up, in_float64) in enumerate(zip(decoder.up_blocks, exact.up_blocks, strict=True)):
        block = [part for part in layout if part.name.startswith(f"up_blocks.{i}")]
        channels, resnet = up.proj.in_features, in_float64.resnets[0]
        expansion = up.temporal_expansion, up.spatial_expansion, up.spatial_expansion
        found[f"resnet, {channels}"] = Part(
            channels,
            channels,
            lambda x, r=resnet: r(x)[0],
            lambda w, x, r=block[0]: native_mochi.resnet(w, r, x),
        )
        by, out_channels = "×".join(map(str, expansion)), up.proj.out_features // math.prod(expansion)
        found[f"up block, {channels} to {out_channels}, pixels {by}"] = Part(
            channels,
            out_channels,
            lambda x, b=in_float64: b(x)[0],
            lambda w, x, b=block: native_mochi.parts(w, b, x),
        )

    def ends(x: Tensor) -> Tensor:
        return exact.proj_out(nn.functional.silu(exact.block_out(x)[0]).movedim(1, -1)).movedim(-1, 1)

    def write_ends(writer: Writer, x: Value) -> Value:
        x = native_mochi.parts(writer, [p for p in layout if p.name.startswith("block_out")], x, ends=True)
        writer.place = "proj_out"
        return writer.pointwise(x, out.weight, out.bias)

    found[f"block_out and proj_out, {out.in_features} to {out.out_features}"] = Part(
        out.in_features, out.out_features, ends, write_ends
    )
    return found


def convolution(channels: int, c_in: int) -> Part:
    """3x3x3 in blocks of `c_in` input channels, random weights, on frames with the two before them: of T it
    gives T - 2."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(channels, channels, 3, 3, 3, generator=generator)
    weight = weight.div((27 * channels) ** 0.5).bfloat16()
    bias = torch.randn(channels, generator=generator).bfloat16()

    def in_torch(x: Tensor) -> Tensor:
        padded = nn.functional.pad(x, (1, 1, 1, 1, 0, 0), mode="replicate")
        return nn.functional.conv3d(padded, weight.to(x.dtype), bias.to(x.dtype))

    def write(writer: Writer, x: Value) -> Value:
        return writer.conv(x, weight, bias, padding=1, c_in=c_in)

    return Part(channels, channels, in_torch, write)


def in_block_floats(where: str, board: str) -> tuple[Program, dict[str, Tensor]]:
    """A convolution with its "weights" or its "activations" in bfloat8_b: the program and its arguments."""
    writer, block = Writer(board, Arithmetic()), {"weights": 1, "activations": 0}[where]
    x = tensor("x", (1, 3, 8, 8, 64), layout="row_major" if block else "tile")
    writer.given(x, "x", "input")
    writer.conv(x, torch.zeros(64, 64, 3, 3, 3).bfloat16(), torch.zeros(64).bfloat16(), padding=1)
    (conv,) = writer.ops
    was = conv.operands[block]
    less = tensor("less", was.type.shape, "bfp_bf8")
    operands = tuple(less if value is was else value for value in conv.operands)
    typecast = Op("ttnn.typecast", (was,), (less,), {}, where)
    ops = [typecast, Op(conv.name, operands, conv.results, conv.attributes, where)]
    arguments = writer.weights | {"x": torch.zeros(x.type.shape).bfloat16()}
    return program(writer.arguments, ops, None, writer.chip), arguments
