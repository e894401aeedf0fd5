"""The 3-D convolutions of a decoder's steady step, by size, and the blocks for each: what a program in
TT-NN's ops has."""

from collections import Counter
from dataclasses import asdict

import diffusers
import torch

from ttvideo.decoders.causal import CausalConv, FrameConv
from ttvideo.decoders.clip_decoder import ClipDecoder
from ttvideo.decoders.families import for_tiles
from ttvideo.decoders.native import native
from ttvideo.decoders.native_writer import whole_channels
from ttvideo.media.video_models import VideoModel
from ttvideo.programs.conv3d_blocks import Size
from ttvideo.programs.seconds.blocks import Choice, ranked


def block_rows(
    size: Size, board: str, fidelity: str, best: int = 1, names: tuple[str, ...] = ()
) -> list[dict]:
    """The `best` blocks of a convolution on a board, each with what is expected of it. Raises `Refused` as
    `ranked` does."""
    return [row(size, names, choice) for choice in ranked(size, board, fidelity)[:best]]


def row(size: Size, names: tuple[str, ...], choice: Choice) -> dict:
    expected = {name: value for name, value in asdict(choice).items() if name != "blocks"}
    return asdict(size) | {"convolutions": list(names)} | choice.blocks.config() | expected


def model_rows(model: VideoModel, board: str, fidelity: str) -> list[dict]:
    """The best blocks for each convolution of a model's steady step, at its pipeline's default size."""
    with torch.device("meta"):
        vae = getattr(diffusers, model.autoencoder)(**model.config)
    sizes = conv_sizes(for_tiles(vae), model.latents, native(vae).steps(model.latents[2]))
    return [
        one for size, names in sizes.items() for one in block_rows(size, board, fidelity, 1, tuple(names))
    ]


def conv_sizes(
    decoder: ClipDecoder, latents: tuple[int, ...], steps: list[int] | None = None
) -> dict[Size, list[str]]:
    """Sizes with the names of the convolutions that have them, of a steady step on latents [B, C, T, H, W],
    cut into `steps`, by default as the decoder does.

    Without pointwise ones. Channels are filled up as `Writer` does it. The decoder, as `for_tiles` gives it,
    is run without values (and stays on the meta device).
    """
    decoder, (_, channels, frames, height, width) = decoder.to("meta"), latents
    dtype, (first, *later) = next(decoder.parameters()).dtype, steps or decoder.steps(frames)
    step = later[0] if later else first
    # A state that grows is taken where it is largest; one of a decoder whose frames come late, whole.
    seen = None if "late" in decoder.streaming else frames - step
    shapes = decoder.state_shapes(1, height, width, seen) if later else {}
    state = {name: torch.empty(shape, dtype=dtype, device="meta") for name, shape in shapes.items()} or None
    found: Counter[tuple[str, Size]] = Counter()
    taps = {conv.taps[-1]: conv for conv in decoder.modules() if isinstance(conv, CausalConv)}
    inner = {tap for conv in taps.values() for tap in conv.taps}
    hooks = []
    for name, module in decoder.named_modules():
        if isinstance(module, FrameConv) and (module in taps or module not in inner):
            hooks.append(module.register_forward_hook(counted(found, name, module, taps.get(module))))
    try:
        z = torch.empty(1, channels, step, height, width, dtype=dtype, device="meta")
        with torch.no_grad():
            decoder(z, state, ends=not later)
    finally:
        for hook in hooks:
            hook.remove()
    sizes: dict[Size, list[str]] = {}
    for (name, size), outputs in found.items():
        frames = size.out[0] * outputs
        whole = Size((frames, *size.out[1:]), size.c_in, size.c_out, size.kernel, size.padding)
        sizes.setdefault(whole, []).append(name)
    return sizes


def counted(found: Counter, name: str, tap: FrameConv, conv: CausalConv | None):
    """A hook that counts the calls of a tap by the size of the convolution that it is of, for one call's
    frames."""
    packed, past = (conv.packed, conv.kept * conv.packed) if conv else (1, 0)
    (c_out, c_in), space = (n // packed for n in tap.weight.shape[:2]), tuple(tap.weight.shape[2:]) or (1, 1)
    kernel, padding = (past + 1, *space), (0, space[0] // 2, space[1] // 2)
    name = conv.name if conv else name

    def hook(_, inputs, __):
        if kernel != (1, 1, 1):
            size = Size(
                (packed, *inputs[1]),
                whole_channels(c_in, 1 + (c_in < 32)),
                whole_channels(c_out),
                kernel,
                padding,
            )
            found[name, size] += 1

    return hook
