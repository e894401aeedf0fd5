import ttnn
from launching import F32, Own, arithmetic, geometry, results
from ops import op
from sizes import CHUNK


@op("generic_op.frame_moments")
def frame_moments(step, x):
    frames, rows, channels, together = geometry(x)
    parts = step.attributes["parts"]
    (sums,) = results(step)
    own = Own(step, frames * parts)
    shares = own.shares(frames * parts)
    own.buffer(0, 4, 2 * CHUNK)
    own.buffer(1, 1, 2 * CHUNK)
    own.buffer(2, 2, 4 * CHUNK, F32)
    chunks = -(-rows // together)
    static = [rows, together, 2 * channels, parts]
    own.kernel("frame_moments_reader", ttnn.ReaderConfigDescriptor(), static, [x], shares)
    own.kernel("frame_moments_compute", arithmetic(step), [parts, chunks], [], shares)
    own.kernel("frame_moments_writer", ttnn.WriterConfigDescriptor(), [], [sums], shares)
    own.run([x, sums])
    return sums
