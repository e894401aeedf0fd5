import ttnn
from launching import F32, Own, bits, results
from ops import op
from sizes import CHUNK


@op("generic_op.group_affine")
def group_affine(step, sums, affine):
    a = step.attributes
    (out,) = results(step)
    frames, channels = out.shape[0] // 2, out.shape[1]
    pieces = a["pieces"]
    own = Own(step, frames * pieces)
    own.buffer(0, 1, 4 * CHUNK, F32)
    own.buffer(1, 2, 2 * channels)
    own.buffer(2, 2, 2 * channels)
    own.buffer(3, 2, 4 * channels, F32)
    real = a.get("channels", channels)
    share = a["groups"] / (real * a["rows"])
    static = [
        CHUNK // channels,
        channels,
        a["groups"],
        a["parts"],
        pieces,
        bits(a["epsilon"]),
        bits(share),
        real,
    ]
    shares = own.shares(frames * pieces)
    operands = [sums, affine, out]
    own.kernel("group_affine", ttnn.ReaderConfigDescriptor(), static, operands, shares)
    own.run(operands)
    return out
