"""Attention over time at each pixel, for frames [N, C] that come a few at a time.

Hazard: written as [N, heads, T, 32] for all pixels, keys, values and scores of a 240 x 424 frame are 15 GB at
T = 163, in which T is rounded up to 192. So pixels are cut into bands, which don't see each other. And with
frames last but one before they are turned, [N, T, C], each new frame would be stored as 32. Queries and keys
have length 1 each (`qk_norm="l2"`): an RMS norm without a gain, over sqrt(32). So scores lie within 0.18 of
0, and their exponential needs no maximum taken off. ttnn.softmax would take it of a straight line within each
octave.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused
from ttvideo.decoders.attention import CausalAttention, as_linear, bands_of


class TimeAttention(nn.Module):
    """diffusers' `Attention` with `MochiVaeAttnProcessor2_0`: causal, heads side by side in the channels.

    Raises `Refused` for another kind of attention.
    """

    def __init__(self, stock: nn.Module):
        super().__init__()
        self.heads, self.channels = stock.heads, stock.to_q.in_features
        norms = stock.norm_q, stock.norm_k
        if not stock.is_causal or any(type(norm).__name__ != "LpNorm" or norm.p != 2 for norm in norms):
            raise Refused(
                "attention", f"causal: {stock.is_causal}, norms {norms}", "Mochi's VAE's: causal, l2"
            )
        if stock.residual_connection or stock.rescale_output_factor != 1:
            raise Refused("attention", "a residual or a factor of its own", "Mochi's VAE's, without")
        self.tiny, each = norms[0].eps ** 2, self.channels // self.heads
        # Both come sqrt(32) long out of an RMS norm. A factor here costs no pass, and no float32 as it would
        # later.
        self.scale = nn.Parameter(
            torch.full((each,), each**-1.5, dtype=stock.to_q.weight.dtype), requires_grad=False
        )
        self.q, self.kv, self.proj = (
            as_linear(stock.to_q),
            as_linear(stock.to_k, stock.to_v),
            as_linear(stock.to_out[0]),
        )

    def forward(self, past: list[Tensor], frames: list[Tensor]) -> list[Tensor]:
        """For each of `frames`, [N, C]: what it gets from itself and all before it, `past` among them, oldest
        first."""
        if not past and len(frames) == 1:  # all its weight is on itself
            return [self.proj(self.kv(frames[0]).chunk(2, -1)[1])]
        seen = [*past, *frames]
        bands = [
            self.band(rows_of(seen, rows), rows_of(frames, rows))
            for rows in bands_of(len(seen), *seen[0].shape)
        ]
        return list(torch.cat(bands, 1).unbind())

    def band(self, seen_tnc: Tensor, new_tnc: Tensor) -> Tensor:
        """[T, n, C], [F, n, C] -> [F, n, C]."""
        k, v = self.kv(seen_tnc).chunk(2, -1)
        q, k, v = (self.by_head(x) for x in (self.q(new_tnc), k, v))
        q, k = (
            F.rms_norm(x, x.shape[-1:], gain, self.tiny / x.shape[-1])
            for x, gain in ((q, self.scale), (k, None))
        )
        weights = torch.exp(q @ k.transpose(1, 2))
        if len(new_tnc) > 1:
            zero = torch.zeros((), dtype=weights.dtype, device=weights.device)
            weights = torch.where(back(len(new_tnc), len(seen_tnc), weights.device), weights, zero)
        out = weights @ v / weights.sum(-1, keepdim=True)
        return self.proj(torch.cat(out.transpose(0, 1).chunk(self.heads, 1), -1))

    def by_head(self, x_tnc: Tensor) -> Tensor:
        """[T, n, heads * c] -> [heads * n, T, c]: cut at tiles' edges, then turned once."""
        return torch.cat(x_tnc.chunk(self.heads, -1), 1).transpose(0, 1)


class CausalTimeAttention(CausalAttention):
    """Attention of one head, at each pixel, to the same frame and to all before it; it keeps what
    `CausalAttention` does."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        k, v = (x.unflatten(0, (-1, len(q))) for x in (k, v))
        bands = bands_of(len(k), *q.shape)
        return torch.cat([self.band(q[rows], k[:, rows], v[:, rows]) for rows in bands])

    def band(self, q_nc: Tensor, k_tnc: Tensor, v_tnc: Tensor) -> Tensor:
        scores = q_nc[:, None] @ k_tnc.permute(1, 2, 0) / math.sqrt(q_nc.shape[-1])
        return (F.softmax(scores, dim=-1) @ v_tnc.transpose(0, 1)).squeeze(1)


def rows_of(frames: list[Tensor], rows: slice) -> Tensor:
    """A band of each frame, [N, C] -> [T, n, C]. Cut before they are put together: whole frames would be one
    block of DRAM as large as all of them, for which at last a board that has the memory has no room in one
    piece."""
    return torch.cat([x[rows] for x in frames]).unflatten(0, (len(frames), -1))


def back(new: int, seen: int, device) -> Tensor:
    """[new, seen]: where a new frame looks at itself or back, not ahead."""
    frame = torch.arange(seen, dtype=torch.int32, device=device)
    return frame[None] <= frame[seen - new :, None]
