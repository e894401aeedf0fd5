"""Ops that make a tensor out of attributes."""

import re

import torch

from ttvideo.basics.errors import Refused
from ttvideo.programs.evaluate.table import op
from ttvideo.programs.evaluate.values import TORCH_TYPES


@op("zeros", heeds="shape")
def zeros(op):
    return torch.zeros(op.results[0].type.shape)


@op("ones", heeds="shape")
def ones(op):
    return torch.ones(op.results[0].type.shape)


@op("full", heeds="shape fill_value")
def full(op):
    return torch.full(op.results[0].type.shape, op.attributes["fill_value"])


@op("arange", heeds="start end step")
def arange(op):
    a = op.attributes
    return torch.arange(a["start"], a["end"], a["step"]).reshape(op.results[0].type.shape)


@op("constant", heeds="value")
def constant(op):
    """A splat, a (nested) list, or the bytes of all elements in hexadecimal."""
    value, type = op.attributes["value"], op.results[0].type
    if not isinstance(value, dict) or "dense" not in value:
        raise Refused("evaluate", f"constant {str(value)[:80]}", "a dense one")
    value = value["dense"]
    if isinstance(value, str) and re.fullmatch(r"0x[0-9A-Fa-f]+", value):
        dtype = {"u32": torch.int32, "u16": torch.int16}.get(type.dtype, TORCH_TYPES[type.dtype])
        return torch.frombuffer(bytearray.fromhex(value[2:]), dtype=dtype).reshape(type.shape)
    value = torch.tensor(value)
    return value.expand(type.shape) if value.dim() == 0 else value.reshape(type.shape)
