"""What do the compiler's options bring for a block and a step of the decoder: level 1, and what upstream's bring-ups use?

    python -m findings compile_options

The first residual block of the full-size decoder on one frame of 60×106, random weights, bf16: as diffusers
has it, and rewritten for tiles with the state of the frames before; and the whole steady step, for tiles.
Seconds are of the compiler's process, beside those of the same block without options; they are noisy, and
shown as a ratio.
"""

import time

import torch
from torch import nn

from findings.decoder_cost import case
from ttvideo.decoders.group_norm import group_norm_silu
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.media.models import load_vae
from ttvideo.probing.probe import probe

SIZE = 60, 106
LEVEL = {"optimization_level": 1}
# What tt-xla's issues on video autoencoders compile with: #6048, #6049, #6051.
UPSTREAM = LEVEL | {"enable_const_eval": False, "experimental-enable-dram-space-saving-optimization": True}
OPTIONS = {"default": {}, "level 0": {"optimization_level": 0}, "level 1": LEVEL, "upstream's": UPSTREAM}
FIGURES = "status stage ops dram_bytes_moved peak_dram_bytes const_eval_bytes_moved".split()
TIMEOUT_SECONDS = 900
KEYS = [
    ("rows", {"block": block, "board": board, "name": name})
    for block in ("stock", "tiles", "tiles, a step")
    for board in ("n150", "p150")
    for name in OPTIONS
]


class Tiles(nn.Module):
    """The block as `TileDecoder` runs it: a frame [H * W, C] and four frames of the past -> a frame, and the new past."""

    def __init__(self, decoder: TileDecoder):
        super().__init__()
        self.norms = nn.ModuleList(list(decoder.norms.values())[:2])
        self.convs = nn.ModuleList(list(decoder.convs.values())[:2])

    def forward(self, frame, *past):
        x, new = [frame], []
        for norm, conv, seen in zip(self.norms, self.convs, (past[:2], past[2:])):
            x, kept = conv(group_norm_silu(x, norm), SIZE, list(seen))
            new += kept
        return x[0] + frame, *new


class Stock(nn.Module):
    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x_bcthw):
        return self.block(x_bcthw)[0]


def blocks() -> dict[str, tuple[nn.Module, tuple[torch.Tensor, ...]]]:
    """Module and inputs."""
    stock = load_vae("random", 0).decoder.bfloat16()
    channels = stock.conv_in.out_channels
    tiles = Tiles(TileDecoder(stock))

    def zeros(*shape):
        return torch.zeros(shape, dtype=torch.bfloat16)

    step = case("tiles", stock, zeros(1, stock.conv_in.in_channels, 1, *SIZE))
    past = [zeros(1, *tiles.convs[0].past_shape(SIZE)) for _ in range(4)]
    return {
        "stock": (Stock(stock.block_in.resnets[0]), (zeros(1, channels, 3, *SIZE),)),
        "tiles": (tiles, (zeros(SIZE[0] * SIZE[1], channels), *past)),
        "tiles, a step": step,
    }


def measure(block: str, module: nn.Module, inputs, board: str, name: str) -> dict:
    began = time.monotonic()
    verdict = probe(module, inputs, f"{board}-compile", block, TIMEOUT_SECONDS, options=OPTIONS[name])
    row = verdict.row()
    return {
        "options": OPTIONS[name],
        **{figure: row.get(figure) for figure in FIGURES},
        "message": (verdict.message or "")[:300],
        "seconds": round(time.monotonic() - began, 1),
    }


def make(keys):
    modules = blocks()
    for key in keys:
        block, board, name = key[-1].values()
        yield key, measure(block, *modules[block], board, name)
