"""The table of decompositions: what is compared with what, and where bf16 rounds."""

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.decompositions.decompose import decompose
from ttvideo.decompositions.measure import candidates, measure_decompositions, rounding_table

X = (1, 8, 3, 6, 6)


@pytest.mark.parametrize(
    "conv, besides",
    [
        (nn.Conv3d(8, 8, 1), {"linear"}),
        (nn.Conv3d(8, 8, 3, groups=2), set()),
        (nn.Conv3d(8, 8, 3, stride=3), {"unrolled", "separable"}),
        (CogVideoXCausalConv3d(8, 8, 3), {"separable"}),
    ],
)
@torch.no_grad()
def test_candidates_are_those_that_apply(conv, besides):
    found = candidates(conv)
    assert {name.split(",")[0] for name in found} == {"conv3d", "sum", "stacked"} | besides
    made = [module(torch.randn(X)) for module in found.values()]
    assert len({(one[0] if isinstance(one, tuple) else one).shape for one in made}) == 1


def test_rows_without_a_target():
    torch.manual_seed(0)
    measured = measure_decompositions(nn.Conv3d(8, 8, 3, padding=1), X, targets=())
    rows = {row.decomposition.split(",")[0]: row for row in measured}
    assert rows["sum"].exact and rows["stacked"].exact and not rows["separable"].exact
    assert rows["stacked"].max_abs_float64 == 0.0 and rows["separable"].relative_float64 > 1e-2
    assert rows["sum"].verdicts == {} and rows["sum"].pcc_evaluated is None


def test_refuses_decompositions_that_do_not_apply():
    with pytest.raises(Refused, match="conv3d, sum, stacked"):
        measure_decompositions(nn.Conv3d(8, 8, 3), X, targets=(), decompositions=("linear",))


def test_rounding_once_is_closer():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(16, 64, 3, 3, 3, generator=generator) / 40
    x = torch.randn(1, 64, 4, 8, 8, generator=generator)
    rows = {row.decomposition: row for row in rounding_table(weight, x)}
    assert rows["stacked"].roundings == 1 and rows["sum"].roundings == 5
    pcc = [rows[name].pcc for name in ("accumulated in bf16 by blocks of 32 channels", "sum", "stacked")]
    assert 0.999 < pcc[0] < pcc[1] < pcc[2]
    assert rows["stacked"].pcc == rows["sum, added in float32"].pcc
    # The simulation of a sum is what torch's own bf16 Conv2d and additions give.
    conv = nn.Conv3d(64, 16, 3, bias=False)
    conv.weight.data = weight
    with torch.no_grad():
        want = conv.bfloat16().double()(x.bfloat16().double())
        got = decompose(conv.bfloat16(), "sum")[0](x.bfloat16()).double()
    assert (got - want).abs().max().item() == pytest.approx(rows["sum"].max_abs, rel=0.3)
