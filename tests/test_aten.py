"""What torch_xla 2.9 can't trace as torch means it: in other words it gives torch's own results."""

import pytest
import torch
import torch.nn.functional as F

from ttvideo.probing.aten import IN_OTHER_WORDS
from ttvideo.probing.probe import probe

aten = torch.ops.aten


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize(
    "shape, options",
    [
        pytest.param((2, 3, 2, 4, 5), {"scale_factor": 2.0}, id="whole_3d"),
        pytest.param((1, 3, 2, 4, 5), {"scale_factor": (1.0, 2.0, 2.0)}, id="in_space_alone"),
        pytest.param((1, 3, 3, 4, 5), {"size": (5, 8, 7)}, id="by_a_fraction"),
        pytest.param((1, 3, 8, 9, 4), {"size": (4, 3, 3)}, id="fewer"),
        pytest.param((1, 3, 4, 5), {"scale_factor": 2.5}, id="scale_2d"),
        pytest.param((1, 3, 7), {"size": 11}, id="1d"),
    ],
)
def test_nearest_is_torch_s(mode, shape, options):
    x = torch.randn(shape)
    with Counted() as mended:
        got = F.interpolate(x, mode=mode, **options)
    assert mended.count == 1 and torch.equal(got, F.interpolate(x, mode=mode, **options))


@pytest.mark.parametrize(
    "start, end", [(-2, 9), (-2, -1), (-5, None), (0, -7), (1, 3), (None, None)], ids=str
)
@pytest.mark.parametrize("size", [1, 4])
def test_slice_is_torch_s(start, end, size):
    x = torch.randn(3, size)
    mended = IN_OTHER_WORDS[aten.slice_copy.Tensor]
    assert torch.equal(mended(x, 1, start, end), aten.slice_copy.Tensor(x, 1, start, end))


@pytest.mark.parametrize("repeats", [(2, 3), (0, 1), (2, 0, 3)], ids=str)
def test_repeat_is_torch_s(repeats):
    x = torch.randn(2, 3)
    assert torch.equal(IN_OTHER_WORDS[aten.repeat.default](x, repeats), x.repeat(repeats))


class Counted(torch.utils._python_dispatch.TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function in IN_OTHER_WORDS
        return IN_OTHER_WORDS.get(function, function)(*args, **(kwargs or {}))


class Hazards(torch.nn.Module):
    def forward(self, x):
        """[1, 32, 1, 4, 4] -> [1, 32, 2, 8, 8], by all of them."""
        x = torch.cat([x[:, :, :1].repeat(1, 1, 0, 1, 1), x[:, :, -2:]], 2)
        x = F.interpolate(x, scale_factor=(2.0, 1.0, 1.0), mode="nearest")
        return F.interpolate(x[0].transpose(0, 1), scale_factor=(2.0, 2.0), mode="nearest-exact").transpose(
            0, 1
        )[None]


def test_a_trace_is_one_program_and_right():
    x = torch.randn(1, 32, 1, 4, 4).bfloat16()
    verdict = probe(Hazards(), (x,), "p150-compile", evaluate=True)
    assert verdict.passed and not verdict.cut
    assert torch.equal(verdict.outputs, Hazards()(x))


class Written(torch.nn.Module):
    def forward(self, x):
        made = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        made[:, :2], made[:, 2:] = 2 * x[:, :2], x[:, 2:]
        return made


def test_a_write_to_a_part_is_heeded():
    x = torch.randn(1, 4, 32, 32).bfloat16()
    assert torch.equal(probe(Written(), (x,), "p150-compile", evaluate=True).outputs, Written()(x))
