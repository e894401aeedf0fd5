"""The demo clip as the chips' own kernels decode it, simulated: frames and figures that `findings/silicon_frames.py` made."""

from dataclasses import asdict, dataclass

import torch
from safetensors.torch import load_file, save_file

from lib.basics.compare import compare
from lib.notebook.stored import RESULTS, stored

FRAMES = RESULTS / "silicon_frames.safetensors"


@dataclass(frozen=True)
class Decoded:
    """The clip on one chip: PSNR against stock in float64 a frame, and what the simulation took in all its steps.

    `seconds` are TT-NN's, kernel builds included; `memory_bytes` is its process's largest resident size.
    """

    chip: str
    latents: list[int]
    psnr_db: list[float]
    max_abs: float
    seconds: float
    memory_bytes: int
    peak_dram_bytes: int
    ops: list[int]
    remarks: list[str]


def stored_frames() -> tuple[list[Decoded], dict[str, torch.Tensor], dict]:
    """Figures a chip, frames [1, 3, T, H, W] in bf16 a chip, and how the chips differ."""
    found = stored("silicon_frames")
    return [Decoded(**row) for row in found["rows"]], load_file(FRAMES), found["between_chips"]


def decoded(chip: str, latents: torch.Tensor, frames: torch.Tensor, truth: torch.Tensor, runs: list) -> Decoded:
    """From frames on a chip, stock's in float64, and each step's `Ran`."""
    return Decoded(
        chip,
        list(latents.shape),
        [compare(frames[:, :, t], truth[:, :, t]).psnr_db for t in range(frames.shape[2])],
        compare(frames, truth).max_abs,
        sum(ran.seconds for ran in runs),
        max(ran.memory_bytes for ran in runs),
        max(ran.peak_dram_bytes for ran in runs),
        [ran.ops for ran in runs],
        list(dict.fromkeys(remark for ran in runs for remark in ran.stand_ins + ran.workarounds)),
    )


def between(a: torch.Tensor, b: torch.Tensor) -> dict:
    """How two chips' bf16 frames differ: values, bits, and the largest difference."""
    bits = (a.contiguous().view(torch.int16) ^ b.contiguous().view(torch.int16)).int() & 0xFFFF
    return {
        "values": a.numel(),
        "values_apart": int((a != b).sum()),
        "bits_apart": int(sum(((bits >> place) & 1).sum() for place in range(16))),
        "max_abs": (a.float() - b.float()).abs().max().item(),
    }


def document(rows: list[Decoded], frames: dict[str, torch.Tensor]) -> dict:
    save_file({chip: tensor.contiguous() for chip, tensor in frames.items()}, FRAMES)
    return {"rows": [asdict(row) for row in rows], "between_chips": between(*frames.values())}
