"""How long do ops take on a card, by published times, and how far off is the model that was fitted to them?

Errors on rows and on models that weren't fitted (`findings/fitting.py` fits), and whole decoders, expected
and published, each with what the expectation leaves out. `python -m findings card_seconds` compares times of
a card of yours.
"""

import math
from dataclasses import dataclass, replace

import torch
from diffusers import AutoencoderKLMochi

from findings.fitting import document
from findings.unused import other_families
from ttvideo.decoders.native import NativeDecoder
from ttvideo.programs.conv3d_blocks import Blocks, Size
from ttvideo.programs.program import TILE
from ttvideo.programs.seconds import expected_program, expected_work
from ttvideo.programs.seconds.rows import Row, read_rows
from ttvideo.programs.seconds.work import Machine, Moved, Work, bytes_work, conv3d_work, machine
from ttvideo.targets.boards import BLACKHOLE

BF16 = 2
# Wan 2.1's VAE, 81 frames of 1280×720 on 4×8 chips: seconds in a trace, by fidelity (tenstorrent/tt-metal PR
# #45975, 2026-06).
WAN_SECONDS = {"hifi2": 0.479077, "hifi4": 0.558722}
WAN_LEFT_OUT = (
    "halos between the chips, the attention in the middle, what gathers and crops the frames, and the host; "
    "in HiFi4 the blocks of HiFi2, where the published run had older ones"
)
# tt_dit's limits for Mochi's VAE, 168 frames of 848×480: chips and seconds (tenstorrent/tt-metal, its CI;
# #46084 measured 68 s on the last).
MOCHI_LIMITS = (("n150", 8, 55.0), ("p150", 4, 90.0), ("n150", 32, 22.0))
MOCHI_FRAMES = 28  # latent
MOCHI_LEFT_OUT = (
    "limits and not times, for another program than this project's; halos, gathering and the host"
)


@dataclass(frozen=True)
class Conv:
    """`times` convolutions of a chip's share; output (t, h, w). `norm`: behind a norm with SiLU."""

    times: int
    c_in: int
    c_out: int
    kernel: tuple[int, int, int]
    out: tuple[int, int, int]
    norm: bool = True


# Frames, rows, columns of one chip of 4×8.
LEVELS = ((21, 23, 20), (41, 46, 40), (81, 92, 80), (81, 184, 160))
IN_SPACE, IN_TIME, ALL = (1, 3, 3), (3, 1, 1), (3, 3, 3)


def wan_convolutions() -> list[Conv]:
    """Wan 2.1's decoder at base 96: two resnets in the middle, three a level, upsamplers between."""
    first, second, third, last = LEVELS
    frames = tuple((level[0] - 1, *level[1:]) for level in LEVELS)
    return [
        Conv(1, 32, 384, ALL, first, norm=False),
        Conv(10, 384, 384, ALL, first),
        Conv(1, 384, 768, IN_TIME, frames[0], norm=False),
        Conv(1, 384, 192, IN_SPACE, second, norm=False),
        Conv(1, 192, 384, ALL, second),
        Conv(5, 384, 384, ALL, second),
        Conv(1, 384, 768, IN_TIME, frames[1], norm=False),
        Conv(1, 384, 192, IN_SPACE, third, norm=False),
        Conv(6, 192, 192, ALL, third),
        Conv(1, 192, 96, IN_SPACE, last, norm=False),
        Conv(6, 96, 96, ALL, last),
        Conv(1, 96, 3, ALL, last),
    ]


def published_blocks(rows: list[Row], conv: Conv) -> Blocks:
    """Those of the measured convolution of these channels and kernel whose output is nearest in size."""
    found = []
    for row in rows:
        if row.op != "conv3d" or row.given["state"] != "2026-06":
            continue
        stated = (row.given[name].split("x") for name in ("in0", "out", "kernel", "blocks"))
        into, out, kernel, blocks = (tuple(map(int, sizes)) for sizes in stated)
        if (into[3], out[3], kernel) == (conv.c_in, conv.c_out, conv.kernel):
            found.append((abs(math.log(math.prod(out[:3]) / math.prod(conv.out))), blocks))
    if not found:  # 192 to 96 within a frame: as 192 to 192
        return published_blocks(rows, replace(conv, c_out=192, kernel=IN_SPACE))
    return Blocks(*min(found)[1])


