"""Measure a small autoencoder as its folder has it, and write the figures, the record and a sample beside it.

    python -m training.measure_demo --family wan

`train_demo` runs it at its end.
"""

import argparse
import json
from pathlib import Path

import torch
from PIL import Image

from training.demos import DEMOS, Demo
from ttvideo.basics.compare import compare
from ttvideo.media import clips


@torch.no_grad()
def reconstruct(demo: Demo, vae, x):
    """All that the decoder makes of clip x [3, T, H, W], clamped: [3, before + T, H, W]."""
    z = vae.encode(x[None]).latent_dist.mode()
    y = demo.decode(vae, z)[0]
    return y if demo.before else y.clamp(-1, 1)


def held_out(demo: Demo, name: str) -> list[torch.Tensor]:
    """A held-out set's clips, cut to the most frames that the family takes."""
    return [x[:, : demo.longest(x.shape[1])] for x in clips.held_out(name)]


def measure(demo: Demo, vae):
    """PSNR of each held-out set in dB: mean and least over its clips of the frames the pipeline keeps, and
    the mean with those it drops, if any, which ought to repeat the first."""
    figures = {}
    for name in clips.HELD_OUT:
        kept, whole = [], []
        for x in held_out(demo, name):
            y = reconstruct(demo, vae, x)
            kept.append(compare(y[:, demo.before :], x).psnr_db)
            whole.append(compare(y, demo.target(x[None])[0]).psnr_db)
        _, *size = x.shape
        figures[name] = dict(
            clips=len(kept),
            frames_height_width=size,
            mean=round(sum(kept) / len(kept), 2),
            least=round(min(kept), 2),
        )
        if demo.before:
            figures[name]["mean_with_first_five"] = round(sum(whole) / len(whole), 2)
    return figures


def sample(demo: Demo, vae, path):
    """A picture for the eye: pairs of rows, a clip above its reconstruction, every third frame from left to
    right."""
    rows = []
    for x in (clips.demo_clip(), clips.held_out("other seeds")[0], clips.held_out("other shapes")[3]):
        x = x[:, : demo.longest(x.shape[1])]
        for clip in (x, reconstruct(demo, vae, x)[:, demo.before :]):
            rows.append(torch.cat(list(clip[:, ::3].unbind(1)), dim=-1))
        rows.append(torch.ones(3, 4, rows[0].shape[-1]))
    picture = ((torch.cat(rows[:-1], dim=1).clamp(-1, 1) + 1) * 127.5).round().byte()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path, optimize=True)


def measure_folder(demo: Demo, out: Path):
    """Put the figures into `out`/training.json and a sample beside it. Returns the figures."""
    vae = demo.autoencoder.from_pretrained(out, torch_dtype=torch.float32, local_files_only=True).eval()
    figures = measure(demo, vae)
    for name, row in figures.items():
        print(f"{name}: {json.dumps(row)}")
    record = out / "training.json"
    kept = json.loads(record.read_text()) if record.exists() else {}
    kept |= dict(parameters=sum(p.numel() for p in vae.parameters()), held_out=figures)
    record.write_text(json.dumps(kept, indent=1) + "\n")
    sample(demo, vae, out / "sample.png")
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--family", choices=DEMOS, default="mochi")
    parser.add_argument("--out", type=Path, help="by default the family's folder of weights")
    args = parser.parse_args()
    measure_folder(DEMOS[args.family], args.out or DEMOS[args.family].folder)
