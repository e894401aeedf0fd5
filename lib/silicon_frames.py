"""The demo clip as the chips' own kernels decode it, simulated: frames and figures that
`findings/demo_clips.py` made."""

import torch

from lib.stored import stored, stored_tensors
from ttvideo.media.latents import DROPPED_FRAMES, load_latents
from ttvideo.media.models import load_vae

LATENTS = (1, 12, 4, 8, 8)


def stored_frames(case: str = "for tiles") -> tuple[list[dict], dict[str, torch.Tensor], dict]:
    """Figures a chip, frames [1, 3, T, H, W] in bf16 a chip, and how the chips differ; or of "native"."""
    found = stored("demo_clips")["rows"]
    rows = [row for row in found if (row["model"], row["case"]) == ("demo", case)]
    frames = {row["chip"]: stored_tensors("demo_clips")[f"{case}, {row['chip']}"] for row in rows}
    return rows, frames, between(*frames.values())


def demo_clip() -> tuple[torch.Tensor, torch.Tensor]:
    """The demo clip's latents in bf16, and its frames by the stock decoder in float64."""
    vae = load_vae("demo")
    z = load_latents("clip", vae, LATENTS).bfloat16()
    with torch.no_grad():
        return z, vae.decoder.double()(z.double())[0][:, :, DROPPED_FRAMES:]


def between(a: torch.Tensor, b: torch.Tensor) -> dict:
    """How two chips' bf16 frames differ: values, bits, and the largest difference."""
    bits = (a.contiguous().view(torch.int16) ^ b.contiguous().view(torch.int16)).int() & 0xFFFF
    return {
        "values": a.numel(),
        "values_apart": int((a != b).sum()),
        "bits_apart": int(sum(((bits >> place) & 1).sum() for place in range(16))),
        "max_abs": (a.float() - b.float()).abs().max().item(),
    }
