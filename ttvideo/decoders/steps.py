"""Decode a clip in steps, with the state between them as something to keep, save and resume from."""

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ttvideo.basics.errors import Refused
from ttvideo.basics.finite import check_finite
from ttvideo.decoders.clip_decoder import State


def decode_steps(
    decoder,
    z_bcthw: Tensor,
    frames_per_step: int | None = None,
    state: State | None = None,
    ends: bool = True,
) -> Iterator[tuple[Tensor, State]]:
    """Decode latents step by step, in this process; after each, yield its video frames and the state to go on
    from.

    `decoder` is what `for_tiles` gives, or a `HostDecoder`; `ends` says that the clip does, with the last
    step. `z_bcthw` are the latent frames still to decode: with a `state`, those after the ones that the state
    has seen. Concatenated over time, the frames [B, 3, t, H, W] are those of one call on the whole clip. On a
    target, and with what the pipeline drops left out: `ttvideo.decoders.stream.stream_decode`.
    """
    pieces = z_bcthw.split(decoder.steps(z_bcthw.shape[2], frames_per_step), dim=2)
    for number, piece in enumerate(pieces, start=1):
        with torch.no_grad():
            frames, state = decoder(piece, state, ends=ends and number == len(pieces))
        yield frames, state


def save_state(path: Path | str, state: State, latent_frames: int) -> None:
    """Write the state, and how many latent frames it has seen, as a safetensors file."""
    path = Path(path)
    part = path.with_name(path.name + ".part")  # an interrupted save leaves the file before it as it was
    # Clones: before a clip one frame stands for two, as one tensor under two names, which safetensors doesn't
    # take.
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in state.items()
    }
    save_file(tensors, part, metadata={"latent_frames": str(latent_frames)})
    part.replace(path)


def load_state(path: Path | str) -> tuple[State, int]:
    """Read what `save_state` wrote: the state, and how many latent frames it has seen.

    Raises `Refused` for a file that is missing or isn't a saved state.
    """
    seen = seen_frames(path)
    with safe_open(path, framework="pt") as file:
        # Clones: in a file a tensor lies anywhere, and on some hosts the last bit of a product hangs on where
        # its operands lie.
        state = {name: file.get_tensor(name).clone() for name in file.keys()}
    check_finite("saved state", state)
    return state, seen


def seen_frames(path: Path | str) -> int:
    """How many latent frames a saved state saw. Raises `Refused` as `load_state` does; reads no tensor."""
    path = Path(path)
    if not path.is_file():
        raise Refused("saved state", f"no file {path}", "a file written by save_state")
    try:
        with safe_open(path, framework="pt") as file:
            return int((file.metadata() or {})["latent_frames"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise Refused("saved state", f"{path}: {error}", "a file written by save_state") from error
