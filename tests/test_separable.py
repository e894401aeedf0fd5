"""The closest separable convolution: its error is the one that the singular values promise."""

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_mochi import MochiDecoder3D
from seeded import seeded
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.decompositions import Form
from ttvideo.decompositions.decompose import separate
from ttvideo.decompositions.form import MODES
from ttvideo.decompositions.separable import (
    Conv3dAs2D,
    Separable,
    break_even_rank,
    exact_rank,
    factorise,
    rank_table,
    unfold,
)


@pytest.fixture
def weight():
    return seeded(5, 4, 3, 3, 3)


def product(temporal, spatial):
    return torch.einsum("orhw,rit->oithw", spatial[:, :, 0], temporal[:, :, :, 0, 0])


def relative(got, want):
    return ((got - want).norm() / want.norm()).item()


@pytest.mark.parametrize("rank", [1, 7, 12])
def test_error_is_the_promised_one(weight, rank):
    assert exact_rank(weight.shape) == 12  # I*kt = 4*3, under O*kh*kw = 45
    error = relative(product(*factorise(weight, rank)), weight)
    assert error == pytest.approx(rank_table(weight, [rank])[0].error, abs=1e-12)
    assert (error < 1e-12) == (rank == 12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 1, 2)])
def test_exact_at_full_rank_in_every_padding(weight, mode, stride):
    form = Form((3, 3, 3), stride, ((2, 0), (1, 1), (1, 2)), (mode,) * 3, (1, 1, 2))
    bias, x = torch.randn(5, dtype=torch.float64), torch.randn(2, 4, 6, 6, 7, dtype=torch.float64)
    padded = F.pad(x, (1, 2, 1, 1, 2, 0), {"zeros": "constant"}.get(mode, mode))
    want = F.conv3d(padded, weight, bias, stride, 0, (1, 1, 2))
    assert relative(Separable(weight, bias, form, 12)(x), want) < 1e-12
    assert relative(Separable(weight, bias, form, 6)(x), want) > 1e-2


def test_white_noise_error_is_the_table_error(weight):
    form, rank = Form((3, 3, 3)), 5
    x = seeded(1, 4, 24, 48, 48, seed=1)
    got = relative(Separable(weight, None, form, rank)(x), F.conv3d(x, weight))
    assert got == pytest.approx(rank_table(weight, [rank])[0].error, rel=0.05)


def test_table_goes_down_to_zero_and_its_cost_up(weight):
    rows = rank_table(weight)
    assert [row.rank for row in rows] == [1, 2, 4, 8, 12]
    assert all(a.error > b.error and a.cost_ratio < b.cost_ratio for a, b in zip(rows, rows[1:]))
    assert rows[-1].error == 0.0
    separable = Separable(weight, None, Form((3, 3, 3)), 8)
    assert rows[3].cost_ratio == sum(p.numel() for p in separable.parameters()) / weight.numel()


def test_a_rank_of_nine_quarters_of_the_channels_costs_as_much_as_conv3d():
    """C channels, 3×3×3: 27 C² multiply-adds, and of rank R 3 C R and 9 C R; exact it is at 3 C."""
    assert [(break_even_rank((c, c, 3, 3, 3)), exact_rank((c, c, 3, 3, 3))) for c in (128, 768)] == [
        (288, 384),
        (1728, 2304),
    ]


@pytest.mark.parametrize("rank", [0, 13])
def test_refuses_a_rank_that_is_none(weight, rank):
    with pytest.raises(Refused, match="1 to 12"):
        factorise(weight, rank)
    with pytest.raises(Refused, match="no causal Conv3d"):
        separate(nn.Conv3d(1, 1, 3), 1)


def test_analysis_class_cannot_hold_trained_weights():
    c = 6
    trained = seeded(c, c, 3, 3, 3)
    proposed = Conv3dAs2D(c, c).double()
    kernel = proposed.as_conv3d_kernel().detach()
    rank_of = lambda w: torch.linalg.matrix_rank(unfold(w)).item()
    assert rank_of(kernel) == c and rank_of(trained) == 3 * c
    weights = sum(p.numel() for name, p in proposed.named_parameters() if name.endswith("weight"))
    assert weights == 12 * c * c and trained.numel() == 27 * c * c
    error = proposed.fit(trained, None)
    assert relative(proposed.as_conv3d_kernel().detach(), trained) == pytest.approx(error, abs=1e-12)
    assert error > 0.3


def test_analysis_class_is_the_kernel_it_says():
    torch.manual_seed(0)
    proposed = Conv3dAs2D(3, 4).double()
    nn.init.zeros_(proposed.temporal.bias)
    x = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)
    want = F.conv3d(x, proposed.as_conv3d_kernel(), proposed.spatial.bias, padding=1)
    assert relative(proposed(x), want) < 1e-12


@torch.no_grad()
def test_separate_a_decoder():
    torch.manual_seed(0)
    sizes = dict(block_out_channels=(32, 32, 32, 32), layers_per_block=(1, 1, 1, 1, 1))
    decoder = MochiDecoder3D(12, 3, **sizes).double().eval()
    latents = torch.randn(1, 12, 1, 2, 2, dtype=torch.float64)
    want = decoder(latents)[0]
    errors = []
    for rank in (8, 32, 1.0):
        broken, n = separate(decoder, rank)
        assert n == 10
        errors.append(relative(broken(latents)[0], want))
    # Through twenty layers a nearer kernel need not give a nearer picture; the exact one must.
    assert min(errors[:2]) > 1e-2 and errors[2] < 1e-10
    assert torch.equal(decoder(latents)[0], want)
