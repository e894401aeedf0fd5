"""HunyuanVideo's decoder in TT-NN's ops.

A stretch of latent frames is normalised as one, so a part has read all of it before the next begins. It goes
in pieces, the first of which is one frame: a piece is let go as soon as the next part has made its own.
"""

from collections.abc import Iterable, Iterator

from torch import nn

from ttvideo.decoders.clip_decoder import check_whole, keys
from ttvideo.decoders.hunyuan import HunyuanVideoTileDecoder, Stretches
from ttvideo.decoders.native_family import Family
from ttvideo.decoders.native_writer import STATE, Writer, whole_channels
from ttvideo.programs.own.frames import COLOURS
from ttvideo.programs.own.sizes import PAST
from ttvideo.programs.program import Value

Pieces = list[Value]
ROOM = 1 / 8  # of a chip's DRAM, for a piece behind its past: a stretch takes more than half of an n150's


class HunyuanVideo(Family):
    """A `HunyuanVideoDecoder3D` (diffusers), driven as `HunyuanVideoTileDecoder` drives it: in stretches that
    fade into each other, or, without `stretches`, a clip at once.

    [1, 16, T, H, W] -> [1, 3, 4 T - 3, 8 H, 8 W]. Its state are latent frames that the next stretch begins
    with, and rows of video frames that it fades in over, each latent frame's by themselves.
    """

    follows = HunyuanVideoTileDecoder.follows
    parts = 64

    def __init__(
        self, decoder: nn.Module, post_quant: nn.Module | None = None, stretches: Stretches | None = None
    ):
        tiles = HunyuanVideoTileDecoder(decoder, post_quant, stretches)  # which refuses what it doesn't know
        super().__init__(decoder, post_quant)
        self.stretches, self.scale, self.steps = stretches, tiles.scale, tiles.steps
        self.latent_channels, self.streaming = tiles.latent_channels, tiles.streaming
        self.delay = 1 if stretches is None else max(stretches.overlap - 1, 1)
        self.first = 1 if stretches is None else stretches.latents + 1

    def pieces(self, latents: int, begins: bool) -> list[int]:
        return [1] * latents

    def rows(self, writer: Writer, zs: Pieces) -> Iterator[Value]:
        cut, writer.latents = self.stretches, 1
        if cut is None:
            check_whole(None if writer.begins else {}, writer.ends)
        else:
            cut.check(len(zs), writer.begins, writer.ends)
        if cut is None or (writer.begins and writer.ends and len(zs) <= cut.latents):
            yield from self.stretch(writer, zs)
            return
        first, fading, (latents, video) = writer.begins, [], self.kept(zs[0])
        if not first:
            zs = [writer.argument(STATE + name, shape) for name, shape in latents.items()] + zs
            fading = [writer.argument(STATE + name, shape) for name, shape in video.items()]
        while len(zs) > (1 if writer.ends else cut.latents):
            next_fading, of = [], len(fading) * cut.frames
            new = self.stretch(writer, zs[: cut.latents + 1], first)
            for number, rows in enumerate(cut_anew(writer, new, cut.frames, first)):
                if number < len(fading):
                    rows = faded(writer, fading[number], rows, number * cut.frames, of)
                if number < cut.stride + first:
                    yield rows
                else:
                    next_fading.append(rows)
            zs, fading, first = zs[cut.stride :], next_fading, False
        if not writer.ends:
            writer.place = "latents"
            zs = [writer.op("ttnn.assign", [z], (z.type.shape, "bf16"))[0] for z in zs]
            writer.kept = dict(zip(latents, zs, strict=True)) | dict(zip(video, fading, strict=True))

    def kept(self, z: Value) -> tuple[dict[str, tuple], dict[str, tuple]]:
        """Names and shapes of the state's latent frames and of its video frames, for latents as this."""
        cut, size = self.stretches, z.type.shape[2:4]
        video_size = tuple(side * self.scale for side in size)
        rows = 1, cut.frames, *video_size, whole_channels(COLOURS)
        faded = keys("video", video_size, cut.latents - cut.stride)
        return dict.fromkeys(keys("latents", size, cut.overlap), z.type.shape), dict.fromkeys(faded, rows)

    def stretch(self, writer: Writer, zs: Pieces, whole: bool = True) -> Iterator[Value]:
        """Latent frames that are normalised as one -> rows of their video frames; without a first frame,
        where it isn't `whole`."""
        decoder, xs = self.decoder, [self.quantised(writer, z) for z in zs]
        writer.place = "conv_in"
        clips = [writer.concat([*behind(writer, xs, i), x], 1) for i, x in enumerate(xs)]
        xs, mid = [conv(writer, clip, decoder.conv_in) for clip in clips], decoder.mid_block
        xs = residual(writer, "mid_block.resnets.0", mid.resnets[0], xs)
        for i, (stock, resnet) in enumerate(zip(mid.attentions, mid.resnets[1:])):
            if stock is not None:
                xs = attention(writer, f"mid_block.attentions.{i}", stock, xs)
            xs = residual(writer, f"mid_block.resnets.{i + 1}", resnet, xs)
        for i, block in enumerate(decoder.up_blocks):
            for j, resnet in enumerate(block.resnets):
                xs = residual(writer, f"up_blocks.{i}.resnets.{j}", resnet, xs)
            for j, upsampler in enumerate(block.upsamplers or ()):
                xs = upsample(writer, f"up_blocks.{i}.upsamplers.{j}", upsampler, xs)
        for i, clip in enumerate(writer.clip_norm("conv_out", decoder.conv_norm_out, xs)):
            if i or whole:
                yield conv(writer, clip, decoder.conv_out)


