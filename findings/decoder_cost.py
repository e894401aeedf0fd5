"""What does the Mochi decoder cost on a chip, as compiled: stock, with upstream's rewrites, and for tiles?

    python -m findings decoder_cost [--target p150-compile] [--step 1,12,1,60,106] [--clip 1,12,3,32,32]

For each case, DRAM moved, operations, peak, largest tensor and FLOPs a run, read off the compiled program
(see `ttvideo.programs.cost`). "step" is a latent frame of full resolution, "clip" a small one; "stock" and
"upstream" decode in one call. "tiles" is the steady step of a stream, which takes the state of the step
before and returns its own; "tiles first" the first step, which has none; "tiles without …" the steady step
with one rewrite off, "tiles, pairs at the last size" with pairs there alone. The weights are random, full
size, bf16.
"""

import torch
from torch import nn

from findings.without import REWRITES, without
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.decoders.upstream import upstream_decoder
from ttvideo.media.models import load_vae
from ttvideo.probing.probe import probe
from ttvideo.programs.cost import in_turn
from ttvideo.targets.boards import BOARDS

LAST_PAIRS = "tiles, pairs at the last size"
CASES = [
    "stock",
    "upstream",
    "tiles first",
    "tiles",
    LAST_PAIRS,
    *(f"tiles without {name}" for name in REWRITES),
]
KEYS = [("step", "cases", name) for name in CASES]
KEYS += [("clip", "cases", name) for name in ("stock", "upstream", "tiles first")]


def case(name: str, mochi: nn.Module, z_bcthw: torch.Tensor) -> tuple[nn.Module, dict]:
    """The module to compile, and what else `probe` takes: its state, or that its frames alone are wanted."""
    if not name.startswith("tiles"):
        return mochi if name == "stock" else upstream_decoder(mochi), {"result": 0}
    off = name.removeprefix("tiles without ")
    decoder = TileDecoder(mochi, packed_sizes=1) if name == LAST_PAIRS else without(off, mochi)
    if name == "tiles first":
        return decoder, {}
    batch, _, _, height, width = z_bcthw.shape
    shapes = decoder.state_shapes(batch, height, width)
    return decoder, {"state": {key: torch.zeros(shape, dtype=z_bcthw.dtype) for key, shape in shapes.items()}}


def measure(name: str, mochi: nn.Module, shape: list[int], target: str) -> dict:
    z = torch.randn(shape).to(torch.bfloat16)
    module, how = case(name, mochi, z)
    verdict = probe(module, (z,), target, name=name, **how)
    row = verdict.row() | {"shape": shape}
    if verdict.ttnn:
        seconds = {board: in_turn(verdict.cost, BOARDS[board]) for board in ("n150", "p150")}
        row |= {"seconds_in_turn": seconds}
    return row


def make(keys, target: str = "p150-compile", step: str = "1,12,1,60,106", clip: str = "1,12,3,32,32"):
    mochi = load_vae("random").decoder.to(torch.bfloat16).requires_grad_(False)
    shapes = {"step": step, "clip": clip}
    for key in keys:
        yield key, measure(key[-1], mochi, [int(n) for n in shapes[key[0]].split(",")], target)
