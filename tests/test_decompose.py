"""`decompose` gives an equal model without Conv3d, says what it did, and leaves the old one alone."""

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d, CogVideoXDecoder3D
from diffusers.models.autoencoders.autoencoder_kl_mochi import MochiDecoder3D, MochiEncoder3D
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from ttvideo.basics.errors import Refused
from ttvideo.decompositions import DECOMPOSITIONS, Form
from ttvideo.decompositions.decompose import choose, decompose

SMALL = dict(block_out_channels=(32, 32, 64, 64), layers_per_block=(1, 1, 1, 1, 1))
TOLERANCE = 1e-12  # float64 through some twenty layers


def relative(got, want):
    assert got.shape == want.shape
    return ((got - want).abs().max() / want.abs().max()).item()


def without_conv3d(model):
    return not any(isinstance(m, nn.Conv3d) for m in model.modules())


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(0)
    return MochiDecoder3D(12, 3, **SMALL).double().eval()


@pytest.fixture(scope="module")
def latents():
    return torch.randn(2, 12, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("strategy", ["auto", "sum", "stacked"])
@torch.no_grad()
def test_mochi_decoder_is_equal(decoder, latents, strategy):
    before = {k: v.clone() for k, v in decoder.state_dict().items()}
    new, report = decompose(decoder, strategy)
    (want, want_cache), (got, got_cache) = decoder(latents), new(latents)
    assert relative(got, want) <= TOLERANCE
    assert got_cache == want_cache  # "replicate" keeps none
    assert without_conv3d(new) and report.n == 11 and not report.left
    assert all(torch.equal(v, before[k]) for k, v in decoder.state_dict().items())
    assert sum(isinstance(m, nn.Conv3d) for m in decoder.modules()) == 11


@torch.no_grad()
def test_mochi_encoder_is_equal():
    torch.manual_seed(0)
    encoder = MochiEncoder3D(15, 12, **SMALL).double().eval()
    clip = torch.randn(1, 3, 12, 16, 16, dtype=torch.float64)
    new, report = decompose(encoder)
    assert relative(new(clip)[0], encoder(clip)[0]) <= TOLERANCE
    decompositions = {row.name: row.decomposition for row in report.rows}
    assert decompositions["down_blocks.1.conv_in"] == decompositions["down_blocks.2.conv_in"] == "unrolled"
    assert without_conv3d(new)


def flat(cache):
    return (
        {"": cache}
        if cache is None or torch.is_tensor(cache)
        else {f"{k}.{name}": v for k, inner in cache.items() for name, v in flat(inner).items()}
    )


@torch.no_grad()
def test_cogvideox_decoder_keeps_its_cache():
    """Three chunks, each handed the cache of the one before: outputs and caches equal the stock ones."""
    torch.manual_seed(0)
    blocks = dict(block_out_channels=(8, 8), up_block_types=("CogVideoXUpBlock3D",) * 2, layers_per_block=1)
    stock = CogVideoXDecoder3D(in_channels=4, out_channels=3, norm_num_groups=4, **blocks).double().eval()
    new, report = decompose(stock)
    assert not report.left and without_conv3d(new)
    want_cache = got_cache = None
    for seed, frames in enumerate((3, 2, 1)):
        chunk = torch.randn(
            1, 4, frames, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
        )
        want, want_cache = stock(chunk, conv_cache=want_cache)
        got, got_cache = new(chunk, conv_cache=got_cache)
        assert relative(got, want) <= TOLERANCE
        want_flat, got_flat = flat(want_cache), flat(got_cache)
        assert want_flat.keys() == got_flat.keys() and len(want_flat) > 10
        for key, value in want_flat.items():
            assert relative(got_flat[key], value) <= TOLERANCE


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
    assert relative(got, want) <= TOLERANCE
    if pad_mode == "replicate":
        assert want_cache is None and got_cache is None
        assert torch.equal(new(x, x[:, :, :2])[0], got)  # as in the stock one, a cache is not looked at
        return
    assert torch.equal(got_cache, want_cache)
    assert relative(new(x, want_cache)[0], stock(x, want_cache)[0]) <= TOLERANCE


@pytest.mark.parametrize(
    "only, n",
    [
        pytest.param("conv_in", 1, id="one_name"),
        pytest.param("up_blocks.1", 2, id="a_block"),
        pytest.param(lambda name, module: name.endswith("conv1"), 5, id="predicate"),
    ],
)
@torch.no_grad()
def test_only(decoder, latents, only, n):
    new, report = decompose(decoder, only=only)
    assert report.n == n
    assert sum(isinstance(m, nn.Conv3d) for m in new.modules()) == 11 - n
    assert relative(new(latents)[0], decoder(latents)[0]) <= TOLERANCE


def test_a_prefix_ends_at_a_dot():
    model = nn.ModuleDict({"conv": nn.Conv3d(1, 1, 1), "conv_in": nn.Conv3d(1, 1, 1)})
    assert [row.name for row in decompose(model, only="conv")[1].rows] == ["conv"]


def test_one_way_goes_where_it_can(decoder):
    _, report = decompose(decoder, "linear")
    assert report.n == 1 and len(report.left) == 10
    assert "1×1×1 kernel" in report.left[0].why


REPLICATE = ("replicate",) * 3


@pytest.mark.parametrize(
    "form, decomposition",
    [
        pytest.param(Form((1, 1, 1), stride=(2, 2, 2)), "linear", id="pointwise"),
        pytest.param(Form((1, 1, 1), groups=2), "sum", id="pointwise_grouped_is_one_conv2d"),
        pytest.param(Form((1, 3, 3)), "sum", id="flat_in_time_is_one_conv2d"),
        pytest.param(Form((2, 2, 2), stride=(2, 2, 2)), "unrolled", id="patch_embedding"),
        pytest.param(Form((3, 2, 2), stride=(3, 2, 2)), "unrolled", id="mochi_encoder_down"),
        pytest.param(Form((3, 3, 3)), "stacked", id="full"),
        pytest.param(Form((3, 1, 1)), "stacked", id="flat_in_space"),
        pytest.param(Form((3, 3, 3), padding=((2, 0), (1, 1), (1, 1)), modes=REPLICATE), "sum", id="causal"),
        pytest.param(
            Form((3, 3, 3), padding=((0, 0), (1, 1), (1, 1)), modes=REPLICATE), "stacked", id="none_repeated"
        ),
        pytest.param(
            Form((3, 3, 3), (2, 1, 1), ((2, 0), (1, 1), (1, 1)), REPLICATE), "stacked", id="strided"
        ),
        pytest.param(Form((2, 2, 2), stride=(2, 2, 2), dilation=(2, 1, 1)), "stacked", id="dilated"),
    ],
)
def test_the_rule(form, decomposition):
    assert choose(form) == decomposition
    assert DECOMPOSITIONS[decomposition].why_not(form) is None


@pytest.mark.parametrize("strategy", ["fastest", "separable", ""])
def test_unknown_strategy_names_the_choices(decoder, strategy):
    with pytest.raises(Refused, match="auto, linear, sum, stacked, unrolled"):
        decompose(decoder, strategy)


@pytest.mark.parametrize(
    "model, options, message",
    [
        pytest.param(nn.Conv2d(1, 1, 1), {}, "no Conv3d matched", id="none_there"),
        pytest.param(nn.Conv3d(1, 1, 1), {"only": "nowhere"}, "no Conv3d matched", id="none_named"),
        pytest.param(nn.Conv3d(1, 1, 3), {"strategy": "linear"}, "1×1×1 kernel", id="way_does_not_fit"),
        pytest.param(nn.ConvTranspose3d(1, 1, 3), {"strategy": "sum"}, "transposed", id="transposed_by_sum"),
        pytest.param(nn.LazyConv3d(1, 3), {}, "not initialised", id="lazy"),
        pytest.param(weight_norm(nn.Conv3d(1, 1, 3)), {}, "parametrized", id="weight_norm"),
    ],
)
def test_refuses_when_nothing_was_replaced(model, options, message):
    with pytest.raises(Refused, match=message):
        decompose(model, **options)


@torch.no_grad()
def test_transposed_is_equal():
    torch.manual_seed(0)
    model = nn.ConvTranspose3d(4, 6, 3, stride=2, padding=1, output_padding=1).double()
    new, report = decompose(model)
    x = torch.randn(2, 4, 3, 4, 5, dtype=torch.float64)
    assert relative(new(x), model(x)) <= TOLERANCE and report.rows[0].decomposition == "transposed"


def test_a_conv3d_with_a_forward_of_its_own_is_left():
    class Negated(nn.Conv3d):
        def forward(self, x):
            return -super().forward(x)

    _, report = decompose(nn.Sequential(nn.Conv3d(1, 1, 1), Negated(1, 1, 1)))
    assert report.n == 1 and "forward of its own" in report.left[0].why


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


def test_report_shows_every_row(decoder):
    _, report = decompose(decoder, "linear")
    text, html = str(report), report._repr_html_()
    assert "1 of 11 Conv3d replaced" in text and text.count("\n") == 11
    assert html.count("<tr>") == 12 and "conv_in" in html


@torch.no_grad()
def test_a_lost_cache_is_seen():
    """Planted fault: the test above must fail if the cache were ignored."""
    torch.manual_seed(0)
    stock = CogVideoXCausalConv3d(2, 2, 3, pad_mode="constant").double()
    new, _ = decompose(stock)
    x, cache = (
        torch.randn(1, 2, 2, 4, 4, dtype=torch.float64),
        torch.randn(1, 2, 2, 4, 4, dtype=torch.float64),
    )
    assert relative(new(x)[0], stock(x, cache)[0]) > 1e-3
