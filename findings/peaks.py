"""How far is the peak of DRAM that ttvideo.programs.cost computes from what TT-NN's allocator says, on both
boards?

Each program is compiled for the board and executed op by op by TT-NN on the mocked board; after each op its
allocator is asked (`get_memory_view`). Computed is the peak of live buffers, as the program's text has them,
a probe's inputs from begin to end, and of the maps of its reshapes, which stay in DRAM from the first run on
(`first_run_on_ttnn`). What an op holds only while it runs is in neither figure.
"""

import torch
from diffusers.models.autoencoders.autoencoder_kl_mochi import MochiResnetBlock3D
from torch import nn
from torch.nn import functional as F

from ttvideo.decompositions.decompose import decompose
from ttvideo.probing.probe import probe
from ttvideo.programs.cost import first_run_on_ttnn


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *x):
        return self.function(*x)


class Residual(nn.Module):
    """A chain with a long-lived operand."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Linear(width, width)

    def forward(self, x):
        y = self.first(F.silu(self.norm(x)))
        return x + self.second(y.movedim(1, -1)).movedim(-1, 1)


def shuffle(x):
    """Depth to space as the Mochi decoder writes it, with a last dimension of 2."""
    b, c, t, h, w = x.shape
    x = x.view(b, c // 12, 3, 2, 2, t, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(b, c // 12, 3 * t, 2 * h, 2 * w)


def decomposed(name: str, width: int, out: int):
    return decompose(nn.Sequential(nn.Conv3d(width, out, 3, padding=1)), name)[0]


PROGRAMS = {
    "add": lambda: (Function(lambda x: x + x.flip(0)), (4, 512, 512)),
    "silu": lambda: (nn.SiLU(), (4, 512, 512)),
    "softmax": lambda: (nn.Softmax(-1), (4, 512, 512)),
    "mean": lambda: (Function(lambda x: x.mean(1)), (4, 512, 512)),
    "permute": lambda: (Function(lambda x: x.permute(2, 0, 1).contiguous()), (64, 48, 40)),
    "concatenation": lambda: (Function(lambda x: torch.cat([x, x[:, :100]], 1)), (2, 512, 256)),
    "product with itself": lambda: (Function(lambda x: x.transpose(1, 2) @ x), (3, 1024, 128)),
    "linear": lambda: (nn.Linear(512, 1024), (8, 1000, 512)),
    "linear, silu, linear": lambda: (
        nn.Sequential(nn.Linear(64, 256), nn.SiLU(), nn.Linear(256, 64)),
        (1, 4096, 64),
    ),
    "conv2d": lambda: (nn.Conv2d(64, 128, 3, padding=1), (2, 64, 48, 48)),
    "conv2d, 128 channels": lambda: (nn.Conv2d(128, 128, 3, padding=1), (1, 128, 40, 56)),
    "conv2d, stride 2": lambda: (nn.Conv2d(32, 64, 3, stride=2, padding=1), (1, 32, 64, 64)),
    "group norm": lambda: (nn.GroupNorm(8, 64), (3, 64, 64, 64)),
    "group norm, 128 channels": lambda: (nn.GroupNorm(32, 128), (1, 128, 48, 40)),
    "residual": lambda: (Residual(64), (2, 64, 48, 48)),
    "pixel shuffle": lambda: (Function(shuffle), (1, 96, 3, 24, 24)),
    "conv3d": lambda: (nn.Conv3d(32, 64, 3, padding=1), (1, 32, 3, 24, 24)),
    "conv3d, 64 channels": lambda: (nn.Conv3d(64, 64, 3, padding=1), (1, 64, 4, 16, 20)),
    "conv3d as a sum": lambda: (decomposed("sum", 32, 64), (1, 32, 3, 24, 24)),
    "conv3d as one conv2d": lambda: (decomposed("stacked", 32, 64), (1, 32, 3, 24, 24)),
    "Mochi's ResNet block": lambda: (MochiResnetBlock3D(64), (1, 64, 3, 16, 16)),
}
MADE_WITH = ("ttnn",)
KEYS = [("rows", {"program": name, "board": board}) for board in ("n150", "p150") for name in PROGRAMS]


def measure(name: str, board: str) -> dict:
    module, shape = PROGRAMS[name]()
    x = torch.zeros(shape, dtype=torch.bfloat16)
    verdict = probe(module.eval().bfloat16(), (x,), f"{board}-ttnn", name=name)
    if not verdict.ran:
        return verdict.row()
    computed = first_run_on_ttnn(verdict.program)
    return verdict.row() | {
        "computed_bytes": computed,
        "reshape_map_bytes": verdict.cost.reshape_map_bytes,
        "computed_over_allocator": round(computed / verdict.ran.peak_dram_bytes, 4),
    }


def make(keys):
    for key in keys:
        yield key, measure(*key[-1].values())
