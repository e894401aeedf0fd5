"""What do the compiler's options bring for a block and a step of the decoder: level 1, and what upstream's bring-ups use?

    python -m findings compile_options [--boards n150,p150] [--options default;level 1;…] [--out FILE]

The first residual block of the full-size decoder on one frame of 60×106, random weights, bf16: as diffusers has it, and
rewritten for tiles with the state of the frames before; and the whole steady step, for tiles. Seconds are of the compiler's process, beside those of the same
block without options; they are noisy, and shown as a ratio. Ten minutes.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from torch import nn

from findings.decoder_cost import case
from lib.stored import store
from ttvideo.decoders.group_norm import group_norm_silu
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.media.models import load_vae
from ttvideo.probing.probe import probe

SIZE = 60, 106
LEVEL = {"optimization_level": 1}
# What tt-xla's issues on video autoencoders compile with: #6048, #6049, #6051.
UPSTREAM = LEVEL | {"enable_const_eval": False, "experimental-enable-dram-space-saving-optimization": True}
OPTIONS = {"default": {}, "level 0": {"optimization_level": 0}, "level 1": LEVEL, "upstream's": UPSTREAM}
TIMEOUT_SECONDS = 900


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


def blocks() -> dict[str, tuple[nn.Module, tuple[torch.Tensor, ...], dict]]:
    """Module, inputs, and what else `probe` takes."""
    stock = load_vae("random", 0).decoder.bfloat16()
    channels = stock.conv_in.out_channels
    tiles = Tiles(TileDecoder(stock))

    def zeros(*shape):
        return torch.zeros(shape, dtype=torch.bfloat16)

    z = zeros(1, stock.conv_in.in_channels, 1, *SIZE)
    step, how = case("tiles", stock, z)
    past = [zeros(1, *tiles.convs[0].past_shape(SIZE)) for _ in range(4)]
    return {
        "stock": (stock.block_in.resnets[0], (zeros(1, channels, 3, *SIZE),), {"result": 0}),
        "tiles": (tiles, (zeros(SIZE[0] * SIZE[1], channels), *past), {}),
        "tiles, a step": (step, (z,), how),
    }


def measure(block: str, module: nn.Module, inputs, how: dict, board: str, name: str) -> dict:
    began = time.monotonic()
    how = how | {"compiler_options": OPTIONS[name]}
    verdict = probe(module, inputs, f"{board}-compile", block, TIMEOUT_SECONDS, **how)
    cost = verdict.cost if verdict.ttnn else None
    return {
        "block": block, "board": board, "name": name, "options": OPTIONS[name],
        "status": verdict.status, "stage": verdict.stage, "message": (verdict.message or "")[:300],
        "seconds": round(time.monotonic() - began, 1),
        "ops": cost and len(cost.ops),
        "dram_bytes_moved": cost and cost.dram_bytes_moved,
        "peak_dram_bytes": cost and cost.peak_dram_bytes,
        "const_eval_bytes_moved": cost and cost.const_eval_bytes_moved,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--boards", default="n150,p150")
    parser.add_argument("--options", default=";".join(OPTIONS), help="names, with ; between them")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for block, (module, inputs, how) in blocks().items():
        for board in options.boards.split(","):
            for name in options.options.split(";"):
                rows.append(measure(block, module, inputs, how, board, name))
                print(rows[-1], file=sys.stderr, flush=True)
                store("compile_options", {"shape": [1, *SIZE], "rows": rows}, options.out)


if __name__ == "__main__":
    main()
