"""How close each compiled program is to float64, and what it costs: evaluated on the host, op by op.

    python -m findings accuracy [--target p150-compile]

Weights and inputs are random, in bf16; float64 gets the same bf16 values, so a difference is the program's
own. "full" is the 362.5 M-parameter decoder, on [1, 12, 1, 16, 16]: minutes and 4 GB each.
"""

from copy import deepcopy

import torch
from diffusers.models.autoencoders.autoencoder_kl_mochi import MochiResnetBlock3D
from torch import nn

from ttvideo.basics.compare import compare
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.media.models import load_vae
from ttvideo.probing.probe import probe
from ttvideo.programs.cost import roofline
from ttvideo.targets.boards import BOARDS


def decoder(model: str, tiles: bool) -> nn.Module:
    stock = load_vae(model).decoder
    return TileDecoder(stock) if tiles else stock


# Module, shape of its input, and the item of what it returns that is compared.
CASES = {
    "Conv3d 3×3×3": lambda: (nn.Conv3d(64, 64, 3, padding=1), (1, 64, 3, 16, 16), None),
    "Conv2d 3×3": lambda: (nn.Conv2d(64, 64, 3, padding=1), (3, 64, 16, 16), None),
    "Linear": lambda: (nn.Linear(12, 768), (768, 12), None),
    "ResNet block": lambda: (MochiResnetBlock3D(64), (1, 64, 3, 16, 16), 0),
    "small decoder, stock": lambda: (decoder("small", False), (1, 12, 3, 8, 8), 0),
    "small decoder, tiles": lambda: (decoder("small", True), (1, 12, 3, 8, 8), 0),
    "full decoder, stock": lambda: (decoder("random", False), (1, 12, 1, 16, 16), 0),
    "full decoder, tiles": lambda: (decoder("random", True), (1, 12, 1, 16, 16), 0),
}
KEYS = [("cases", name) for name in CASES]


@torch.no_grad()
def measure(name: str, target: str) -> dict:
    torch.manual_seed(0)
    module, shape, result = CASES[name]()
    module, x = module.bfloat16().eval(), torch.randn(shape).bfloat16()
    verdict = probe(module, (x,), target, name=name, evaluate=True, result=result)
    want = deepcopy(module).double()(x.double())
    close = compare(verdict.outputs.double(), want if result is None else want[result])
    names = {op.name for f in verdict.program.functions.values() for op in f.ops}
    return verdict.row() | {
        "pcc": close.pcc,
        "max_abs": close.max_abs,
        "kinds_of_op": len(names),
        "roofline": {board: roofline(verdict.cost, BOARDS[board]).as_dict() for board in ("n150", "p150")},
    }


def make(keys, target: str = "p150-compile"):
    for key in keys:
        yield key, measure(key[-1], target)
