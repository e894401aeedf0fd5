import ttnn
from launching import F32, Own, arithmetic, geometry, results
from ops import op
from sizes import CHUNK


@op("generic_op.frame_moments")
def frame_moments(step, x, *rest):
    frames, rows, channels, together = geometry(x)
    parts = step.attributes["parts"]
    made = results(step)
    own = Own(step, frames * parts)
    shares = own.shares(frames * parts)
    own.buffer(0, 4, 2 * CHUNK)
    own.buffer(1, 1, 2 * CHUNK)
    own.buffer(2, 2, 4 * CHUNK, F32)
    if rest:
        own.summed()
    static, chunks = [rows, together, 2 * channels, parts, len(rest)], -(-rows // together)
    read, written = [x, *(rest or [x])], [made[0], made[-1]]
    own.kernel("frame_moments_reader", ttnn.ReaderConfigDescriptor(), static, read, shares)
    own.kernel("frame_moments_compute", arithmetic(step), [parts, chunks, len(rest)], [], shares)
    own.kernel("frame_moments_writer", ttnn.WriterConfigDescriptor(), static, written, shares)
    own.run([x, *rest, *made])
    return tuple(made)
