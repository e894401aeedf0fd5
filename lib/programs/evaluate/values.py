"""Tensors as a program stores them."""

import torch

from lib.basics.errors import Refused
from lib.programs.program import TensorType

# torch's unsigned types wider than 8 bits have few ops; the next wider signed type holds the same values.
# Block-float types are missing on purpose: they round in groups of 16, which no rule here does.
TORCH_TYPES = {
    "bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32,
    "u32": torch.int64, "si32": torch.int32, "i32": torch.int32, "u16": torch.int32, "u8": torch.uint8,
}  # fmt: skip


def store(value: torch.Tensor, type: TensorType, what: str) -> torch.Tensor:
    """Round to the stored type. Raises `Refused` for a type without a rule, and for another shape."""
    if type.dtype not in TORCH_TYPES:
        raise Refused("evaluate", f"{what} stored as {type.dtype}", f"one of {sorted(TORCH_TYPES)}")
    if tuple(value.shape) != type.shape:
        raise Refused("evaluate", f"{what} giving {tuple(value.shape)}", f"{type.shape}, which the program states")
    return value.to(TORCH_TYPES[type.dtype])


def wide(value: torch.Tensor) -> torch.Tensor:
    """As the arithmetic sees it: float32 for floating point, unchanged for integers."""
    return value.float() if value.is_floating_point() else value


def as_stored(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Round to the stored type of `like` and widen again: what a value suffers between two kernels of one op."""
    return wide(value.to(like.dtype))
