"""Ops that compute nothing: elements move, or are laid out otherwise."""

import math

import torch

from ttvideo.basics.errors import Refused
from ttvideo.programs.evaluate.table import op


@op("to_layout", "to_memory_config", "to_device", "from_device", "typecast", "assign")
def same_values(op, x):
    """The result's type says what changes; rounding is done where results are stored."""
    return x


@op("reshape", heeds="shape")
def reshape(op, x):
    return x.reshape(op.attributes["shape"])


@op("permute", heeds="permutation pad_value")  # pad_value fills the rest of a tile
def permute(op, x):
    return x.permute(op.attributes["permutation"]).contiguous()


@op("transpose", heeds="dim0 dim1")
def transpose(op, x):
    return x.transpose(op.attributes["dim0"], op.attributes["dim1"]).contiguous()


@op("slice_static", heeds="begins ends step")
def slice_static(op, x):
    a = op.attributes
    index = tuple(slice(b, e, s) for b, e, s in zip(a["begins"], a["ends"], a["step"], strict=True))
    return x[index].clone()  # a view would keep the whole of x alive


@op("concat", heeds="dim")
def concat(op, *parts):
    return torch.cat(parts, op.attributes["dim"])


@op("pad", heeds="padding value")
def pad(op, x):
    """`padding` is (low, high) of each dimension, first to last; torch wants last to first."""
    pairs = [op.attributes["padding"][i : i + 2] for i in range(0, 2 * x.dim(), 2)]
    flat = [n for pair in reversed(pairs) for n in pair]
    return torch.nn.functional.pad(x, flat, value=op.attributes["value"])


@op("repeat", heeds="repeat_dims")
def repeat(op, x):
    return x.repeat([int(n) for n in str(op.attributes["repeat_dims"]).split("x")])


@op("repeat_interleave", heeds="repeats dim")
def repeat_interleave(op, x):
    return x.repeat_interleave(op.attributes["repeats"], op.attributes["dim"])


@op("embedding")
def embedding(op, index, weight):
    """Rows of `weight` [.., rows, width] by `index` [any shape]."""
    return weight.reshape(-1, weight.shape[-1])[index.long()]


@op("rows_gather", heeds="column fill_out_of_bounds sizes windows")
def rows_gather(op, x, index):
    """libtt's op for single positions along one or more axes, by index [1, axes, n]; `sizes` are those of the
    axes.

    Rows of x [1, rows, ...] -> [1, n, ...]; with `column`, columns of x -> [rows, n], the axes being x's
    last.
    """
    sizes = op.attributes["sizes"]
    if set(op.attributes["windows"]) != {1} or op.attributes["fill_out_of_bounds"]:
        raise Refused(
            "evaluate", f"rows_gather {op.attributes}", "one row or column at a time, all within bounds"
        )
    flat = torch.zeros_like(index.flatten(0, -2)[0], dtype=torch.long)
    for size, along in zip(sizes, index.long().reshape(len(sizes), -1), strict=True):
        flat = flat * size + along.clamp(0, size - 1)
    if op.attributes["column"]:
        return x.reshape(-1, math.prod(sizes))[:, flat]
    if x.shape[1] != math.prod(sizes):
        raise Refused(
            "evaluate", f"rows_gather of {tuple(x.shape)} along {sizes}", "the axes as one, behind the first"
        )
    return x[:, flat]


@op("rows_scatter", heeds="column reduce sizes windows")
def rows_scatter(op, x, index, rows):
    """libtt's op for a write of whole rows, [1, n, width], into x [1, rows, width], at index [1, 1, n]."""
    a = op.attributes
    if a["windows"] != [1] or a["column"] or a["reduce"] != "invalid":
        raise Refused("evaluate", f"rows_scatter {a}", "single rows, set")
    return x.index_copy(1, index.long().flatten(), rows)


@op("gather", heeds="dim")
def gather(op, x, index):
    return torch.gather(x, op.attributes["dim"], index.long())


@op("upsample", heeds="scale_factor mode")
def upsample(op, x):
    """x is NHWC."""
    if op.attributes.get("mode", "nearest") != "nearest":
        raise Refused("evaluate", f"upsample mode {op.attributes['mode']}", "nearest")
    scale = op.attributes["scale_factor"]
    high, across = scale if isinstance(scale, list) else (scale, scale)
    return x.repeat_interleave(high, 1).repeat_interleave(across, 2)
