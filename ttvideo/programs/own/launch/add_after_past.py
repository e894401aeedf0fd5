import ttnn
from launching import Own, arithmetic, geometry, placed, results
from ops import op
from sizes import CHUNK, PAST


@op("generic_op.add_after_past")
def add_after_past(step, x, rest, *past):
    a = step.attributes
    frames, rows, channels, together = geometry(x)
    parts = a["parts"]
    clip, kept = results(step)
    own = Own(step, frames * parts)
    for index in (0, 1, 4, 5):
        own.buffer(index, 4, 2 * CHUNK)
    shares = own.shares(frames * parts)
    comes = a["before"] in ("given", "zeros")
    of_past = own.shares(PAST * rows) if comes else [[0, 0]] * own.count
    both = [mine + old for mine, old in zip(shares, of_past, strict=True)]
    static, chunks = [rows, together, 2 * channels, parts], -(-rows // together)
    read, how = [x, rest, *(past or [x])], [int(a["before"] == "zeros"), a["offset"]]
    own.kernel("add_after_past_reader", ttnn.ReaderConfigDescriptor(), [*static, *how], read, both)
    own.kernel("add_after_past_compute", arithmetic(step), [parts, chunks], [], shares)
    placed(own, step, x, static, both, clip, kept)
    own.run([x, rest, *past, clip, kept])
    return clip, kept
