import ttnn
from launching import F32, Own, arithmetic, geometry, results
from ops import op
from sizes import CHUNK


@op("generic_op.frame_moments")
def frame_moments(step, x, *rest):
    parts, made = step.attributes["parts"], results(step)
    frames, rows, channels, together = geometry(made[1] if made[1:] else x)
    own = Own(step, frames * parts)
    shares = own.shares(frames * parts)
    own.buffer(0, 4, 2 * CHUNK)
    own.buffer(1, 1, 2 * CHUNK)
    own.buffer(2, 2, 4 * CHUNK, F32)
    if made[1:]:
        own.summed()
    static, chunks = [rows, together, 2 * channels, parts, len(made[1:])], -(-rows // together)
    read, written = [x, *(rest or [x])], [made[0], made[-1]]
    how = [len(rest), *step.attributes.get("expansion", [1, 1, 1]), x.shape[2], x.shape[3]]
    own.kernel("frame_moments_reader", ttnn.ReaderConfigDescriptor(), [*static, *how], read, shares)
    own.kernel("frame_moments_compute", arithmetic(step), [parts, chunks, len(rest)], [], shares)
    own.kernel("frame_moments_writer", ttnn.WriterConfigDescriptor(), static, written, shares)
    own.run([x, *rest, *made])
    return tuple(made)
