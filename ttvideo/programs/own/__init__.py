"""Ops of the project's own: what TT-NN has no op for, or only one that takes more passes over a clip.

A clip is rows of channels, [1, T, H, W, C], row-major, as TT-NN's conv3d takes and gives it. A file an op:
how a program says it (`write`), what it computes (its rule for `ttvideo.programs.evaluate`), and which bytes
it moves, where that isn't each operand and result once (`COSTS`). How TT-NN executes it is `launch/`, by the
same name: what its process loads, in an environment without the project (`ttvideo/ttnn/host`), and the
kernels. `sizes.py` is what both sides know, `on_the_way.py` what norms do before they read a clip.
`dram_counts` is no part of a decoder: it counts what the others, and TT-NN's own, ask of DRAM.
"""

from collections.abc import Callable

from ttvideo.programs.own import (
    add_after_past,
    after_past,
    depth_to_space,
    frame_moments,
    frames,
    group_affine,
    norm_silu,
    rms_norm,
    spatial_norm,
)
from ttvideo.programs.program import Op
from ttvideo.targets.boards import Chip

OPS = (
    add_after_past, after_past, depth_to_space, frame_moments, frames, group_affine, norm_silu, rms_norm,
    spatial_norm,
)  # fmt: skip
# Bytes that kernels read more than once, besides.
COSTS: dict[str, Callable[[Op, Chip], int]] = {
    add_after_past.NAME: add_after_past.read_again,
    after_past.NAME: after_past.read_again,
    group_affine.NAME: group_affine.read_again,
    norm_silu.NAME: norm_silu.read_again,
    rms_norm.NAME: rms_norm.read_again,
    spatial_norm.NAME: spatial_norm.read_again,
}
MOVES = {after_past.NAME, depth_to_space.NAME}  # ops that compute nothing
