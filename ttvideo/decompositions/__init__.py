"""Exact ways around Conv3d, one file each: `DECOMPOSITIONS[name](weight, bias, form)` is an `nn.Module`."""

from ttvideo.decompositions.form import Form
from ttvideo.decompositions.linear import Linear
from ttvideo.decompositions.stacked import Stacked
from ttvideo.decompositions.tap_sum import TapSum
from ttvideo.decompositions.unrolled import Unrolled

DECOMPOSITIONS = {kind.name: kind for kind in (Linear, TapSum, Stacked, Unrolled)}

__all__ = ["DECOMPOSITIONS", "Form"]
