"""How far does the stock decoder get on a mocked n150 and p150, and what stops it?

Compiled for the board and executed op by op by TT-NN on the mocked board: its op checks, its allocators, its
kernel builds. The weights are random, full size, in bf16.
"""

import torch

from findings.decoder_cost import case
from ttvideo.media.models import load_vae
from ttvideo.probing.probe import probe
from ttvideo.programs.cost import first_run_on_ttnn

MADE_WITH = ("ttnn",)
KEYS = [("rows", {"case": "stock", "shape": "1,12,14,60,106", "board": board}) for board in ("n150", "p150")]


def measure(name: str, shape: str, board: str, mochi: torch.nn.Module) -> dict:
    z = torch.zeros([int(n) for n in shape.split(",")], dtype=torch.bfloat16)
    module, how = case(name, mochi, z)
    verdict = probe(module, (z,), f"{board}-ttnn", name=name, **how)
    return verdict.row() | ({"computed_bytes": first_run_on_ttnn(verdict.program)} if verdict.ttnn else {})


def make(keys):
    mochi = load_vae("random").decoder.to(torch.bfloat16).requires_grad_(False)
    for key in keys:
        yield key, measure(*key[-1].values(), mochi)
