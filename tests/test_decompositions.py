"""Every exact way equals torch's Conv3d in float64, up to rounding, in value and in gradient.

`FORMS=1500 pytest tests/test_decompositions.py -s` is the full run (at least 1,000 distinct forms).
"""

import os
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.decompositions import DECOMPOSITIONS, Form
from ttvideo.decompositions.form import MODES
from ttvideo.decompositions.padding import pad
from ttvideo.decompositions.stacked import stack
from ttvideo.decompositions.tap_sum import taps
from ttvideo.decompositions.transposed import Transposed, phases, split
from ttvideo.decompositions.unrolled import fold

FORMS = int(os.environ.get("FORMS", "40"))
# float64 keeps 2.2e-16; the sums here have at most a few hundred terms.
TOLERANCE = 1e-12
fuzz = settings(
    max_examples=FORMS,
    deadline=None,
    derandomize=FORMS <= 40,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

# The pieces that each way holds, as a function of the 3D kernel (or of its gradient).
PIECES = {
    "linear": lambda w: [w.flatten(1)],
    "sum": taps,
    "stacked": lambda w: [stack(w)],
    "unrolled": lambda w: [fold(w)],
}
PADS = {"zeros": "constant"}


def reference(x, weight, bias, form):
    """The form, done by torch: `F.pad` one axis at a time, then `F.conv3d`."""
    for axis, ((before, after), mode) in enumerate(zip(form.padding, form.modes)):
        widths = [0] * 6
        widths[2 * (2 - axis)], widths[2 * (2 - axis) + 1] = before, after
        if before or after:
            x = F.pad(x, widths, PADS.get(mode, mode))
    return F.conv3d(x, weight, bias, form.stride, 0, form.dilation, form.groups)


def relative(got, want):
    assert got.shape == want.shape
    return ((got - want).abs().max() / want.abs().max().clamp(min=1.0)).item()


@st.composite
def cases(draw):
    """(form, input shape [B, C, T, H, W], out channels, has bias)."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)))
    # Stride 0 stands for "as the kernel", so that patch embeddings come often.
    stride = tuple(s or k for s, k in zip(draw(st.tuples(*[st.integers(0, 3)] * 3)), kernel))
    dilation = draw(st.tuples(*[st.sampled_from((1, 1, 2))] * 3))
    size = draw(st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6)))
    modes = draw(
        st.one_of(st.sampled_from(MODES).map(lambda m: (m,) * 3), st.tuples(*[st.sampled_from(MODES)] * 3))
    )
    padding = []
    for axis in range(3):
        reach = {"reflect": size[axis] - 1, "circular": size[axis]}.get(modes[axis], 4)
        kind = draw(st.sampled_from(("none", "symmetric", "causal", "any")))
        if kind == "causal":
            pair = (dilation[axis] * (kernel[axis] - 1), 0)
        elif kind == "any":
            pair = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
        else:
            pair = (draw(st.integers(0, 3)),) * 2 if kind == "symmetric" else (0, 0)
        assume(max(pair) <= reach)
        padding.append(pair)
    for axis in range(3):
        assume(size[axis] + sum(padding[axis]) > dilation[axis] * (kernel[axis] - 1))
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    channels_in, channels_out = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    form = Form(kernel, stride, tuple(padding), modes, dilation, groups)
    return form, (draw(st.integers(1, 3)), channels_in, *size), channels_out, draw(st.booleans())


def run_both(stock, new, x):
    """Both outputs, and the gradients of x by both."""
    x_new = x.detach().clone().requires_grad_()
    want, got = stock(x), new(x_new)
    upstream = torch.randn(want.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    want.backward(upstream)
    got.backward(upstream)
    return [(got, want), (x_new.grad, x.grad)]


def check(name, form, shape, channels_out, has_bias, seed=0):
    """Largest relative difference over the output and all gradients."""
    generator = torch.Generator().manual_seed(seed)

    def leaf(*size):
        return torch.randn(*size, dtype=torch.float64, generator=generator).requires_grad_()

    weight = leaf(channels_out, shape[1] // form.groups, *form.kernel)
    bias = leaf(channels_out) if has_bias else None
    x = leaf(*shape)
    new = DECOMPOSITIONS[name](weight, bias, form)
    pairs = run_both(lambda clip: reference(clip, weight, bias, form), new, x)
    stored = dict(new.named_parameters())
    pieces = [p.grad for name, p in stored.items() if name.endswith("weight")]
    expected = [p.reshape(q.shape) for p, q in zip(PIECES[name](weight.grad), pieces, strict=True)]
    biases = [p.grad for name, p in stored.items() if name.endswith("bias")]
    pairs += [*zip(pieces, expected), *zip(biases, [bias.grad] if has_bias else [], strict=True)]
    return max(relative(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", DECOMPOSITIONS)
def test_any_form_equals_conv3d(name):
    seen = set()

    @fuzz
    @given(cases())
    def run(case):
        form, *sizes = _bend(name, *case)
        seen.add(form)
        assert check(name, form, *sizes) <= TOLERANCE

    run()
    assert len(seen) >= FORMS * 2 // 3


def _bend(name, form, shape, channels_out, has_bias):
    """Turn a random case into one that the way takes, keeping all that it leaves free."""
    if name == "linear":
        form = replace(form, kernel=(1, 1, 1), groups=1)
    elif name == "unrolled":
        kt = max(form.kernel[0], 2)
        form = replace(
            form,
            kernel=(kt, *form.kernel[1:]),
            stride=(kt, *form.stride[1:]),
            dilation=(1, *form.dilation[1:]),
        )
        assume(shape[2] + sum(form.padding[0]) >= kt)
    assert DECOMPOSITIONS[name].why_not(form) is None
    return form, shape, channels_out, has_bias


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "arguments",
    [
        dict(kernel_size=3, padding=1),
        dict(kernel_size=(2, 3, 4), padding="same"),  # the odd one at the end
        dict(kernel_size=(3, 1, 2), padding="same", dilation=(2, 1, 3)),
        dict(kernel_size=(1, 3, 3), padding="valid", stride=2),
        dict(kernel_size=3, padding=(2, 1, 0), groups=4, bias=False),
    ],
)
def test_arguments_of_conv3d(mode, arguments):
    torch.manual_seed(0)
    conv = nn.Conv3d(4, 8, padding_mode=mode, **arguments).double()
    x = torch.randn(2, 4, 5, 6, 7, dtype=torch.float64)
    new = DECOMPOSITIONS["sum"](conv.weight, conv.bias, Form.of(conv))
    assert relative(new(x), conv(x)) <= TOLERANCE
    assert relative(new(x[0]), conv(x[0])) <= TOLERANCE


@st.composite
def transposed_cases(draw):
    """(ConvTranspose3d arguments, input shape [B, C, T, H, W])."""
    kernel, stride, dilation = draw(st.tuples(*[st.tuples(*[st.integers(1, 3)] * 3)] * 3))
    padding = draw(st.tuples(*[st.integers(0, 2)] * 3))
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation))
    size = draw(st.tuples(*[st.integers(1, 4)] * 3))
    for n, k, s, d, p, e in zip(size, kernel, stride, dilation, padding, extra):
        assume((n - 1) * s - 2 * p + d * (k - 1) + e + 1 >= 1)
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    channels = [groups * draw(st.integers(1, 2)) for _ in range(2)]
    options = dict(stride=stride, padding=padding, output_padding=extra, groups=groups, dilation=dilation)
    options |= dict(bias=draw(st.booleans()))
    return (*channels, kernel), options, (draw(st.integers(1, 2)), channels[0], *size)


def test_any_transposed_form_equals_conv_transpose3d():
    seen = set()

    @fuzz
    @given(transposed_cases())
    def run(case):
        arguments, options, shape = case
        torch.manual_seed(0)
        conv = nn.ConvTranspose3d(*arguments, **options).double()
        new = Transposed.of(conv)
        pairs = run_both(conv, new, torch.randn(shape, dtype=torch.float64, requires_grad=True))
        weights = zip(new.weights, split(conv.weight.grad, new.form), phases(new.form))
        pairs += [(weight.grad, want) for weight, want, phase in weights if phase]
        pairs += [(new.bias.grad, conv.bias.grad)] if options["bias"] else []
        seen.add((arguments, tuple(options.values())))
        assert all(relative(got, want) <= TOLERANCE for got, want in pairs)

    run()
    assert len(seen) >= FORMS * 2 // 3


def test_weights_are_copies_in_graph_shape():
    conv = nn.Conv3d(3, 5, 3)
    new = DECOMPOSITIONS["sum"](conv.weight, conv.bias, Form.of(conv))
    with torch.no_grad():
        conv.weight.zero_()
    for parameter in new.parameters():
        # A view would keep the 3D kernel alive and be sliced inside the graph.
        assert parameter.untyped_storage().nbytes() == parameter.nbytes
        # Else the host reorders it at every call.
        assert parameter.dim() != 4 or parameter.is_contiguous(memory_format=torch.channels_last)
    assert all(tap.weight.abs().sum() > 0 for tap in new.taps)


def test_forward_touches_weights_only_whole():
    """No slice, reshape or transposition of a weight inside the graph, in any way."""
    forms = {
        "linear": Form((1, 1, 1)),
        "sum": Form((3, 3, 3)),
        "stacked": Form((3, 3, 3)),
        "unrolled": Form((3, 3, 3), stride=(3, 1, 1)),
    }
    for name, form in forms.items():
        new = DECOMPOSITIONS[name](torch.randn(4, 2, *form.kernel), torch.randn(4), form)
        program = torch.export.export(new, (torch.randn(1, 2, 3, 4, 4),))
        held = set(program.graph_signature.inputs_to_parameters)
        users = {u.target for n in program.graph.nodes if n.name in held for u in n.users}
        assert users <= {torch.ops.aten.conv2d.default, torch.ops.aten.linear.default}


def test_no_gather_and_no_pad_in_the_graph():
    form = Form((3, 3, 3), padding=((2, 0), (1, 1), (1, 1)), modes=("replicate",) * 3)
    new = DECOMPOSITIONS["stacked"](torch.randn(4, 2, 3, 3, 3), None, form).bfloat16()
    x = torch.randn(1, 2, 3, 4, 4, dtype=torch.bfloat16)
    assert new(x).dtype == torch.bfloat16
    program = torch.export.export(new, (x,))
    names = " ".join(str(n.target) for n in program.graph.nodes)
    assert "conv2d" in names and "pad" not in names and "index" not in names and "conv3d" not in names


KERNEL = torch.ones(1, 1, 3, 3, 3)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: DECOMPOSITIONS["linear"](KERNEL, None, Form((3, 3, 3))), "1×1×1 kernel"),
        (lambda: DECOMPOSITIONS["unrolled"](KERNEL, None, Form((3, 3, 3))), "stride"),
        (lambda: Form.of(nn.ConvTranspose3d(1, 1, 1)), "ConvTranspose3d"),
        (lambda: Form((1, 1, 1), modes=("edge",) * 3), "edge"),
        (lambda: Form((5, 1, 1)).frames_out(4), "at least 5"),
        (lambda: pad(torch.ones(2, 3), 1, 3, 0, "reflect"), "at most 2"),
        (lambda: pad(torch.ones(2, 3), 1, 4, 0, "circular"), "at most 3"),
        (lambda: DECOMPOSITIONS["sum"](KERNEL, None, Form((3, 3, 3)))(torch.ones(1, 1)), "rank 2"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(Refused, match=message):
        make()
