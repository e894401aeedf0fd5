"""Exact ways around Conv3d, one file each: `WAYS[name](weight, bias, form)` is an `nn.Module`."""

from lib.ways.form import Form
from lib.ways.linear import Linear
from lib.ways.stacked import Stacked
from lib.ways.tap_sum import TapSum
from lib.ways.unrolled import Unrolled

WAYS = {way.name: way for way in (Linear, TapSum, Stacked, Unrolled)}

__all__ = ["WAYS", "Form"]
