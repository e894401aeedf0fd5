"""What do the compiler's options bring for a block and a step of the decoder: level 1, and what upstream's
bring-ups use?

The first residual block of the full-size decoder on one frame of 60×106, random weights, bf16: as diffusers
has it, and rewritten for tiles with the state of the frames before; and the whole steady step, for tiles.
Seconds are of the compiler's process, beside those of the same block without options; they are noisy, and
shown as a ratio.
"""

import time

import torch
from torch import nn

from findings.decoder_cost import case
from findings.unused import no_seconds
from ttvideo.decoders.clip_decoder import Memory
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
unused = no_seconds


class Tiles(nn.Module):
    """The block as `TileDecoder` runs it: a frame [H * W, C] and four frames of the past -> a frame, and the
    new past."""

    def __init__(self, decoder: TileDecoder):
        super().__init__()
        self.residual = decoder.blocks[0]

    def forward(self, frame, state=None):
        memory = Memory(SIZE, state)
        return self.residual([frame], memory)[0], memory.new


def blocks() -> dict[str, tuple[nn.Module, tuple[torch.Tensor, ...], dict]]:
    """Module, inputs, and what else `probe` takes."""
    stock = load_vae("random", 0).decoder.bfloat16()
    channels = stock.conv_in.out_channels
    tiles = Tiles(TileDecoder(stock))

    def zeros(*shape):
        return torch.zeros(shape, dtype=torch.bfloat16)

    z = zeros(1, stock.conv_in.in_channels, 1, *SIZE)
    step, how = case("tiles", stock, z)
    kept = [conv.state_shapes(SIZE) for conv in tiles.residual.convs]
    past = {name: zeros(1, *shape) for shapes in kept for name, shape in shapes.items()}
    return {
        "stock": (stock.block_in.resnets[0], (zeros(1, channels, 3, *SIZE),), {"result": 0}),
        "tiles": (tiles, (zeros(SIZE[0] * SIZE[1], channels),), {"state": past}),
        "tiles, a step": (step, (z,), how),
    }


def measure(block: str, module: nn.Module, inputs, how: dict, board: str, name: str) -> dict:
    began = time.monotonic()
    how = how | {"compiler_options": OPTIONS[name]}
    verdict = probe(module, inputs, f"{board}-compile", block, TIMEOUT_SECONDS, **how)
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
