"""What the decoders for tiles have in common: latents and state checked, clips of a batch one by one."""

import torch
from torch import Tensor, nn

from lib.basics.errors import Refused
from lib.decoders.causal import CausalConv
from lib.decoders.memory import Memory, State


class ClipDecoder(nn.Module):
    """Decodes a clip in steps of any number of latent frames: `(z [B, C, T, H, W], state=None) -> (frames, state)`.

    Inside, a clip is a list of frames, and a frame is pixels by channels, [H * W, C]. The state is a flat dict of tensors
    [B, 1, H * W, C]: the frames that each causal convolution saw last. A subclass sets `latent_channels` and implements
    `clip`; its convolutions are `CausalConv`.
    """

    latent_channels: int

    def clip(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        """Latent frames [H * W, C] -> video frames [3, H', W']."""
        raise NotImplementedError

    def state_shapes(self, batch: int, height: int, width: int) -> dict[str, tuple[int, int, int, int]]:
        """The state's names and shapes, for latents of this height and width."""
        convs = [module for module in self.modules() if isinstance(module, CausalConv)]
        return {k: (batch, *shape) for conv in convs for k, shape in conv.state_shapes((height, width)).items()}

    def check(self, z_bcthw: Tensor, state: State | None = None) -> None:
        """Raise `Refused` for latents or a state of a wrong rank, size or type. Looks at no value."""
        channels, dtype = self.latent_channels, next(self.parameters()).dtype
        if z_bcthw.dim() != 5 or z_bcthw.shape[1] != channels or 0 in z_bcthw.shape:
            raise Refused("latents", f"shape {tuple(z_bcthw.shape)}", f"[B, {channels}, T, H, W], each at least 1")
        if z_bcthw.dtype != dtype:
            raise Refused("latents", z_bcthw.dtype, f"the decoder's {dtype}")
        if state is None:
            return
        batch, _, _, height, width = z_bcthw.shape
        shapes = self.state_shapes(batch, height, width)
        if state.keys() != shapes.keys():
            extra, missing = sorted(state.keys() - shapes.keys()), sorted(shapes.keys() - state.keys())
            got = f"{len(state)} tensors, " + (f"among them {extra[0]}" if extra else f"without {missing[0]}")
            raise Refused("state", got, f"the {len(shapes)} of this decoder for latents of {height} x {width}")
        for name, shape in shapes.items():
            if tuple(state[name].shape) != shape or state[name].dtype != dtype:
                got = f"{tuple(state[name].shape)} {state[name].dtype}"
                raise Refused(f"state {name}", got, f"{shape} {dtype}")

    def forward(self, z_bcthw: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Decode a step; `state` is None at the start of a clip. Raises `Refused` as `check` does."""
        self.check(z_bcthw, state)
        clips, states = [], []
        for b, z_cthw in enumerate(z_bcthw):
            memory = Memory(tuple(z_cthw.shape[2:]), state and {name: past[b : b + 1] for name, past in state.items()})
            frames = self.clip([z_chw.flatten(1).t().contiguous() for z_chw in z_cthw.unbind(1)], memory)
            clips.append(torch.stack(frames, 1))
            states.append(memory.new)
        return torch.stack(clips), {name: torch.cat([new[name] for new in states]) for name in states[0]}
