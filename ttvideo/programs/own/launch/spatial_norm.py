import ttnn
from launching import Own, arithmetic, geometry, placed, results
from ops import op
from sizes import CHUNK, PAST


@op("generic_op.spatial_norm_silu")
def spatial_norm_silu(step, x, affine, maps, *past):
    a = step.attributes
    frames, rows, channels, together = geometry(x)
    parts, kind = a["parts"], a["before"]
    _, latents, high, across, _ = maps.shape
    clip, kept = results(step)
    own = Own(step, frames * parts)
    for index, pages in ((0, 4), (1, 2), (2, 4), (3, 4), (4, 4), (5, 4)):
        own.buffer(index, pages, 2 * CHUNK)
    shares = own.shares(frames * parts)
    of_past = own.shares(PAST * rows) if kind == "given" else [[0, 0]] * own.count
    both = [mine + old for mine, old in zip(shares, of_past, strict=True)]
    static, chunks = [rows, together, 2 * channels, parts], -(-rows // together)
    by = [x.shape[3], x.shape[2] // high, across, high * across, latents, frames]
    read = [x, affine, maps, *(past or [x])]
    own.kernel("spatial_norm_reader", ttnn.ReaderConfigDescriptor(), [*static, *by], read, both)
    own.kernel("spatial_norm_compute", arithmetic(step), [parts, chunks], [], shares)
    placed(own, step, x, static, both, clip, kept)
    own.run([x, affine, maps, *past, clip, kept])
    return clip, kept
