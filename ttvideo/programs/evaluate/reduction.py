"""Sums, means and extremes over dimensions, and the normalisations built on them."""

import torch

from ttvideo.basics.errors import Refused
from ttvideo.programs.evaluate.table import AS_EXACT, FOLLOWED, op
from ttvideo.programs.evaluate.values import as_stored, cut, products, wide

REDUCE = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin}


@op(*REDUCE, heeds="keep_dim dim_arg", fidelities=FOLLOWED)
def reduce(op, x):
    """A mean of bf16 values is a sum of products with 1/n, cut to bf16: up to 0.8 % off unless n is a power
    of two."""
    a = op.attributes
    dims = a.get("dim_arg") or list(range(x.dim()))
    if op.name == "ttnn.mean" and x.dtype == torch.bfloat16 and len(dims) == 1:
        share = cut(torch.tensor([1 / x.shape[dims[0]]]), 16)
        return products(op, share, wide(x), torch.mul).sum(dims, keepdim=a["keep_dim"])
    return REDUCE[op.name.removeprefix("ttnn.")](wide(x), dim=dims, keepdim=a["keep_dim"])


@op("softmax", heeds="dimension numericStable", fidelities=AS_EXACT)
def softmax(op, x):
    """With the approximate exponential unless `math_approx_mode` is false: TT-NN's default, and the
    compiler's."""
    x, dim = wide(x), op.attributes["dimension"]
    if op.attributes.get("numericStable", False):
        x = x - x.amax(dim, keepdim=True)
    approximate = op.attributes.get("compute_config", {}).get("math_approx_mode", True)
    powers = approximate_exp(x) if approximate else torch.exp(x)
    return powers / powers.sum(dim, keepdim=True)


def approximate_exp(x: torch.Tensor) -> torch.Tensor:
    """2 to a straight line within each octave, up to 3 % off: x is scaled and moved into a float's exponent.

    Schraudolph, Neural Computation 11 (1999); the scale, the offset and the bound are TT-NN's
    (tt-metal, hw/ckernels/*/metal/llk_api/llk_sfpu/ckernel_sfpu_exp.h). At the bound it is 0 (so on ttsim):
    what a mask's -1e9 comes to.
    """
    scaled = torch.round(x.clamp_min(-88.5) * 369.329925537109375 + 32500.818359375).clamp_min(0)
    return (scaled.to(torch.int32) << 15).view(torch.float32)


@op(
    "batch_norm_training", heeds="epsilon momentum", within=3,
    because="statistics of rounded values, each by two means", fidelities=AS_EXACT,
)  # fmt: skip
def batch_norm_training(op, x, *affine):
    """x [N, C, H, W], weight and bias [1, C, 1, 1]; gives the normalised x, the mean and the variance.

    TT-NN composes it of its own ops, so each intermediate is rounded to the stored type. The variance is that
    of the distances to the rounded mean (seen on ttsim with TT-NN 0.81.1, which differs from E[x²] − E[x]² by
    far).
    """
    if op.attributes["operandSegmentSizes"] != [1, 0, 0, 1, 1]:
        raise Refused(
            "evaluate", f"operands {op.attributes['operandSegmentSizes']}", "input, weight and bias"
        )
    weight, bias = (wide(t) for t in affine)

    def mean_nhw(value: torch.Tensor) -> torch.Tensor:
        return as_stored(as_stored(value.mean((2, 3), keepdim=True), x).mean(0, keepdim=True), x)

    mean = mean_nhw(wide(x))
    variance = mean_nhw(as_stored(as_stored(wide(x) - mean, x).square(), x))
    scale = as_stored(torch.rsqrt(variance + op.attributes["epsilon"]), x)
    return (wide(x) - mean) * scale * weight + bias, mean, variance


@op("rms_norm", heeds="epsilon", fidelities=AS_EXACT)
def rms_norm(op, x, *affine):
    """x / sqrt(mean(x²) + epsilon) over the last dimension, times the weight, plus the bias, where there are
    any."""
    _, weight, bias = op.attributes["operandSegmentSizes"]
    out = wide(x) * torch.rsqrt(wide(x).square().mean(-1, keepdim=True) + op.attributes["epsilon"])
    out = out * wide(affine[0]).flatten() if weight else out
    return out + wide(affine[-1]).flatten() if bias else out
