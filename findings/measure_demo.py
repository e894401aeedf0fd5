"""Measure the demo VAE as it is loaded from its folder, and write the figures, the record and a sample beside it.

    python -m findings measure_demo

`train_demo` runs it at its end.
"""

import argparse
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKLMochi
from PIL import Image

from lib.basics.compare import compare
from lib.media import clips  # noqa: E402
from lib.media.models import DEMO  # noqa: E402


@torch.no_grad()
def reconstruct(vae, x):
    """All that the decoder makes of clip x [3, 6k+1, H, W]: [3, 6k+6, H, W], five frames before x's first and then x."""
    z = vae.encode(x[None]).latent_dist.mode()
    return vae.decoder(z)[0][0]


def measure(vae):
    """PSNR of each held-out set in dB: mean and least over its clips of the frames the pipeline keeps, and the mean
    with the five it drops, which ought to repeat the first."""
    figures = {}
    for name in clips.HELD_OUT:
        kept, whole = [], []
        for x in clips.held_out(name):
            y = reconstruct(vae, x)
            kept.append(compare(y[:, 5:], x).psnr_db)
            whole.append(compare(y, torch.cat([x[:, :1].expand(-1, 5, -1, -1), x], dim=1)).psnr_db)
        _, *size = x.shape
        figures[name] = dict(
            clips=len(kept),
            frames_height_width=size,
            mean=round(sum(kept) / len(kept), 2),
            least=round(min(kept), 2),
            mean_with_first_five=round(sum(whole) / len(whole), 2),
        )
    return figures


def sample(vae, path):
    """A picture for the eye: pairs of rows, a clip above its reconstruction, seven frames of each from left to right."""
    rows = []
    for x in (clips.demo_clip(), clips.held_out("other seeds")[0], clips.held_out("other shapes")[3]):
        for clip in (x, reconstruct(vae, x)[:, 5:]):
            rows.append(torch.cat([clip[:, t] for t in range(0, 19, 3)], dim=-1))
        rows.append(torch.ones(3, 4, rows[0].shape[-1]))
    picture = ((torch.cat(rows[:-1], dim=1).clamp(-1, 1) + 1) * 127.5).round().byte()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path, optimize=True)


def measure_folder(out):
    """Put the figures into `out`/training.json and a sample beside it. Returns the figures."""
    vae = AutoencoderKLMochi.from_pretrained(out, torch_dtype=torch.float32, local_files_only=True).eval()
    figures = measure(vae)
    for name, row in figures.items():
        print(f"{name}: {json.dumps(row)}")
    record = out / "training.json"
    kept = json.loads(record.read_text()) if record.exists() else {}
    kept |= dict(parameters=sum(p.numel() for p in vae.parameters()), held_out=figures)
    record.write_text(json.dumps(kept, indent=1) + "\n")
    sample(vae, out / "sample.png")
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=DEMO)
    measure_folder(parser.parse_args().out)
