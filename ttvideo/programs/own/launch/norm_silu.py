import ttnn
from launching import Own, arithmetic, geometry, results
from ops import op
from sizes import CHUNK, PAST


@op("generic_op.norm_silu")
def norm_silu(step, x, affine, *past):
    frames, rows, channels, together = geometry(x)
    parts = step.attributes["parts"]
    clip, kept = results(step)
    before = past[0] if past else x
    own = Own(step, frames * parts)
    for index, pages in ((0, 4), (1, 1), (2, 1), (3, 1), (4, 4), (5, 4)):
        own.buffer(index, pages, 2 * CHUNK)
    shares = own.shares(frames * parts)
    of_past = own.shares(PAST * rows) if past else [[0, 0]] * own.count
    both = [mine + old for mine, old in zip(shares, of_past, strict=True)]
    static, chunks = [rows, together, 2 * channels, parts], -(-rows // together)
    read = [x, affine, before]
    own.kernel("norm_silu_reader", ttnn.ReaderConfigDescriptor(), static, read, both)
    own.kernel("norm_silu_compute", arithmetic(step), [parts, chunks], [], shares)
    begins = 0 if past else 1
    own.kernel(
        "norm_silu_writer", ttnn.WriterConfigDescriptor(), [*static, frames, begins, PAST], [clip, kept], both
    )
    own.run([x, affine, *past, clip, kept])
    return clip, kept
