"""Tensors as a program stores them."""

from collections.abc import Callable

import torch

from ttvideo.basics.errors import Refused
from ttvideo.programs.fidelity import stated
from ttvideo.programs.program import Op, TensorType

# torch's unsigned types wider than 8 bits have few ops; the next wider signed type holds the same values.
# Block-float types are missing on purpose: they round in groups of 16, which no rule here does.
TORCH_TYPES = {
    "bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32,
    "u32": torch.int64, "si32": torch.int32, "i32": torch.int32, "u16": torch.int32, "u8": torch.uint8,
}  # fmt: skip


def store(value: torch.Tensor, type: TensorType, what: str) -> torch.Tensor:
    """Round to the stored type, as a chip does. Raises `Refused` for a type without a rule, and for another
    shape."""
    check(value, type, what)
    return rounded(value, TORCH_TYPES[type.dtype])


def check(value: torch.Tensor, type: TensorType, what: str) -> None:
    if type.dtype not in TORCH_TYPES:
        raise Refused("evaluate", f"{what} stored as {type.dtype}", f"one of {sorted(TORCH_TYPES)}")
    if tuple(value.shape) != type.shape:
        raise Refused(
            "evaluate", f"{what} giving {tuple(value.shape)}", f"{type.shape}, which the program states"
        )


def rounded(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """As the chip's packer rounds: from float32 to bf16 half a step goes away from zero, and denormals to
    zero.

    torch, like IEEE 754, rounds half a step to the even neighbour. In a sum of two bf16 values every ninth
    result is such a half (github tenstorrent/ttsim, src/tensix.cpp, PACR).
    """
    if value.dtype != torch.float32 or dtype != torch.bfloat16:
        return value.to(dtype)
    bits = value.contiguous().view(torch.int32) + 0x8000
    halves = bits.bitwise_right_shift_(16).to(torch.int16)
    halves.masked_fill_((halves & 0x7F80) == 0, 0)
    found, nan = halves.view(torch.bfloat16), value.isnan()
    return found.masked_fill_(nan, torch.nan) if nan.any() else found


def cut(value: torch.Tensor, bits: int) -> torch.Tensor:
    """A float32 tensor without the last `bits` of its mantissas: 16 leave bf16's, 13 TF32's."""
    return (value.contiguous().view(torch.int32) & -(1 << bits)).view(torch.float32)


def products(op: Op, b: torch.Tensor, a: torch.Tensor, multiply: Callable) -> torch.Tensor:
    """`multiply(b, a)` in the fidelity that the op asks for: `b` is in the source register of 7 bits, `a` in
    that of 5.

    See `ttvideo.programs.fidelity`. LoFi has no rule.
    """
    match stated(op):
        case "hifi3":
            return multiply(b, a).sub_(multiply(b - cut(b, 17), a - cut(a, 19)))
        case "hifi2":
            return multiply(cut(b, 17), a)
    return multiply(b, a)


def wide(value: torch.Tensor) -> torch.Tensor:
    """As the arithmetic sees it: float32 for floating point, unchanged for integers."""
    return value.float() if value.is_floating_point() else value


def as_stored(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Round to the stored type of `like` and widen again: what a value suffers between kernels of one op."""
    return wide(rounded(value, like.dtype))
