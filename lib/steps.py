"""Decode a clip in steps, with the state between them as something to keep, save and resume from."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lib.errors import Refused

State = dict[str, Tensor]
Step = Callable[[Tensor, State | None], tuple[Tensor, State]]


def split(latent_frames: int, frames_per_step: int = 1) -> list[int]:
    """Cut a clip into steps: [first, n, n, …]. What doesn't divide goes into the first step.

    So a clip of any length needs two programs: one for its first step, one for all others.
    Raises `Refused` for a clip or a step of less than one frame.
    """
    for what, count in (("latent frames", latent_frames), ("frames_per_step", frames_per_step)):
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise Refused(what, count, "an integer of at least 1")
    steps, rest = divmod(latent_frames, frames_per_step)
    return [rest] * (rest > 0) + [frames_per_step] * steps


def check_finite(what: str, tensors: State) -> None:
    """Raise `Refused` if any of the tensors holds NaN or Inf."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise Refused(what, f"NaN or Inf in {name}", "finite values")


def decode_steps(
    step: Step, z_bcthw: Tensor, frames_per_step: int = 1, state: State | None = None, drop: int = 0
) -> Iterator[tuple[Tensor, State]]:
    """Decode latents step by step; after each, yield its video frames [B, 3, t, H, W] and the state to go on from.

    `step` is a `TileDecoder`, or anything called like it. `z_bcthw` are the latent frames still to decode: with a
    `state`, those after the ones that the state has seen. `drop` video frames are left out at the start of a clip,
    as `AutoencoderKLMochi.decode` leaves out 5; a resumed clip has had its start. Concatenated over time, the frames
    are those of one call on the whole clip.

    Raises `Refused`, before any compute, for latents that hold NaN or Inf, aren't 5-dimensional or have no frame.
    """
    if z_bcthw.dim() != 5:
        raise Refused("latents", f"shape {tuple(z_bcthw.shape)}", "[B, C, T, H, W]")
    counts = split(z_bcthw.shape[2], frames_per_step)
    check_finite("latents", {"the latents": z_bcthw})
    if state is not None:
        check_finite("state", state)
    return _steps(step, z_bcthw.split(counts, dim=2), state, 0 if state is not None else drop)


def _steps(step: Step, pieces, state: State | None, drop: int) -> Iterator[tuple[Tensor, State]]:
    for z_bcthw in pieces:
        with torch.no_grad():
            frames, state = step(z_bcthw, state)
        kept = frames[:, :, drop:]
        drop = max(0, drop - frames.shape[2])
        yield kept, state


def save_state(path: Path | str, state: State, latent_frames: int) -> None:
    """Write the state, and how many latent frames it has seen, as a safetensors file."""
    path = Path(path)
    part = path.with_name(path.name + ".part")  # an interrupted save leaves the file before it as it was
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    save_file(tensors, part, metadata={"latent_frames": str(latent_frames)})
    part.replace(path)


def load_state(path: Path | str) -> tuple[State, int]:
    """Read what `save_state` wrote: the state, and how many latent frames it has seen.

    Raises `Refused` for a file that is missing or isn't a saved state.
    """
    path = Path(path)
    if not path.is_file():
        raise Refused("saved state", f"no file {path}", "a file written by save_state")
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}
            seen = int((file.metadata() or {})["latent_frames"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise Refused("saved state", f"{path}: {error}", "a file written by save_state") from error
    check_finite("saved state", state)
    return state, seen
