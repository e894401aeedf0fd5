import ttnn
from launching import F32, Own, arithmetic, bits, edged, geometry, how_made, made, placed, results
from ops import op
from sizes import CHUNK, PAST


@op("generic_op.rms_norm")
def rms_norm(step, x, affine, *more):
    a, y = step.attributes, made(step, x)
    frames, rows, channels, together = geometry(y)
    parts, kind, (clip, *others) = a["parts"], a["before"], results(step)
    past, rest = more[: kind == "given"], more[kind == "given" :]
    kept, given = others[: kind != "nothing"], others[kind != "nothing" :]
    own = Own(step, frames * parts)
    for index, pages in ((0, 4), (1, 2), (2, 8), (4, 4), (5, 4)):
        own.buffer(index, pages, 2 * CHUNK)
    own.buffer(3, 2, 4 * CHUNK, F32)
    for index in (6, 7):
        own.buffer(index, 4, 4 * CHUNK, F32)
    shares = own.shares(frames * parts)
    comes = kind == "given" or kind == "zeros"
    of_past = own.shares(PAST * edged(step, y)) if comes else [[0, 0]] * own.count
    both = [mine + old for mine, old in zip(shares, of_past, strict=True)]
    static, chunks = [rows, together, 2 * channels, parts], -(-rows // together)
    read, how = [x, affine, *(past or [x]), *(rest or [x])], how_made(own, step, x, rest, given)
    reader = [*static, *how, int(kind == "zeros")]
    own.kernel("rms_norm_reader", ttnn.ReaderConfigDescriptor(), reader, read, both)
    computed = [parts, chunks, bits(1 / a["channels"]), bits(a["epsilon"])]
    computed += [int(a["silu"]), int(a.get("centred", False)), len(rest) and 1 + len(given)]
    own.kernel("rms_norm_compute", arithmetic(step), computed, [], shares)
    placed(own, step, y, static, both, clip, *kept, given=given)
    own.run([x, affine, *more, clip, *others])
    return clip, *others
