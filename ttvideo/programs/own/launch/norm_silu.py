import ttnn
from launching import Own, arithmetic, geometry, placed, results
from ops import op
from sizes import CHUNK, PAST


@op("generic_op.norm_silu")
def norm_silu(step, x, affine, *past):
    a, (clip, *kept) = step.attributes, results(step)
    frames, rows, channels, together = geometry(x)
    parts, kind = a["parts"], a["before"]
    own = Own(step, frames * parts)
    for index, pages in ((0, 4), (1, 1), (2, 1), (3, 1), (4, 4), (5, 4)):
        own.buffer(index, pages, 2 * CHUNK)
    shares = own.shares(frames * parts)
    comes = kind == "given" or kind == "zeros"
    of_past = own.shares(PAST * rows) if comes else [[0, 0]] * own.count
    # Of a clip that is the past, the last frames.
    skipped = (past[0].shape[1] - PAST) * rows if past else 0
    both, given = (
        [mine + [row + more for row in old] for mine, old in zip(shares, of_past, strict=True)]
        for more in (0, skipped)
    )
    static, chunks = [rows, together, 2 * channels, parts], -(-rows // together)
    step_rows = 2 if affine.shape[0] > 2 else 0  # from a frame's scale to the next one's
    reader = [*static, int(kind == "zeros"), step_rows]
    read = [x, affine, *(past or [x])]
    own.kernel("norm_silu_reader", ttnn.ReaderConfigDescriptor(), reader, read, given)
    own.kernel("norm_silu_compute", arithmetic(step), [parts, chunks, int(a["silu"])], [], shares)
    placed(own, step, x, static, both, clip, *kept)
    own.run([x, affine, *past, clip, *kept])
    return clip, *kept
