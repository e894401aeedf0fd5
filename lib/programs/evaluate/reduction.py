"""Sums, means and extremes over dimensions, and the normalisations built on them."""

import torch

from lib.basics.errors import Refused
from lib.programs.evaluate.table import op
from lib.programs.evaluate.values import as_stored, cut, wide

REDUCE = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin}


@op(*REDUCE, heeds="keep_dim dim_arg")
def reduce(op, x):
    """A mean of bf16 values is a sum of products with 1/n, cut to bf16: up to 0.8 % off unless n is a power of two."""
    a = op.attributes
    dims = a.get("dim_arg") or list(range(x.dim()))
    if op.name == "ttnn.mean" and x.dtype == torch.bfloat16 and len(dims) == 1:
        share = cut(torch.tensor([1 / x.shape[dims[0]]]), 16)
        return (wide(x) * share).sum(dims, keepdim=a["keep_dim"])
    return REDUCE[op.name.removeprefix("ttnn.")](wide(x), dim=dims, keepdim=a["keep_dim"])


@op("softmax", heeds="dimension numericStable", within=4, because="a product of three rounded results")
def softmax(op, x):
    return torch.softmax(wide(x), op.attributes["dimension"])


@op("batch_norm_training", heeds="epsilon momentum")
def batch_norm_training(op, x, *affine):
    """x [N, C, H, W], weight and bias [1, C, 1, 1]; gives the normalised x, the mean and the variance.

    TT-NN composes it of its own ops, so each intermediate is rounded to the stored type, and the
    variance is E[x²] − E[x]² (tt-metal, ttnn/cpp/ttnn/operations/normalization/batch_norm/batch_norm.cpp):
    where |mean| is large against the deviation, bf16 leaves little of it.
    """
    if op.attributes["operandSegmentSizes"] != [1, 0, 0, 1, 1]:
        raise Refused("evaluate", f"operands {op.attributes['operandSegmentSizes']}", "input, weight and bias")
    weight, bias = (wide(t) for t in affine)

    def mean_nhw(value: torch.Tensor) -> torch.Tensor:
        return as_stored(as_stored(value.mean((2, 3), keepdim=True), x).mean(0, keepdim=True), x)

    mean = mean_nhw(wide(x))
    variance = as_stored(mean_nhw(as_stored(wide(x).square(), x)) - as_stored(mean.square(), x), x)
    return (wide(x) - mean) * torch.rsqrt(variance + op.attributes["epsilon"]) * weight + bias, mean, variance


@op("rms_norm", heeds="epsilon")
def rms_norm(op, x, *affine):
    """x / sqrt(mean(x²) + epsilon) over the last dimension, times the weight, plus the bias, where there are any."""
    _, weight, bias = op.attributes["operandSegmentSizes"]
    out = wide(x) * torch.rsqrt(wide(x).square().mean(-1, keepdim=True) + op.attributes["epsilon"])
    out = out * wide(affine[0]).flatten() if weight else out
    return out + wide(affine[-1]).flatten() if bias else out
