"""LTX-Video's decoder, and LTX-2's, in TT-NN's ops.

A clip goes from part to part behind the two frames before it, which a residual block's first convolution,
once they are normalised again, and its shortcut both read. A convolution that looks ahead gives its frames
one later: where a clip begins, its first frame stands before it once instead of twice, and the shortcut takes
frames that came as much earlier. What the timestep says of each norm comes with the latents.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused
from ttvideo.decoders.clip_decoder import Shapes
from ttvideo.decoders.lookahead import CentredConv, Place
from ttvideo.decoders.ltx import Embedder, LTXTileDecoder, channels_last, picked, shifts
from ttvideo.decoders.native_family import Family
from ttvideo.decoders.native_writer import FIRST, ZEROS, Writer, parts_filled
from ttvideo.programs.own.sizes import PAST
from ttvideo.programs.program import TILE, Value

CONDITION = "input.temb."


class LTX(Family):
    """An `LTXVideoDecoder3d` or `LTX2VideoDecoder3d` (diffusers), as `LTXTileDecoder` streams it.

    [1, 128, T, H, W] -> [1, 3, 8 T - 7, 32 H, 32 W]; where convolutions look ahead, the first `delay` latent
    frames give no frame yet, and the last one all that are pending.
    """

    follows, padding_modes = LTXTileDecoder.follows, LTXTileDecoder.padding_modes

    def __init__(self, decoder: nn.Module):
        tiles = LTXTileDecoder(decoder)  # which refuses what it doesn't know
        super().__init__(decoder)
        self.ahead, self.delay, self.streaming = tiles.place.ahead, tiles.delay, tiles.streaming
        self.latent_channels, self.patch = tiles.latent_channels, tiles.patch
        self.reflects = tiles.reflects
        self.scale, self.timed = tiles.place.scale * tiles.patch, tiles.embedder is not None
        # After how many latent frames each convolution that looks ahead has seen one: an entry in the state.
        convs = (part.place for part in tiles.modules() if isinstance(part, CentredConv))
        self.begun = [place.lag // place.rate + 1 for place in convs]

    def seen(self, state: Shapes, size: tuple[int, int]) -> int | None:
        if not self.ahead:
            return None
        if not state:
            raise Refused("state", "an empty one: its clip has ended", "None, where a clip begins")
        entries = min(len(state), len(self.begun))
        return next(n for n in sorted(self.begun) if sum(one <= n for one in self.begun) >= entries)

    def conditions(self, temb: Tensor) -> dict[str, Tensor]:
        decoder, found = self.decoder, {}
        times = temb.float().flatten() * decoder.timestep_scale_multiplier.float()
        for name, block in blocks(decoder):
            embedded = Embedder(block.time_embedder).float()(times)
            for i, resnet in enumerate(block.resnets):
                both = shifts(embedded, resnet.scale_shift_table)
                found |= {f"{name}.resnets.{i}.norm{half}": of for half, of in enumerate(both, start=1)}
        embedded = Embedder(decoder.time_embedder).float()(times)
        (found["norm_out"],) = shifts(embedded, decoder.scale_shift_table)
        pairs = {name: torch.cat([1 + scale, shift]).bfloat16() for name, (shift, scale) in found.items()}
        return {CONDITION + name: F.pad(pair, (0, -pair.shape[1] % TILE)) for name, pair in pairs.items()}

    def write(self, writer: Writer, z: Value) -> Value | None:
        decoder, size = self.decoder, z.type.shape[2:4]
        if self.reflects and min(size) < 2:
            raise Refused("latents", f"{size[0]} x {size[1]}", "at least 2 x 2, for reflection")
        at = At(writer, Place(self.ahead), self.timed, self.reflects)
        x = at.conv("conv_in", at.behind("latents", z, edges=True), decoder.conv_in.conv)
        at = at.late(1)
        x = at.behind("conv_in", x)
        for name, block in blocks(decoder):
            if getattr(block, "conv_in", None) is not None:
                x, at = at.residual(f"{name}.conv_in", x, block.conv_in)
            for upsampler in getattr(block, "upsamplers", None) or ():
                x, at = at.upsample(f"{name}.upsamplers.0", x, upsampler)
            for i, resnet in enumerate(block.resnets):
                x, at = at.residual(f"{name}.resnets.{i}", x, resnet)
        x = at.norm("norm_out", x, decoder.norm_out, decoder.conv_out.in_channels)
        order = {"by": (1, self.patch, self.patch), "transposed": True}
        return at.conv("conv_out", x, decoder.conv_out.conv, lambda each: channels_last(each, **order))


@dataclass(frozen=True)
class At:
    """What is written of a clip where it is in the decoder: `place`. A clip, and what is made of it, is None
    as long as no frame has come there; `timed` norms are shifted and scaled by a timestep. Where padding
    `reflects`, what a convolution reads comes with its frames' edges."""

    writer: Writer
    place: Place
    timed: bool
    reflects: bool

    def late(self, convs: int) -> "At":
        return replace(self, place=self.place.after(convs))

    @property
    def begins(self) -> bool:
        """Whether no frame has come here before this step."""
        return not self.place.seen(self.writer.seen)

    def turn(self, name: str, behind: bool = False, edges: bool = False) -> None:
        """Have the writer be here: what it writes is put `behind` its past, or gets `edges`."""
        writer, ahead = self.writer, self.place.ahead and behind
        writer.place, writer.begins = name, self.begins
        writer.beyond = {"lead": 1} if ahead and self.begins else {}
        writer.beyond |= {"tail": 1} if ahead and writer.ends else {}
        writer.beyond |= {"reflected": True} if edges and self.reflects else {}

    def behind(
        self, name: str, x: Value | None, rest: Value | None = None, offset: int = 0, edges: bool = False
    ) -> Value | None:
        """x behind its past; with `rest`, the sum of both, x's first frame with rest's of number `offset`."""
        if x is None:
            return None
        self.turn(name, behind=True, edges=edges)
        if rest is None:
            return self.writer.after_past(x, FIRST)
        return self.writer.add_after_past(x, rest, FIRST, offset)

    def conv(
        self, name: str, clip: Value | None, stock: nn.Conv3d, order=lambda parameter: parameter
    ) -> Value | None:
        """Of a clip behind its past, with its edges: two frames fewer."""
        if clip is None or clip.type.shape[1] <= PAST:
            return None
        self.turn(name)
        padding = 0 if self.reflects else stock.kernel_size[1] // 2
        how = {"padding": padding, "around": ZEROS, "frames": self.place.rate}
        return self.writer.conv(clip, order(stock.weight), order(stock.bias), **how)

    def norm(
        self, name: str, x: Value | None, stock: nn.Module, channels: int, behind: bool = False
    ) -> Value | None:
        """An RMS norm, of what the timestep says of it, and SiLU, for a convolution; `behind` its past, or of
        what is given alone."""
        if x is None:
            return None
        self.turn(name, behind, edges=True)
        if self.timed:
            affine = self.writer.argument(CONDITION + name, (2, x.type.shape[-1]))
        else:
            ones = torch.ones(channels, dtype=torch.bfloat16)
            affine = self.writer.pair("norm", ones, 0 * ones, x.type.shape[-1])
        return self.writer.pixel_norm(x, affine, channels, stock.eps, FIRST if behind else None, silu=True)

    def residual(self, name: str, clip: Value | None, block: nn.Module) -> tuple[Value | None, "At"]:
        """An `LTXVideoResnetBlock3d`, or LTX-2's."""
        half, after = self.late(1), self.late(2)
        convs = block.conv1.conv, block.conv2.conv
        x = self.norm(f"{name}.norm1", clip, block.norm1, convs[0].in_channels)
        x = self.conv(f"{name}.conv1", x, convs[0])
        x = half.norm(f"{name}.norm2", x, block.norm2, convs[1].in_channels, behind=True)
        x = half.conv(f"{name}.conv2", x, convs[1])
        if x is None:
            return None, after
        rest = clip if block.conv_shortcut is None else self.shortcut(name, clip, block)
        offset = half.begins if self.place.ahead else PAST
        return after.behind(name, x, rest, int(offset)), after

    def shortcut(self, name: str, clip: Value, block: nn.Module) -> Value:
        """A layer norm, and a linear layer to other channels."""
        norm, conv = block.norm3, getattr(block.conv_shortcut, "conv", block.conv_shortcut)
        self.turn(f"{name}.norm3")
        affine = self.writer.pair("norm", norm.weight, norm.bias, clip.type.shape[-1])
        how = {"silu": False, "centred": True}
        clip = self.writer.pixel_norm(clip, affine, len(norm.weight), norm.eps, None, **how)
        self.turn(f"{name}.conv_shortcut")
        return self.writer.pointwise(clip, conv.weight.flatten(1), conv.bias, frames=self.place.rate)

    def upsample(self, name: str, clip: Value | None, block: nn.Module) -> tuple[Value | None, "At"]:
        """An `LTXVideoUpsampler3d`, or LTX-2's: depth to space, in time without a clip's very first frame."""
        times, by, _ = by_each = tuple(block.stride)
        late, order = (
            self.late(1),
            lambda parameter: parts_filled(channels_last(parameter, by_each), prod(by_each)),
        )
        after = replace(late, place=late.place.upsampled(by, times))
        x = clip
        if self.reflects and clip is not None:
            self.turn(name, edges=True)
            x = self.writer.after_past(clip, None)
        x = self.conv(name, x, block.conv.conv, order)
        if x is None:
            return None, after
        first = late.begins and times > 1
        x, rest, offset = self.writer.depth_to_space(x, by_each, single=first), None, 0
        if block.residual:
            self.turn(f"{name}.residual")
            picks = order(picked(block).bfloat16())
            bias = torch.zeros(len(picks), dtype=torch.bfloat16)
            rest = self.writer.pointwise(clip, picks, bias, frames=self.place.rate)
            rest = self.writer.depth_to_space(rest, by_each)
            offset = times * (PAST - self.place.ahead) + first * (times - 1)
        return after.behind(name, x, rest, offset), after


def blocks(decoder: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    yield "mid_block", decoder.mid_block
    for name, block in decoder.up_blocks.named_children():
        yield f"up_blocks.{name}", block
