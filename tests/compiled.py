"""Programs that jax-tt-plugin 0.1.3 compiled for a p150, kept as text, with the modules they came from."""

import gzip
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_mochi import MochiDecoder3D, MochiResnetBlock3D
from torch import nn

DATA = Path(__file__).parent / "data"


class TapSum(nn.Module):
    """A causal 3×3×3 Conv3d as a sum of Conv2d; x [1, 32, 3, 16, 16]."""

    def __init__(self):
        super().__init__()
        self.taps = nn.ModuleList(nn.Conv2d(32, 64, 3, padding=1, bias=i == 2) for i in range(3))

    def forward(self, x):
        b, _, t, h, w = x.shape
        frames = torch.cat([x[:, :, :1], x[:, :, :1], x], 2).permute(0, 2, 1, 3, 4)
        parts = [tap(frames[:, k : k + t].flatten(0, 1)) for k, tap in enumerate(self.taps)]
        return sum(parts).reshape(b, t, -1, h, w).permute(0, 2, 1, 3, 4)


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.Linear(64, 96)

    def forward(self, x):
        return self.l(x)


SMALL_DECODER = dict(
    in_channels=12, out_channels=3, block_out_channels=(32, 32, 64, 64), layers_per_block=(1,) * 5
)

# name: module, input shape
CASES = {
    "conv3d": (lambda: nn.Conv3d(32, 64, 3, padding=1), (1, 32, 3, 16, 16)),
    "conv2d": (lambda: nn.Conv2d(32, 64, 3, padding=1), (1, 32, 16, 16)),
    "linear": (Linear, (2, 40, 64)),
    "tap_sum": (TapSum, (1, 32, 3, 16, 16)),
    "resnet": (lambda: MochiResnetBlock3D(64), (1, 64, 3, 16, 16)),
    "decoder": (lambda: MochiDecoder3D(**SMALL_DECODER), (1, 12, 2, 8, 8)),
}


def text(name: str) -> str:
    return gzip.decompress((DATA / f"{name}.mlir.gz").read_bytes()).decode()


def module_and_input(name: str) -> tuple[nn.Module, torch.Tensor]:
    """In bf16, seeded; biases and scales are not left at 0 and 1, or their loss wouldn't show."""
    torch.manual_seed(0)
    make, shape = CASES[name]
    module = make().eval()
    for tensor in module.parameters():
        if tensor.dim() == 1:
            tensor.data += 0.5 * torch.randn_like(tensor)
    return module.bfloat16(), torch.randn(shape).bfloat16()


def expected(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The module in float64, on the same bf16 weights and input."""
    with torch.inference_mode():
        out = module.double()(x.double())
    return out[0] if isinstance(out, tuple) else out
