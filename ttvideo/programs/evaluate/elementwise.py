"""Ops on each element alone."""

import torch
import torch.nn.functional as F

from ttvideo.basics.errors import Refused
from ttvideo.programs.evaluate.table import op
from ttvideo.programs.evaluate.values import cut, wide

UNARY = {
    "abs": torch.abs, "neg": torch.neg, "sign": torch.sign, "ceil": torch.ceil, "floor": torch.floor,
    "exp": torch.exp, "expm1": torch.expm1, "log": torch.log, "log1p": torch.log1p, "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt, "reciprocal": torch.reciprocal, "sin": torch.sin, "cos": torch.cos,
    "tanh": torch.tanh, "erf": torch.erf, "sigmoid": torch.sigmoid, "silu": F.silu, "relu": F.relu,
    "relu6": F.relu6, "gelu": F.gelu, "logical_not": torch.logical_not, "isfinite": torch.isfinite,
    "square": torch.square,
}  # fmt: skip

BINARY = {
    "add": torch.add, "subtract": torch.subtract, "multiply": torch.multiply, "divide": torch.divide,
    "maximum": torch.maximum, "minimum": torch.minimum, "pow_tensor": torch.pow, "remainder": torch.remainder,
    "eq": torch.eq, "ne": torch.ne, "ge": torch.ge, "gt": torch.gt, "le": torch.le, "lt": torch.lt,
    "logical_and": torch.logical_and, "logical_or": torch.logical_or, "logical_xor": torch.logical_xor,
}  # fmt: skip


ACTIVATIONS = "activations input_tensor_a_activations input_tensor_b_activations"


def activate(value: torch.Tensor, activations: list | dict) -> torch.Tensor:
    """Apply fused activations, each a dict of its `op_type` alone."""
    for activation in activations if isinstance(activations, list) else [activations]:
        if set(activation) != {"op_type"} or activation["op_type"] not in UNARY:
            raise Refused(
                "evaluate", f"fused activation {activation}", f"one of {sorted(UNARY)}, without parameters"
            )
        value = UNARY[activation["op_type"]](value)
    return value


@op(
    *UNARY,
    within=3,
    because="the vector unit's functions are polynomials: to a step in bf16, to three in float32",
)
def unary(op, x):
    return UNARY[op.name.removeprefix("ttnn.")](wide(x))


@op(*BINARY, heeds=ACTIVATIONS, within=3, because="fused functions are polynomials (see `unary`)")
def binary(op, a, b):
    a = activate(wide(a), op.attributes.get("input_tensor_a_activations", []))
    b = activate(wide(b), op.attributes.get("input_tensor_b_activations", []))
    return activate(BINARY[op.name.removeprefix("ttnn.")](a, b), op.attributes.get("activations", []))


@op("pow_scalar", heeds="rhs")
def pow_scalar(op, x):
    """In bf16 the vector unit stores the upper half of its float32 result: cut, not rounded."""
    power = wide(x) ** op.attributes["rhs"]
    return cut(power, 16) if x.dtype == torch.bfloat16 else power


@op("clamp_scalar", heeds="min max")
def clamp_scalar(op, x):
    x = wide(x)
    # As printed, the largest float32 is a little over the largest float32.
    low, high = (torch.tensor(op.attributes[end], dtype=x.dtype) for end in ("min", "max"))
    return x.clamp(low, high)


@op("where")
def where(op, condition, a, b):
    return torch.where(condition != 0, a, b)
