import ttnn
from launching import F32, Own, bits, results
from ops import op
from sizes import CHUNK

BUFFERS = 64  # of a core, as many as a chip may have


@op("generic_op.group_affine")
def group_affine(step, sums, affine):
    a = step.attributes
    (out,) = results(step)
    frames, channels = out.shape[0] // 2, out.shape[1]
    pieces = a["pieces"]
    own = Own(step, frames * pieces)
    own.buffer(0, 4, 4 * CHUNK, F32)
    own.buffer(1, 2, 2 * channels)
    own.buffer(2, 2, 2 * channels)
    own.buffer(3, 4, 4 * CHUNK, F32)
    real = a.get("channels", channels)
    share = a["groups"] / (real * a["rows"])
    static = [CHUNK // channels, channels, a["groups"], pieces, bits(a["epsilon"]), bits(share), real]
    shares = own.shares(frames * pieces)
    own.kernel("group_affine_reader", ttnn.ReaderConfigDescriptor(), [a["parts"], pieces], [sums], shares)
    own.kernel("group_affine_compute", in_float32(0), [a["parts"]], [], shares)
    own.kernel("group_affine_writer", ttnn.WriterConfigDescriptor(), static, [affine, out], shares)
    own.run([sums, affine, out])
    return out


def in_float32(buffer: int):
    """Whole float32 from that buffer, which else is cut to the 19 bits that the matrix unit takes."""
    config, mode = ttnn.ComputeConfigDescriptor(fp32_dest_acc_en=True), ttnn.UnpackToDestMode
    modes = [mode.UnpackToDestFp32 if index == buffer else mode.Default for index in range(BUFFERS)]
    config.unpack_to_dest_mode = modes
    return config
