import ttnn
from launching import Own, beyond, edge, edged, geometry, results
from ops import op
from sizes import CHUNK


@op("generic_op.after_past")
def after_past(step, x, *past):
    frames, _, channels, together = geometry(x)
    clip, *kept = results(step)
    lead, tail, stays = beyond(step, frames)
    items = (lead + frames + tail) * edged(step, x)
    own = Own(step, -(-items // max(together, 1)))
    own.buffer(0, 1, max(2 * CHUNK, 2 * channels))
    kind = ("given", "first frame", "zeros", "nothing").index(step.attributes["before"])
    static = [edged(step, x), max(together, 1), 2 * channels, frames, lead, kind, stays]
    static += [x.shape[2], x.shape[3], edge(step)]
    operands = [x, past[0] if past else x, clip, kept[0] if kept else clip]
    own.kernel("after_past", ttnn.ReaderConfigDescriptor(), static, operands, own.shares(items))
    own.run([x, *past, clip, *kept])
    return clip, *kept
