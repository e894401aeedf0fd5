"""Attention of one head among pixels, [N, C]: those of a frame, or those of all frames before it too.

Written out: torch_xla's own also looks for rows that attend to nothing, 5 passes over [N, N].
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused
from ttvideo.decoders.clip_decoder import Memory, State
from ttvideo.decoders.group_norm import TILE

BAND_VALUES = 1 << 28  # of a band's keys, or scores, in whole tiles: 0.5 GB in bf16


class FrameAttention(nn.Module):
    """Attention among the pixels of a frame [N, C], as a `WanAttentionBlock`'s: nothing is kept. `norm`
    stands before it."""

    def __init__(self, norm: nn.Module, qkv: tuple[nn.Module, ...], proj: nn.Module):
        super().__init__()
        self.norm = norm
        self.qkv, self.proj = as_linear(*qkv), as_linear(proj)

    def forward(self, x_nc: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x_nc)).chunk(3, dim=-1)
        return x_nc + self.proj(attend(q, k, v))


class CausalAttention(nn.Module):
    """Attention to the pixels of the same frame and of all before it, which needs no mask.

    What it keeps are the keys and the values of all frames so far, [1, 1, T * N, C]: they grow with the clip.
    """

    def __init__(self, name: str, q: nn.Module, k: nn.Module, v: nn.Module, proj: nn.Module):
        super().__init__()
        self.name = name
        self.qkv, self.proj = as_linear(q, k, v), as_linear(proj)

    def names(self, size: tuple[int, int]) -> list[str]:
        return [f"{self.name}.{size[0]}x{size[1]}.{part}" for part in ("keys", "values")]

    def state_shapes(
        self, size: tuple[int, int], latents: int | None = None
    ) -> dict[str, tuple[int, int, int]]:
        """Name and shape, without the batch, of each entry after so many latent frames of this size, by
        default one."""
        return dict.fromkeys(self.names(size), (1, (latents or 1) * size[0] * size[1], self.proj.in_features))

    def seen(self, state: State, size: tuple[int, int]) -> int:
        """How many latent frames of this size its keys in a state are of; 1 where that can't be told."""
        keys = state.get(self.names(size)[0])
        return 1 if keys is None or keys.dim() != 4 else max(1, keys.shape[2] // (size[0] * size[1]))

    def forward(self, frames: list[Tensor], normed: list[Tensor], memory: Memory) -> list[Tensor]:
        """`normed` are the frames as queries, keys and values are made of them."""
        names = self.names(memory.size)
        past = [] if memory.starts else [memory.old[name].flatten(0, 2) for name in names]
        outs = []
        for x_nc, y_nc in zip(frames, normed):
            q, *own = self.qkv(y_nc).chunk(3, dim=-1)
            past = [torch.cat(pair) for pair in zip(past, own)] if past else own
            outs.append(x_nc + self.proj(self.attend(q, *past)))
        memory.new |= {name: kept[None, None] for name, kept in zip(names, past)}
        return outs

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """A frame's queries [N, C], keys and values so far [T * N, C] -> [N, C]."""
        return attend(q, k, v)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """[N, C], [M, C], [M, C] -> [N, C].

    Hazard: scores are [N, M]: 2.7 GB in bf16 among the 192 x 192 latents of an image of 1536 x 1536, and
    softmax holds several of them. Queries don't see each other, so they are cut into bands.
    """
    bands = bands_of(len(k), len(q), 1)
    return weighed(q, k, v) if len(bands) == 1 else torch.cat([weighed(q[rows], k, v) for rows in bands])


def weighed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.softmax(q @ k.t() / math.sqrt(q.shape[-1]), dim=-1) @ v


def bands_of(frames: int, pixels: int, channels: int) -> list[slice]:
    """The fewest equal bands of whole tiles whose keys are no more than `BAND_VALUES`; one, where tiles don't
    divide."""
    values = math.ceil(frames / TILE) * TILE * pixels * channels
    for count in range(math.ceil(values / BAND_VALUES), pixels // TILE + 1):
        if pixels % (count * TILE) == 0:
            return [slice(i, i + pixels // count) for i in range(0, pixels, pixels // count)]
    return [slice(0, pixels)]


def as_linear(*convs: nn.Module) -> nn.Linear:
    """A pointwise convolution of any rank, or several of the same input side by side, as a Linear."""
    weight = torch.cat([conv.weight.detach().flatten(1) for conv in convs])
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=convs[0].bias is not None)
    linear.weight = nn.Parameter(weight, requires_grad=False)
    if convs[0].bias is not None:
        linear.bias = nn.Parameter(torch.cat([conv.bias.detach() for conv in convs]), requires_grad=False)
    return linear


def pointwise(conv: nn.Module | None) -> nn.Linear | None:
    """As a Linear; None where there is none, or an `nn.Identity` in its place."""
    return None if conv is None or isinstance(conv, nn.Identity) else as_linear(conv)


def check_one_head(name: str, stock: nn.Module) -> None:
    """Raise `Refused` for a diffusers' `Attention` that isn't x + to_out(attention(x)), of one head."""
    if stock.heads != 1 or not stock.residual_connection or stock.rescale_output_factor != 1:
        got = f"{stock.heads} heads, residual {stock.residual_connection}"
        got += f", divided by {stock.rescale_output_factor}"
        raise Refused(name, got, "1 head, residual True, divided by 1")
