"""Separable: a temporal Conv1d, then a spatial Conv2d. Not exact, except where it costs more than it saves.

Seen as a matrix, temporal by spatial, a kernel [O, I, kt, kh, kw] is M of (I*kt) × (O*kh*kw). A Conv1d to r
channels followed by a Conv2d from r channels is exactly a matrix of rank at most r, and any such matrix is
one. So the closest separable convolution of r channels is M's truncated SVD (Eckart and Young, 1936), the
error of every r is known from the singular values, and only r = rank M is exact: trained weights have full
rank, min(I*kt, O*kh*kw).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.decompositions.decomposition import Decomposition
from ttvideo.decompositions.form import Form
from ttvideo.decompositions.stacked import Stacked


def unfold(weight: torch.Tensor) -> torch.Tensor:
    """[O, I, kt, kh, kw] -> the matrix M [I*kt, O*kh*kw], temporal × spatial."""
    return weight.permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1)


def factorise(weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The closest pair of kernels: temporal [r, I, kt, 1, 1] and spatial [O, r, 1, kh, kw].

    Computed in float64, returned in the weight's dtype; each side takes the root of the singular values.
    Raises `Refused` for a rank under 1 or over what is exact.
    """
    o, i, kt, kh, kw = weight.shape
    most = exact_rank(weight.shape)
    if not 1 <= rank <= most:
        raise Refused("rank", rank, f"1 to {most}")
    u, s, v = torch.linalg.svd(unfold(weight.detach()).double(), full_matrices=False)
    root = s[:rank].sqrt()
    temporal = (u[:, :rank] * root).T.reshape(rank, i, kt, 1, 1)
    spatial = (root[:, None] * v[:rank]).reshape(rank, o, kh, kw).transpose(0, 1)[:, :, None]
    return temporal.to(weight.dtype), spatial.to(weight.dtype)


def exact_rank(shape: Iterable[int]) -> int:
    """The rank at which any kernel [O, I, kt, kh, kw] of this shape is exact."""
    o, i, kt, kh, kw = shape
    return min(i * kt, o * kh * kw)


@dataclass(frozen=True)
class RankRow:
    """One rank. `error` is ||K - K_r|| / ||K|| (Frobenius), the relative error on white noise;
    `cost_ratio` is r * (I*kt + O*kh*kw) / (O*I*kt*kh*kw), the parameters relative to the Conv3d's and, at
    stride 1, the multiply-adds an output position as well.
    """

    rank: int
    error: float
    cost_ratio: float


def rank_table(weight: torch.Tensor, ranks: Iterable[int] | None = None) -> list[RankRow]:
    """Error and cost of the closest separable convolution, for powers of 2 and the exact rank by default."""
    o, i, kt, kh, kw = weight.shape
    most = exact_rank(weight.shape)
    if ranks is None:
        ranks = sorted({*(2**n for n in range(most.bit_length())), most})
    energy = torch.linalg.svdvals(unfold(weight.detach()).double()).square()
    left = energy.flip(0).cumsum(0).flip(0)  # left[r]: what the first r leave out, summed from the smallest
    rows = []
    for rank in ranks:
        if not 1 <= rank <= most:
            raise Refused("rank", rank, f"1 to {most}")
        rest = left[rank].item() if rank < len(left) else 0.0
        ratio = rank * (i * kt + o * kh * kw) / weight.numel()
        rows.append(RankRow(rank, (rest / energy.sum().item()) ** 0.5, ratio))
    return rows


def break_even_rank(shape: Iterable[int]) -> int:
    """The largest rank that has no more multiply-adds than the Conv3d itself (stride 1)."""
    o, i, kt, kh, kw = shape
    return o * i * kt * kh * kw // (i * kt + o * kh * kw)


class Separable(Decomposition):
    """The closest separable convolution of `rank` channels: [B, C, T, H, W] -> [B, O, T', H', W'].

    Same padding as the form's, the time's before the Conv1d and the space's before the Conv2d; as padding
    is separable and the Conv1d has no bias, that is exact in the padding for every mode.
    """

    name = "separable"

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, form: Form, rank: int):
        super().__init__(form)
        temporal, spatial = factorise(weight, rank)
        (kt, *ks), (st, *ss), (pt, *ps), (mt, *ms), (dt, *ds) = (
            form.kernel,
            form.stride,
            form.padding,
            form.modes,
            form.dilation,
        )
        none, zeros = (0, 0), "zeros"
        in_time = Form((kt, 1, 1), (st, 1, 1), (pt, none, none), (mt, zeros, zeros), (dt, 1, 1))
        in_space = Form((1, *ks), (1, *ss), (none, *ps), (zeros, *ms), (1, *ds))
        self.temporal = Stacked(temporal, None, in_time)
        self.spatial = Stacked(spatial, bias, in_space)

    @classmethod
    def why_not(cls, form):
        if form.groups != 1:
            return "one group"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.spatial(self.temporal(x))


class Conv3dAs2D(nn.Module):
    """The class that the issue analysis proposes: Conv1d C -> O over time, then Conv2d O -> O over space.

    [B, C, T, H, W] -> [B, O, T, H, W] for odd kernels. It has O channels between the two and zero padding on
    all sides. Trained Conv3d weights can't be put into it. For a 3×3×3 kernel with O = I = C it holds 12 C²
    numbers, a Conv3d 27 C²; and as a matrix (see above) its kernel has rank C at most, a trained one 3 C.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: tuple[int, int, int] = (3, 3, 3)):
        super().__init__()
        kt, kh, kw = kernel_size
        self.temporal = nn.Conv1d(in_channels, out_channels, kt, padding=kt // 2)
        self.spatial = nn.Conv2d(out_channels, out_channels, (kh, kw), padding=(kh // 2, kw // 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, _, t, h, w = x.shape
        x = self.temporal(x.permute(0, 3, 4, 1, 2).flatten(0, 2))
        x = x.unflatten(0, (b, h, w)).permute(0, 4, 3, 1, 2).flatten(0, 1)
        return self.spatial(x).unflatten(0, (b, t)).transpose(1, 2)

    def as_conv3d_kernel(self) -> torch.Tensor:
        """The Conv3d kernel [O, I, kt, kh, kw] that this class amounts to (away from the borders)."""
        return torch.einsum("orhw,rit->oithw", self.spatial.weight, self.temporal.weight)

    @torch.no_grad()
    def fit(self, weight: torch.Tensor, bias: torch.Tensor | None) -> float:
        """Put the closest weights in, and return their error ||K - K_O|| / ||K||: the best there is."""
        rank = min(self.temporal.out_channels, exact_rank(weight.shape))
        temporal, spatial = factorise(weight, rank)
        for layer, kernel in ((self.temporal, temporal[..., 0, 0]), (self.spatial, spatial[:, :, 0])):
            layer.weight.zero_()
            layer.bias.zero_()
            layer.weight[tuple(slice(n) for n in kernel.shape)] = kernel.to(layer.weight.dtype)
        if bias is not None:
            self.spatial.bias.copy_(bias)
        return rank_table(weight, [rank])[0].error
