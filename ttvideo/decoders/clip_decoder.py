"""What the decoders for tiles have in common: latents and state checked, clips of a batch one by one."""

import torch
from torch import Tensor, nn

from ttvideo.decoders.causal import CausalConv
from ttvideo.decoders.checks import check_step
from ttvideo.decoders.memory import Memory, State
from ttvideo.decoders.steps import split


class ClipDecoder(nn.Module):
    """Decodes a clip in steps of any number of latent frames: `(z [B, C, T, H, W], state=None) -> (frames, state)`.

    Inside, a clip is a list of frames, and a frame is pixels by channels, [H * W, C]. The state is a flat dict of tensors
    [B, 1, H * W, C]: the frames that each causal convolution saw last. A subclass sets `latent_channels` and implements
    `clip`; its convolutions are `CausalConv`. One whose steps may give no frame sets `zoom` too.

    Where frames wait for latents that follow, `ends=False` says that there are some; a causal decoder needs no telling.
    `steps(latent_frames, frames_per_step=None)` cuts a clip as it can be streamed, `streaming` says at what price.
    """

    latent_channels: int
    zoom: int  # how many times the latents' height and width the video has
    streaming = "constant state"
    dropped_frames = 0  # at a clip's begin, by its pipeline
    steps = staticmethod(split)

    def clip(self, frames: list[Tensor], memory: Memory, *each: Tensor | None) -> list[Tensor]:
        """Latent frames [H * W, C] -> video frames [3, H', W']. `each` is what else belongs to the clip."""
        raise NotImplementedError

    def state_shapes(
        self, batch: int, height: int, width: int, latents: int | None = None
    ) -> dict[str, tuple[int, int, int, int]]:
        """The state's names and shapes, for latents of this height and width; after so many, where it depends on it."""
        convs = [module for module in self.modules() if isinstance(module, CausalConv)]
        return {k: (batch, *shape) for conv in convs for k, shape in conv.state_shapes((height, width)).items()}

    def check(self, z_bcthw: Tensor, state: State | None = None, ends: bool = True) -> None:
        """Raise `Refused` for latents or a state of a wrong rank, size or type. Looks at no value."""
        check_step(z_bcthw, state, self.latent_channels, next(self.parameters()).dtype, self.state_shapes)

    def forward(self, z_bcthw: Tensor, state: State | None = None, ends: bool = True) -> tuple[Tensor, State]:
        """Decode a step; `state` is None at the start of a clip. Raises `Refused` as `check` does."""
        self.check(z_bcthw, state, ends)
        return self.clips(z_bcthw, state, ends)

    def clips(self, z_bcthw: Tensor, state: State | None, ends: bool, *each) -> tuple[Tensor, State]:
        """The clips of a batch, one by one, each with its part of `each`."""
        clips, states = [], []
        for b, z_cthw in enumerate(z_bcthw):
            old = state and {name: past[b : b + 1] for name, past in state.items()}
            memory = Memory(tuple(z_cthw.shape[2:]), old, ends=ends)
            frames = [z_chw.flatten(1).t().contiguous() for z_chw in z_cthw.unbind(1)]
            frames = self.clip(frames, memory, *(one[b] for one in each))
            clips.append(torch.stack(frames, 1) if frames else z_cthw.new_empty(3, 0, *memory.at(self.zoom)))
            states.append(memory.new)
        return torch.stack(clips), {name: torch.cat([new[name] for new in states]) for name in states[0]}
