"""Numbers from a seed, how far two results are apart, and what is left of a model's 3D convolutions."""

import torch
from torch import Tensor, nn

from ttvideo import compare


def seeded(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def far(got: Tensor, want: Tensor) -> float:
    """The largest difference, relative to the largest number."""
    return compare(got, want).max_abs / want.abs().max().double().item()


def without_conv3d(model: nn.Module) -> bool:
    return not any(isinstance(part, (nn.Conv3d, nn.ConvTranspose3d)) for part in model.modules())
