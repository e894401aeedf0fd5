"""Attention of one head among the pixels of a frame, [N, C]: no frame looks at another, so nothing is kept."""

import math

from torch import Tensor, nn
from torch.nn import functional as F


class FrameAttention(nn.Module):
    """`WanAttentionBlock` on [N, C], what it adds to its input. `norm` stands before it."""

    def __init__(self, norm: nn.Module, qkv: nn.Conv2d, proj: nn.Conv2d):
        super().__init__()
        self.norm = norm
        self.qkv, self.proj = as_linear(qkv), as_linear(proj)

    def forward(self, x_nc: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x_nc)).chunk(3, dim=-1)
        # Written out: torch_xla's own also looks for rows that attend to nothing, 5 passes over [N, N].
        scores = F.softmax(q @ k.t() / math.sqrt(q.shape[-1]), dim=-1)
        return x_nc + self.proj(scores @ v)


def as_linear(conv: nn.Module) -> nn.Linear:
    """A pointwise convolution of any rank as a Linear."""
    linear = nn.Linear(conv.in_channels, conv.out_channels, bias=conv.bias is not None)
    linear.weight = nn.Parameter(conv.weight.detach().flatten(1).clone(), requires_grad=False)
    if conv.bias is not None:
        linear.bias = nn.Parameter(conv.bias.detach().clone(), requires_grad=False)
    return linear
