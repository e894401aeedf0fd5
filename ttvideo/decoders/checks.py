"""What every streaming decoder refuses before it starts."""

from collections.abc import Callable

import torch
from torch import Tensor

from ttvideo.basics.errors import Refused

Shapes = dict[str, tuple[int, ...]]


def check_step(
    z_bcthw: Tensor,
    state: dict[str, Tensor] | None,
    channels: int,
    dtype: torch.dtype,
    state_shapes: Callable[[int, int, int], Shapes],
    what: str = "latents",
) -> None:
    """Raise `Refused` for latents, or what else goes in, or a state of a wrong rank, size or type. Looks at no value.

    `state_shapes(batch, height, width)` gives the state's names and shapes.
    """
    if z_bcthw.dim() != 5 or z_bcthw.shape[1] != channels or 0 in z_bcthw.shape:
        raise Refused(what, f"shape {tuple(z_bcthw.shape)}", f"[B, {channels}, T, H, W], each at least 1")
    if z_bcthw.dtype != dtype:
        raise Refused(what, z_bcthw.dtype, f"the model's {dtype}")
    if state is None:
        return
    batch, _, _, height, width = z_bcthw.shape
    shapes = state_shapes(batch, height, width)
    if state.keys() != shapes.keys():
        extra, missing = sorted(state.keys() - shapes.keys()), sorted(shapes.keys() - state.keys())
        got = f"{len(state)} tensors, " + (f"among them {extra[0]}" if extra else f"without {missing[0]}")
        raise Refused("state", got, f"the {len(shapes)} of this model for {what} of {height} x {width}")
    for name, shape in shapes.items():
        if tuple(state[name].shape) != shape or state[name].dtype != dtype:
            got = f"{tuple(state[name].shape)} {state[name].dtype}"
            raise Refused(f"state {name}", got, f"{shape} {dtype}")