def conv(writer: Writer, clip: Value, stock: nn.Module) -> Value:
    weight = stock.conv.weight
    return writer.conv(clip, weight, stock.conv.bias, padding=weight.shape[-1] // 2)


def behind(writer: Writer, xs: Pieces, i: int, count: int = PAST) -> Pieces:
    """The so many frames before a piece; before the first, of one frame, that again."""
    if i == 0:
        return xs[:1] * count
    before = xs[i - 1]
    frames = before.type.shape[1]
    if frames > count:
        return [writer.frames(before, frames - count, frames)]
    return [*(behind(writer, xs, i - 1, count - frames) if frames < count else ()), before]


def cut_anew(writer: Writer, pieces: Iterable[Value], count: int, alone: bool = False) -> Iterator[Value]:
    """A clip in pieces of so many frames each, but for the first where it stands `alone`, and the last."""
    held, frames = [], 0
    for number, piece in enumerate(pieces):
        if alone and number == 0:
            yield piece
            continue
        held, frames = [*held, piece], frames + piece.type.shape[1]
        if frames < count:
            continue
        whole, left = writer.concat(held, 1), frames % count
        for at in range(0, frames - left, count):
            yield whole if frames == count else writer.frames(whole, at, at + count)
        held, frames = [writer.frames(whole, frames - left, frames)] if left else [], left
    if held:
        yield writer.concat(held, 1)


def fitted(writer: Writer, xs: Pieces, times: int = 1, by: int = 1) -> Pieces:
    """In as few pieces, the first by itself, as there is room for, once frames stand so many `times` and are
    `by` times as high and wide."""
    frames, size = sum(x.type.shape[1] for x in xs[1:]), xs[0].type.stored_bytes * by * by
    most = max((int(writer.chip.dram_bytes * ROOM / size) - PAST) // times, 1)
    pieces = max(-(-frames // most), 1)
    return list(cut_anew(writer, xs, max(-(-frames // pieces), 1), alone=True))


def residual(writer: Writer, name: str, block: nn.Module, xs: Pieces) -> Pieces:
    """A `HunyuanVideoResnetBlockCausal3D`."""
    writer.place = name
    xs = fitted(writer, xs)
    ys, rests = [], xs if block.conv_shortcut is None else []
    for x, clip in zip(xs, writer.clip_norm(f"{name}.conv1", block.norm1, xs)):
        ys.append(conv(writer, clip, block.conv1))
        if block.conv_shortcut is not None:
            writer.place = f"{name}.conv_shortcut"
            rests.append(conv(writer, x, block.conv_shortcut))
    clips = writer.clip_norm(f"{name}.conv2", block.norm2, ys)
    return [writer.add(conv(writer, clip, block.conv2), rest) for clip, rest in zip(clips, rests)]


def attention(writer: Writer, name: str, stock: nn.Module, xs: Pieces) -> Pieces:
    """An `Attention` of one head: each frame sees itself and those before."""
    ys, keys, values, proj, writer.place = [], [], [], stock.to_out[0], name
    xs = list(cut_anew(writer, xs, 1))
    layers = [(layer.weight, layer.bias) for layer in (stock.to_q, stock.to_k, stock.to_v)]
    for x, normed in zip(xs, writer.clip_norm(name, stock.group_norm, xs, before=None, silu=False)):
        queries, key, value = writer.projected(normed, layers)
        keys, values = [*keys, key], [*values, value]
        seen = (writer.concat(each, 2, layout="tile") for each in (keys, values))
        ys.append(writer.attended(x, writer.attend(queries, *seen, proj), proj))
    return ys


def upsample(writer: Writer, name: str, block: nn.Module, xs: Pieces) -> Pieces:
    """A `HunyuanVideoUpsampleCausal3D`: each frame but the first twice, and higher and wider, then convolved.

    In as few pieces as there is room for. What stands before a piece is upsampled again, with it.
    """
    (times, by, _), writer.place = block.upsample_factor, name
    xs, ys = fitted(writer, xs, times, by), []
    for i, x in enumerate(xs):
        again = times if i else 1 + PAST
        clip = writer.concat([*behind(writer, xs, i, PAST // times), x], 1) if i else x
        ys.append(conv(writer, writer.depth_to_space(clip, repeats=(again, by, by)), block.conv))
    return ys


def faded(writer: Writer, old: Value, new: Value, begin: int, count: int) -> Value:
    """Rows going over from one stretch to the next, of which frames `begin` and on of so many are these."""
    writer.place = "fading"
    _, frames, height, width, channels = shape = new.type.shape
    flat = frames, height * width, channels
    old, new = writer.reshape(old, flat), writer.reshape(new, flat)
    shares = [writer.full((1, *flat[1:]), (begin + i) / count) for i in range(frames)]
    gone = writer.binary("multiply", writer.binary("subtract", new, old), writer.concat(shares, 0))
    return writer.reshape(writer.add(old, gone), shape)
