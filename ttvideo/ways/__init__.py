"""Exact ways around Conv3d, one file each: `WAYS[name](weight, bias, form)` is an `nn.Module`."""

from ttvideo.ways.form import Form
from ttvideo.ways.linear import Linear
from ttvideo.ways.stacked import Stacked
from ttvideo.ways.tap_sum import TapSum
from ttvideo.ways.unrolled import Unrolled

WAYS = {way.name: way for way in (Linear, TapSum, Stacked, Unrolled)}

__all__ = ["WAYS", "Form"]
