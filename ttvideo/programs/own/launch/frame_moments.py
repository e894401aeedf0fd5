import ttnn
from launching import F32, Own, arithmetic, geometry, how_made, made, results
from ops import op
from sizes import CHUNK


@op("generic_op.frame_moments")
def frame_moments(step, x, *rest):
    frames, rows, channels, together = geometry(made(step, x))
    parts, (sums, *given) = step.attributes["parts"], results(step)
    own = Own(step, frames * parts)
    shares = own.shares(frames * parts)
    own.buffer(0, 4, 2 * CHUNK)
    own.buffer(1, 1, 2 * CHUNK)
    own.buffer(2, 2, 4 * CHUNK, F32)
    static, chunks = [rows, together, 2 * channels, parts], -(-rows // together)
    read, how = [x, *(rest or [x])], how_made(own, step, x, rest, given)
    own.kernel("frame_moments_reader", ttnn.ReaderConfigDescriptor(), [*static, *how], read, shares)
    own.kernel("frame_moments_compute", arithmetic(step), [parts, chunks, len(rest)], [], shares)
    written, static = [sums, *(given or [sums])], [*static, len(given)]
    own.kernel("frame_moments_writer", ttnn.WriterConfigDescriptor(), static, written, shares)
    own.run([x, *rest, sums, *given])
    return sums, *given
