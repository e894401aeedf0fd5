import ttnn
from launching import Own, results
from ops import op


@op("generic_op.depth_to_space")
def depth_to_space(step, x):
    _, frames, height, width, channels = x.shape
    st, sh, sw = step.attributes["expansion"]
    (y,) = results(step)
    own = Own(step, frames * height * width)
    own.buffer(0, 1, 2 * channels)
    again = step.attributes.get("repeats", [1, 1, 1])
    static = [
        height,
        width,
        st,
        sh,
        sw,
        2 * channels // (st * sh * sw),
        *again,
        (st * again[0] - 1) * int(step.attributes.get("single", False)),
    ]
    shares = own.shares(frames * height * width)
    own.kernel("depth_to_space", ttnn.ReaderConfigDescriptor(), static, [x, y], shares)
    own.run([x, y])
    return y
