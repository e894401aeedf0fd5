"""Channels (st, sh, sw, C) to pixels, each `repeats` times: [1, T, H, W, st * sh * sw * C] -> [1, .., .., ..,
C].

So it is a nearest upsampling, too: of an expansion of 1, 1, 1. In time, height and width, T frames become T *
st * rt; of the first, only the last stands where it is `single`.
"""

import math

from ttvideo.programs.evaluate.table import op
from ttvideo.programs.program import Value

NAME = "ttnn.generic_op.depth_to_space"
ONCE = (1, 1, 1)


def write(
    writer,
    x: Value,
    expansion: tuple[int, int, int] = ONCE,
    repeats: tuple[int, int, int] = ONCE,
    single: bool = False,
) -> Value:
    _, *sizes, c = x.type.shape
    frames, *sizes = (size * by * again for size, by, again in zip(sizes, expansion, repeats, strict=True))
    out = (1, frames - single * (expansion[0] * repeats[0] - 1), *sizes, c // math.prod(expansion))
    more = ({} if repeats == ONCE else {"repeats": list(repeats)}) | ({"single": True} if single else {})
    return writer.op(NAME, [x], (out, "bf16"), expansion=list(expansion), **more)[0]


@op("generic_op.depth_to_space", heeds="expansion repeats single")
def rule(op, x):
    (st, sh, sw), (_, t, h, w, _) = op.attributes["expansion"], x.shape
    x = x.reshape(t, h, w, st, sh, sw, -1).permute(0, 3, 1, 4, 2, 5, 6)
    x = x.reshape(1, t * st, h * sh, w * sw, -1)
    for dim, again in enumerate(op.attributes.get("repeats", ONCE), start=1):
        x = x.repeat_interleave(again, dim) if again > 1 else x
    return x[:, st * op.attributes.get("repeats", ONCE)[0] - 1 :] if op.attributes.get("single") else x
