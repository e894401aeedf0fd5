"""Upsampling with convolutions that are added to it, as Cosmos' and Kandinsky's decoders have it."""

from torch import Tensor, nn

from ttvideo.decoders.causal import CausalConv, FrameConv
from ttvideo.decoders.clip_decoder import Memory
from ttvideo.decoders.rows import nearest


class AddedUpsample(nn.Module):
    """Each frame but a clip's first twice, plus `time` of it; twice as high and wide, plus `space` of it;
    then `proj`.

    On frames [N, C], each part where there is one. With `single_once`, so is a frame that comes alone.
    """

    def __init__(
        self,
        scale: int,
        time: CausalConv | None,
        space: FrameConv | None,
        proj: nn.Linear | None,
        single_once: bool = False,
    ):
        super().__init__()
        self.scale, self.by, self.single_once = scale, 1 if space is None else 2, single_once
        self.time, self.space, self.proj = time, space, proj

    def forward(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        if self.time is not None:
            once = len(frames) if self.single_once and len(frames) == 1 else int(memory.starts)
            frames = [*frames[:once], *(frame for frame in frames[once:] for _ in range(2))]
            frames = [a + b for a, b in zip(self.time(frames, memory), frames)]
        if self.space is not None:
            size, to = memory.at(self.scale), memory.at(self.scale * self.by)
            frames = [nearest(frame, size, self.by) for frame in frames]
            frames = [self.space(frame, to).flatten(0, -2) + frame for frame in frames]
        return frames if self.proj is None else [self.proj(frame) for frame in frames]