def conv_works(conv: Conv, blocks: Blocks, on: Machine, fidelity: str) -> list[Work]:
    """The convolution; where a norm goes before it, that and its SiLU on tiles, to rows, and the result to
    tiles; half an add."""
    whole = -(-conv.c_out // TILE) * TILE
    blocks = replace(blocks, c_out=min(blocks.c_out, whole) if whole % blocks.c_out == 0 else whole)
    found = [conv3d_work(Size(conv.out, conv.c_in, whole, conv.kernel, (0, 0, 0)), blocks, on, fidelity)]
    if not conv.norm:
        return found
    pixels = math.prod(conv.out)
    tiles = [-(-pixels // TILE) * -(-c // TILE) for c in (conv.c_in, conv.c_out)]
    before, after = (count * TILE**2 * BF16 for count in tiles)
    return found + [
        bytes_work("elementwise", Moved(2 * before, 2 * tiles[0]), on),
        bytes_work("elementwise", Moved(2 * before, 2 * tiles[0], hard=tiles[0]), on),
        bytes_work("untilize", Moved(2 * before, tiles[0], pixels), on),
        bytes_work("tilize", Moved(2 * after, tiles[1], pixels), on),
        bytes_work("elementwise", Moved(3 * after / 2, 3 * tiles[1] // 2), on),
    ]


def wan(fidelity: str, rows: list[Row]) -> dict:
    """Seconds of one chip's share of Wan's decoder at 720p on 4×8 chips."""
    on, total, by_kind = machine(BLACKHOLE), [0.0] * 3, {}
    for conv in wan_convolutions():
        for work in conv_works(conv, published_blocks(rows, conv), on, fidelity):
            time = expected_work(work)
            by_kind[work.kind] = by_kind.get(work.kind, 0.0) + conv.times * time.us / 1e6
            for i, us in enumerate((time.us, time.low_us, time.high_us)):
                total[i] += conv.times * us / 1e6
    return _against(
        f"Wan 2.1 VAE decode, 720p, 4x8 chips, {fidelity}", total, WAN_SECONDS[fidelity], WAN_LEFT_OUT
    ) | {"by_kind": {kind: round(s, 4) for kind, s in by_kind.items()}}


def mochi() -> list[dict]:
    """This project's native program, a latent frame at a time, were its frames shared out evenly."""
    with torch.device("meta"):
        decoder = NativeDecoder(AutoencoderKLMochi())
    found = []
    for board, chips, limit in MOCHI_LIMITS:
        step = expected_program(decoder.step((1, 60, 106), False, board).program)
        share = MOCHI_FRAMES / chips
        starts = step.traced_start_seconds
        times = [share * (seconds + starts) for seconds in (step.kernel_seconds, step.low, step.high)]
        what = f"Mochi VAE decode, 480x848, 168 frames, {chips} chips ({board}'s)"
        found.append(_against(what, times, limit, MOCHI_LEFT_OUT))
    return found


def whole_things(rows: list[Row]) -> list[dict]:
    return [wan("hifi2", rows), wan("hifi4", rows), *mochi()]


def _against(what: str, times: list[float], published: float, not_in_it: str) -> dict:
    found = dict(zip(("expected", "low", "high"), (round(seconds, 4) for seconds in times), strict=True))
    ratio = {"expected_over_published": round(found["expected"] / published, 3), "not_in_it": not_in_it}
    return {"what": what, "published": published} | found | ratio


KEYS = [(part,) for part in ("errors", "large", "carried", "other_kernels", "whole")]


def unused(key) -> set[str]:
    return other_families("AutoencoderKLMochi")


def make(keys):
    rows = read_rows()
    found = document(rows) | {"whole": whole_things(rows)}
    for key in keys:
        yield key, found[key[0]]
