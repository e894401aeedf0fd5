"""`decompose` gives an equal model without Conv3d, says what it did, and leaves the old one alone."""

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d
from diffusers.models.autoencoders.autoencoder_kl_mochi import MochiDecoder3D
from seeded import far, seeded, without_conv3d
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from ttvideo.basics.errors import Refused
from ttvideo.decompositions import DECOMPOSITIONS, Form
from ttvideo.decompositions.decompose import choose, decompose

SMALL = dict(block_out_channels=(32, 32, 64, 64), layers_per_block=(1, 1, 1, 1, 1))
TOLERANCE = 1e-12  # float64 through some twenty layers


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(0)
    return MochiDecoder3D(12, 3, **SMALL).double().eval()


@pytest.fixture(scope="module")
def latents():
    return seeded(2, 12, 2, 4, 4)


@pytest.mark.parametrize("strategy", ["auto", "sum", "stacked"])
@torch.no_grad()
def test_mochi_decoder_is_equal(decoder, latents, strategy):
    before = {k: v.clone() for k, v in decoder.state_dict().items()}
    new, report = decompose(decoder, strategy)
    (want, want_cache), (got, got_cache) = decoder(latents), new(latents)
    assert far(got, want) <= TOLERANCE
    assert got_cache == want_cache  # "replicate" keeps none
    assert without_conv3d(new) and report.n == 11 and not report.left
    assert all(torch.equal(v, before[k]) for k, v in decoder.state_dict().items())
    assert sum(isinstance(m, nn.Conv3d) for m in decoder.modules()) == 11


@pytest.mark.parametrize("pad_mode", ["replicate", "constant"])
@pytest.mark.parametrize(
    "kernel, stride, dilation",
    [(3, 1, 1), (1, 1, 1), ((2, 3, 3), 2, 1), ((3, 2, 2), (3, 2, 2), 1), (3, 1, 2)],
)
@torch.no_grad()
def test_causal_conv_and_cache(pad_mode, kernel, stride, dilation):
    torch.manual_seed(0)
    stock = CogVideoXCausalConv3d(4, 6, kernel, stride, dilation, pad_mode).double()
    new, _ = decompose(stock)
    x = torch.randn(2, 4, 6, 6, 6, dtype=torch.float64)
    want, want_cache = stock(x)
    got, got_cache = new(x)
    assert far(got, want) <= TOLERANCE
    if pad_mode == "replicate":
        assert want_cache is None and got_cache is None
        assert torch.equal(new(x, x[:, :, :2])[0], got)  # as in the stock one, a cache is not looked at
        return
    assert torch.equal(got_cache, want_cache)
    with_cache = stock(x, want_cache)[0]
    assert far(new(x, want_cache)[0], with_cache) <= TOLERANCE
    assert kernel != 3 or far(got, with_cache) > 1e-3


@pytest.mark.parametrize(
    "only, n", [("conv_in", 1), ("up_blocks.1", 2), (lambda name, module: name.endswith("conv1"), 5)]
)
@torch.no_grad()
def test_only(decoder, latents, only, n):
    new, report = decompose(decoder, only=only)
    assert report.n == n
    assert sum(isinstance(m, nn.Conv3d) for m in new.modules()) == 11 - n
    assert far(new(latents)[0], decoder(latents)[0]) <= TOLERANCE


def test_a_prefix_ends_at_a_dot():
    model = nn.ModuleDict({"conv": nn.Conv3d(1, 1, 1), "conv_in": nn.Conv3d(1, 1, 1)})
    assert [row.name for row in decompose(model, only="conv")[1].rows] == ["conv"]


CUBE, TWOS, ONES = (3, 3, 3), (2, 2, 2), (1, 1, 1)
CAUSAL = dict(padding=((2, 0), (1, 1), (1, 1)), modes=("replicate",) * 3)
RULE = {
    "pointwise": (Form(ONES, TWOS), "linear"),
    "pointwise grouped is one conv2d": (Form(ONES, groups=2), "sum"),
    "flat in time is one conv2d": (Form((1, 3, 3)), "sum"),
    "Mochi's encoder, down": (Form((3, 2, 2), (3, 2, 2)), "unrolled"),
    "full": (Form(CUBE), "stacked"),
    "causal": (Form(CUBE, **CAUSAL), "sum"),
    "none repeated": (Form(CUBE, **CAUSAL | dict(padding=((0, 0), (1, 1), (1, 1)))), "stacked"),
    "strided": (Form(CUBE, (2, 1, 1), **CAUSAL), "stacked"),
    "dilated": (Form(TWOS, TWOS, dilation=(2, 1, 1)), "stacked"),
}


@pytest.mark.parametrize("name", RULE)
def test_the_rule(name):
    form, decomposition = RULE[name]
    assert choose(form) == decomposition
    assert DECOMPOSITIONS[decomposition].why_not(form) is None


@pytest.mark.parametrize(
    "model, options, message",
    [
        (nn.Conv3d(1, 1, 1), {"strategy": "separable"}, "auto, linear, sum, stacked, unrolled"),
        (nn.Conv2d(1, 1, 1), {}, "no Conv3d matched"),
        (nn.Conv3d(1, 1, 1), {"only": "nowhere"}, "no Conv3d matched"),
        (nn.Conv3d(1, 1, 3), {"strategy": "linear"}, "1×1×1 kernel"),
        (nn.ConvTranspose3d(1, 1, 3), {"strategy": "sum"}, "transposed"),
        (nn.LazyConv3d(1, 3), {}, "not initialised"),
        (weight_norm(nn.Conv3d(1, 1, 3)), {}, "parametrized"),
    ],
)
def test_refuses_when_nothing_was_replaced(model, options, message):
    with pytest.raises(Refused, match=message):
        decompose(model, **options)


def test_a_hooked_conv3d_is_left():
    for hooked in (nn.Conv3d(1, 1, 1), CogVideoXCausalConv3d(1, 1, 1)):
        hooked.register_forward_hook(lambda module, args, out: out)
        _, report = decompose(nn.Sequential(nn.Conv3d(1, 1, 1), hooked))
        assert report.n == 1 and "hooks" in report.left[0].why


def test_one_module_under_two_names_stays_one():
    shared = nn.Conv3d(2, 2, 1)
    model = nn.Module()
    model.a = model.b = shared
    model.c = nn.Sequential(shared)
    new, report = decompose(model)
    assert new.a is new.b is new.c[0] and report.n == 1


def test_what_stays():
    conv = nn.Conv3d(2, 2, 3).to(torch.bfloat16).eval()
    conv.weight.requires_grad_(False)
    new, _ = decompose(conv)
    assert not new.training
    flags = {name.rsplit(".")[-1]: p.requires_grad for name, p in new.named_parameters()}
    assert flags == {"weight": False, "bias": True}
    assert {p.dtype for p in new.parameters()} == {torch.bfloat16}


def test_one_way_goes_where_it_can_and_the_report_shows_every_row(decoder):
    _, report = decompose(decoder, "linear")
    assert report.n == 1 and len(report.left) == 10 and "1×1×1 kernel" in report.left[0].why
    text, html = str(report), report._repr_html_()
    assert "1 of 11 Conv3d replaced" in text and text.count("\n") == 11
    assert html.count("<tr>") == 12 and "conv_in" in html
