"""`decompose` heeds what an instance does: it is left and reported, or stood in for as others can use it."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from seeded import seeded
from torch import nn

from ttvideo import compare, decompose
from ttvideo.decompositions import DECOMPOSITIONS
from ttvideo.media.small_autoencoders import SMALL, decode, encode

ROUNDING = 1e-12


@torch.no_grad()
def check_equal(model, x, left=()):
    """The copy gives the same, and says what it has left."""
    new, report = decompose(model)
    assert compare(new(x), model(x)).max_abs <= ROUNDING
    assert {row.name: row.why for row in report.left}.keys() == set(left)
    return new, report


def two():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(3, 4, 3), nn.Sequential(nn.Conv3d(4, 3, 1))).double()


@pytest.mark.parametrize(
    "path, why", [("0", "its forward was replaced"), ("1", "the forward of 1, which holds it")]
)
def test_an_instances_own_forward_is_kept(path, why):
    model = two()
    part = model.get_submodule(path)
    part.forward = partial(lambda forward, x: 2 * forward(x), part.forward)
    _, report = check_equal(model, seeded(1, 3, 4, 5, 6), left=["0" if path == "0" else "1.0"])
    assert report.n == 1 and why in report.left[0].why


def test_another_method_in_the_place_of_an_instances_is_seen_too():
    model = two()
    model[0]._conv_forward = lambda x, weight, bias: F.conv3d(x, -weight, bias)
    check_equal(model, seeded(1, 3, 4, 5, 6), left=["0"])


def test_an_old_weight_norm_is_kept_and_the_rest_replaced():
    model = two()
    torch.nn.utils.weight_norm(model[0])
    new, report = check_equal(model, seeded(1, 3, 4, 5, 6), left=["0"])
    assert "WeightNorm" in report.left[0].why
    with torch.no_grad():
        model[0].weight_g *= 2  # the copy's own weight follows its own parts
    assert not torch.equal(new(seeded(1, 3, 4, 5, 6)), model(seeded(1, 3, 4, 5, 6)))


def helper(x, weight):
    return F.conv3d(x, weight)


class ByHand(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.weight = nn.Conv3d(3, 3, 1), nn.Parameter(torch.randn(3, 3, 3, 3, 3))

    def forward(self, x):
        return self.conv(self.inner(x))

    def inner(self, x):
        return (lambda: torch.conv3d(x, self.weight))()


class ByAnother(ByHand):
    def inner(self, x):
        return helper(x, self.weight)


@pytest.mark.parametrize("kind, where", [(ByHand, "inner"), (ByAnother, "helper")])
def test_a_convolution_by_hand_is_in_the_report(kind, where):
    _, report = check_equal(kind().double(), seeded(1, 3, 4, 5, 6), left=[""])
    assert report.n == 1 and f"{where} calls conv3d itself" in report.left[0].why


@pytest.mark.parametrize("name", [*DECOMPOSITIONS, "transposed"])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_replacement_has_the_weight_and_the_sizes_of_what_it_stands_for(name, groups):
    torch.manual_seed(0)
    kernel, stride = {"linear": (1, 1), "unrolled": ((2, 3, 3), (2, 1, 1))}.get(name, (3, 2))
    if name == "linear" and groups > 1:
        return
    kind, strategy = (nn.ConvTranspose3d, "auto") if name == "transposed" else (nn.Conv3d, name)
    conv = kind(4, 6, kernel, stride, groups=groups)
    new, _ = decompose(conv, strategy)
    assert torch.equal(new.weight, conv.weight) and torch.equal(new.bias, conv.bias)
    for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"):
        assert getattr(new, name) == getattr(conv, name)
    with pytest.raises((KeyError, AttributeError)):
        new.weight = nn.Parameter(conv.weight * 2)  # it would be lost


class Patches(nn.Module):
    """As Qwen-VL's embedding of patches reads its projection's type."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Conv3d(3, 8, (2, 4, 4), (2, 4, 4), bias=False)

    def forward(self, x):
        return self.proj(x.to(self.proj.weight.dtype)).flatten(1)


def test_the_type_of_a_replacements_weight():
    check_equal(Patches().double(), seeded(1, 3, 4, 8, 8).float())


@torch.no_grad()
@pytest.mark.parametrize("size", [None, (8, 9, 11), (1, 5, 8, 9, 12), (7, 10, 11)])
@pytest.mark.parametrize("stride", [2, (2, 2, 3)])
def test_an_output_size_is_followed_as_torch_does(size, stride):
    torch.manual_seed(0)
    conv = nn.ConvTranspose3d(3, 5, 3, stride, padding=1).double()
    new, x = decompose(conv)[0], seeded(1, 3, 4, 5, 6)
    try:
        want = conv(x, output_size=size)
    except ValueError:
        with pytest.raises(ValueError):
            new(x, output_size=size)
    else:
        assert compare(new(x, output_size=size), want).max_abs <= ROUNDING


@torch.no_grad()
@pytest.mark.parametrize("name", ["Wan 2.1", "Mochi"])
def test_weights_cast_at_each_call(name):
    vae = SMALL[name].make()
    vae.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float64)
    new, report = decompose(vae)
    assert not report.left
    z = encode(vae, seeded(*SMALL[name].clip))
    assert compare(decode(new, z), decode(vae, z)).max_abs <= 1e-11
