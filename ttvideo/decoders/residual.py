"""A residual block of causal convolutions, each after a norm of the channels and SiLU: Wan's, and HunyuanVideo-1.5's."""

from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.decoders.memory import Memory


class ChannelResidual(nn.Module):
    """On frames [N, C]; `shortcut` is what goes around, None for the frames as they are."""

    def __init__(self, norms: list[nn.Module], convs: list[nn.Module], shortcut: nn.Module | None):
        super().__init__()
        self.norms, self.convs, self.shortcut = nn.ModuleList(norms), nn.ModuleList(convs), shortcut

    def forward(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        x = frames
        for norm, conv in zip(self.norms, self.convs):
            x = conv([F.silu(norm(frame)) for frame in x], memory)
        rest = frames if self.shortcut is None else [self.shortcut(frame) for frame in frames]
        return [a + b for a, b in zip(x, rest)]
