"""What autoencoders compile to besides convolutions: a rule each, through the compiler, against float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ttvideo.basics.compare import compare
from ttvideo.decoders.rows import keep_row_major
from ttvideo.probing.probe import probe, probe_each


class Does(nn.Module):
    def __init__(self, function, *parameters):
        super().__init__()
        self.function, self.parts = function, nn.ParameterList(nn.Parameter(p) for p in parameters)

    def forward(self, x):
        return self.function(x, *self.parts)


def causal_mask(x):
    """[1, 4, 4, C] as HunyuanVideo-1.5 makes its own: row after row of an empty one."""
    mask = torch.full((4, 4), 1.0, dtype=x.dtype, device=x.device)
    for i in range(4):
        mask[i, : i + 1] = 0
    return x + mask[:, :, None]


def seeded(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


# name: op, module, input shape
CASES = {
    "rms_norm": ("ttnn.rms_norm", Does(lambda x, g: F.rms_norm(x, (64,), g, 1e-3), 1 + seeded(64)), (40, 64)),
    "rms_norm_without_gain": ("ttnn.rms_norm", Does(lambda x: F.rms_norm(x, (64,), None, 1e-3)), (40, 64)),
    "conv1d": (
        "ttnn.conv1d",
        Does(lambda x, w, b: F.conv1d(x, w, b, 2, 1), seeded(16, 32, 3), seeded(16)),
        (2, 32, 12),
    ),
    "trilinear": (
        "ttnn.rows_gather",
        Does(lambda x: F.interpolate(x, scale_factor=2.0, mode="trilinear")),
        (1, 8, 3, 4, 5),
    ),
    "only_row": ("ttnn.rows_gather", Does(keep_row_major), (1, 1, 64, 32)),
    "mask": ("ttnn.rows_scatter", Does(causal_mask), (1, 4, 4, 32)),
}


@pytest.fixture(scope="module")
def verdicts():
    cases = {
        name: (module.bfloat16(), (seeded(*shape).bfloat16(),)) for name, (_, module, shape) in CASES.items()
    }
    return probe_each(cases, "p150-compile", evaluate=True)


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_rule(verdicts, name):
    op, module, shape = CASES[name]
    verdict = verdicts[name]
    assert verdict.passed and not verdict.cut, verdict
    print(name, dict(verdict.op_counts))
    want = module.double()(seeded(*shape).bfloat16().double())
    assert compare(verdict.outputs, want).max_abs <= 0.008 * want.abs().max()
    if verdict.op_counts[op] == 0:
        pytest.fail(f"{op} isn't in the program, which has {dict(verdict.op_counts)}")


def test_what_a_mask_hides_has_no_weight():
    """As on ttsim, where it is 0; an exponent below the least would be a NaN."""
    mask = torch.zeros(64).bfloat16()
    mask[40:], mask[:3] = -1e9, -torch.inf
    module = Does(lambda x, m: torch.softmax(x + m, -1), mask)
    verdict = probe(module, (seeded(32, 64).bfloat16(),), "p150-compile", evaluate=True)
    assert (verdict.outputs[:, mask < 0] == 0).all() and (verdict.outputs[:, mask == 0] > 0).all()
