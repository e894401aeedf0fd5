"""How close are two tensors? The numbers, apart from any pass or fail."""

import math
from dataclasses import asdict, dataclass

import torch

from ttvideo.basics.errors import Refused


@dataclass(frozen=True)
class Closeness:
    """`pcc` (Pearson, raw), `max_abs` (same unit as the tensors), `psnr_db` (for the given peak-to-peak
    range)."""

    pcc: float
    max_abs: float
    psnr_db: float

    def as_dict(self) -> dict:
        return asdict(self)


def compare(got: torch.Tensor, want: torch.Tensor, data_range: float = 2.0) -> Closeness:
    """Compare two tensors of one shape in float64.

    `data_range` is the signal's peak-to-peak range, 2.0 for frames in [-1, 1].
    Equal tensors give pcc 1.0 and psnr_db inf; a constant against anything else gives pcc 0.0.
    Raises `Refused` for unlike shapes and for NaN or Inf on either side, which a PCC would hide.
    """
    if got.shape != want.shape:
        raise Refused("compare", f"shape {tuple(got.shape)}", f"shape {tuple(want.shape)}")
    for name, tensor in (("first", got), ("second", want)):
        if not torch.isfinite(tensor).all():
            raise Refused("compare", f"NaN or Inf in the {name} tensor", "finite values")
    got, want = got.detach().double().flatten(), want.detach().double().flatten()
    difference = got - want
    max_abs = difference.abs().max().item()
    if max_abs == 0.0:
        return Closeness(1.0, 0.0, float("inf"))
    mse = difference.square().mean()
    psnr = (10 * torch.log10(data_range**2 / mse)).item()
    a, b = got - got.mean(), want - want.mean()
    norm = (a.norm() * b.norm()).item()
    return Closeness((a @ b).item() / norm if norm else 0.0, max_abs, psnr)


def psnr_by_frame(got_bcthw: torch.Tensor, want_bcthw: torch.Tensor) -> list[float]:
    """PSNR in dB of each frame of two clips in [-1, 1]. Raises `Refused` as `compare` does."""
    if got_bcthw.shape != want_bcthw.shape:
        raise Refused("compare", f"shape {tuple(got_bcthw.shape)}", f"shape {tuple(want_bcthw.shape)}")
    return [compare(got, want).psnr_db for got, want in zip(got_bcthw.unbind(2), want_bcthw.unbind(2))]


class RunningComparison:
    """`compare` of two clips that come in pieces: holds sums, no tensors."""

    def __init__(self, data_range: float = 2.0):
        self.data_range, self.max_abs, self.count = data_range, 0.0, 0
        self.sums = torch.zeros(6, dtype=torch.float64)  # of a, b, a * a, b * b, a * b, (a - b) squared

    def add(self, got: torch.Tensor, want: torch.Tensor) -> Closeness:
        """Take in a pair of pieces; returns how close they are. Raises `Refused` as `compare` does."""
        piece = compare(got, want, self.data_range)
        a, b = got.detach().double().flatten(), want.detach().double().flatten()
        self.sums += torch.stack([a.sum(), b.sum(), a @ a, b @ b, a @ b, (a - b).square().sum()])
        self.max_abs, self.count = max(self.max_abs, piece.max_abs), self.count + a.numel()
        return piece

    @property
    def closeness(self) -> Closeness:
        """Of all that was added. Raises `Refused` if nothing was."""
        if not self.count:
            raise Refused("compare", "no pieces", "at least one")
        if self.max_abs == 0.0:
            return Closeness(1.0, 0.0, float("inf"))
        a, b, aa, bb, ab, squares = (self.sums / self.count).tolist()
        norm = ((aa - a * a) * (bb - b * b)) ** 0.5
        psnr = 10 * math.log10(self.data_range**2 / squares)
        return Closeness((ab - a * b) / norm if norm else 0.0, self.max_abs, psnr)
