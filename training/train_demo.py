"""Train a small autoencoder of ttvideo/media/weights from nothing, on clips drawn as it goes.

    python -m training.train_demo --minutes 66 --threads 1
    python -m training.train_demo --family wan --minutes 6 --batch-factor 32 --workers 7 --check-every 60

Run it again with the same options after an interruption and it goes on from its last checkpoint. The weights
in `--out` are always those of the best validation so far. `measure_demo.py`, which it runs at the end, judges
them. What the families are built of, and learn on, is in `demos.py`.
"""

import argparse
import copy
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import diffusers
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from lib.project import PROJECT
from lib.versions import commit
from training.demos import DEMOS, Demo, build
from training.measure_demo import measure_folder
from training.muon import Muon
from ttvideo.media.clips import FIRST_TRAINING_SEED, clip

SIGMA = 0.03  # the posterior's standard deviation


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--family", choices=DEMOS, default="mochi")
    parser.add_argument(
        "--minutes", type=float, default=66, help="training time, over all resumed runs together"
    )
    parser.add_argument(
        "--steps", type=int, default=10**9, help="stop after this many steps, if that comes first"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument(
        "--batch-factor", type=int, default=1, help="clips a step, times this (a GPU likes more)"
    )
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that draw clips ahead; 0: drawn as needed"
    )
    parser.add_argument(
        "--check-every", type=float, default=600, help="seconds from validation to validation"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="by default the family's folder of weights")
    parser.add_argument("--checkpoint", type=Path)
    args = parser.parse_args()
    args.out = args.out or DEMOS[args.family].folder
    name = "demo" if args.family == "mochi" else args.family
    args.checkpoint = args.checkpoint or PROJECT / f"training/{name}.ckpt"
    return args


class Batches(Dataset):
    """The clips of one step, [B, 3, T, S, S], the same whenever and wherever they are drawn."""

    def __init__(self, demo: Demo, seed: int, factor: int):
        self.demo, self.seed, self.factor = demo, seed, factor

    def __getitem__(self, step_progress: tuple[int, float]) -> torch.Tensor:
        step, progress = step_progress
        g = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        shapes, odds = zip(*(self.demo.late if progress > 0.6 else self.demo.early))
        batch, frames, size = shapes[torch.multinomial(torch.tensor(odds), 1, generator=g).item()]
        count = batch * self.factor
        first = FIRST_TRAINING_SEED + (self.seed * 10_000_000 + step) * 64 * math.ceil(count / 64)
        xs = []
        for i in range(count):
            whole = clip(first + i, frames)
            top, left = torch.randint(0, 64 - size + 1, (2,), generator=g).tolist()
            xs.append(whole[:, :, top : top + size, left : left + size])
        return torch.stack(xs)


def loss_of(demo, vae, x, generator):
    """Squared and some absolute error of the decoded clip; the latents are pulled gently to zero, and the
    posterior's width is held at SIGMA: left to itself it starts at one, and the decoder learns to look away
    from the noise."""
    posterior = vae.encode(x).latent_dist
    z = posterior.mean + SIGMA * torch.randn(posterior.mean.shape, generator=generator, device=x.device)
    y = demo.decode(vae, z).float()
    target = demo.target(x)
    mse = F.mse_loss(y, target)
    prior = posterior.mean.float().square().mean()
    width = (posterior.logvar.float() - 2 * math.log(SIGMA)).square().mean()
    return mse + 0.1 * F.l1_loss(y, target) + 1e-5 * prior + 1e-4 * width, mse


@torch.no_grad()
def validate(demo, vae):
    """Mean PSNR in dB over eight clips of seeds that are neither trained on nor in the held-out sets."""
    values = []
    for seed in range(8):
        x = clip(seed, demo.clip_frames)[None].to(vae.device)
        y = vae.decode(vae.encode(x).latent_dist.mode()).sample
        values.append(10 * math.log10(4 / F.mse_loss(y, x).item()))
    return sum(values) / len(values)


@torch.no_grad()
def save_weights(demo, vae, out):
    """Measure the latents' statistics over 16 training clips, as the family's config has them, and save in
    float16."""
    xs = [clip(FIRST_TRAINING_SEED + i, demo.clip_frames)[None].to(vae.device) for i in range(16)]
    z = torch.cat([vae.encode(x).latent_dist.mode() for x in xs]).transpose(0, 1).flatten(1).double()
    half = demo.autoencoder.from_config(dict(vae.config, **demo.statistics(z)))
    half.load_state_dict(vae.state_dict())
    half.half().save_pretrained(out)


def record(args, state):
    """Keep the command, the machine's kind and the curve beside the weights."""
    options = f"--minutes {args.minutes:g} --threads {args.threads} --lr {args.lr:g} --seed {args.seed}"
    more = dict(batch_factor=1, workers=0, check_every=600)
    options += "".join(
        f" --{name.replace('_', '-')} {getattr(args, name):g}"
        for name, usual in more.items()
        if getattr(args, name) != usual
    )
    cpu = f"CPU, {args.threads} of {os.cpu_count()} cores, {cpu_name()}"
    kept = dict(
        command=f"python -m training.train_demo --family {args.family} {options}",
        machine=cpu if args.device == "cpu" else torch.cuda.get_device_name(),
        made=dict(commit=commit(), versions=dict(torch=torch.__version__, diffusers=diffusers.__version__)),
        seconds=round(state["seconds"]),
        steps=state["step"],
        validation_psnr=round(state["best"], 2),
        curve=state["curve"],
    )
    (args.out / "training.json").write_text(json.dumps(kept, indent=1) + "\n")


def cpu_name():
    """The processor's model, where Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU"
    )


class Run:
    """A model in training: its weights, their running average, the optimisers, what is known of the past."""

    def __init__(self, args):
        self.args, self.demo = args, DEMOS[args.family]
        self.model = build(self.demo).to(args.device)
        self.average = copy.deepcopy(self.model).eval()
        # A norm's scale is no matrix, whatever its shape; the first layer is no hidden one.
        first = ("encoder.proj_in.weight", "encoder.conv_in.weight", "encoder.conv_in.conv.weight")
        hidden = {
            n for n, p in self.model.named_parameters() if p.ndim > 1 and p[0].numel() > 1 and n not in first
        }
        matrices = [p for n, p in self.model.named_parameters() if n in hidden]
        others = [p for n, p in self.model.named_parameters() if n not in hidden]
        self.optimisers = [
            Muon(matrices, lr=args.lr),
            torch.optim.AdamW(others, lr=args.lr, betas=(0.9, 0.98), weight_decay=0),
        ]
        self.state = dict(step=0, seconds=0.0, best=0.0, curve=[])
        if args.checkpoint.exists():
            self.load(torch.load(args.checkpoint, map_location=args.device))
        self.started = time.time() - self.state["seconds"]

    def progress(self) -> float:
        """Of the schedule, 0 to 1; and notes the time."""
        self.state["seconds"] = time.time() - self.started
        return max(self.state["step"] / self.args.steps, self.state["seconds"] / (self.args.minutes * 60))

    def batches(self) -> Iterator[torch.Tensor]:
        """Each step's clips, for as long as they are asked for."""
        data = Batches(self.demo, self.args.seed, self.args.batch_factor)
        steps = ((step, self.progress()) for step in range(self.state["step"], self.args.steps))
        return iter(DataLoader(data, batch_size=None, sampler=steps, num_workers=self.args.workers))

    def load(self, saved):
        self.model.load_state_dict(saved["model"])
        self.average.load_state_dict(saved["average"])
        for optimiser, old in zip(self.optimisers, saved["optimisers"]):
            optimiser.load_state_dict(old)
        self.state = saved["state"]

    def save(self):
        kept = dict(model=self.model.state_dict(), average=self.average.state_dict(), state=self.state)
        torch.save(dict(kept, optimisers=[o.state_dict() for o in self.optimisers]), self.args.checkpoint)

    def step(self, x, progress):
        """One step on clips x at `progress` (0 to 1) of the schedule, a warm-up and a cosine. Returns the
        squared error."""
        args, step = self.args, self.state["step"]
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        for group in [group for optimiser in self.optimisers for group in optimiser.param_groups]:
            group["lr"] = args.lr * min(1, (step + 1) / 50) * (0.01 + 0.99 * cosine)
        x = x.to(args.device)
        noise = torch.Generator(args.device).manual_seed(step)
        # Attention is over a few frames, or over a few pixels: the plain formula is the fast one.
        with torch.autocast(torch.device(args.device).type, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            loss, mse = loss_of(self.demo, self.model, x, noise)
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        with torch.no_grad():
            decay = min(0.995, (step + 1) / (step + 20))
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)
        self.state["step"] += 1
        return mse.item()

    def check(self, losses):
        """Validate, keep the weights if they are the best so far, and save the checkpoint. Returns the
        curve's point."""
        psnr = validate(self.demo, self.average)
        point = dict(step=self.state["step"], seconds=round(self.state["seconds"]), psnr=round(psnr, 2))
        if losses:
            point["mse"] = round(sum(losses) / len(losses), 5)
        self.state["curve"].append(point)
        if psnr > self.state["best"]:
            self.state["best"] = psnr
            save_weights(self.demo, self.average, self.args.out)
        self.save()
        record(self.args, self.state)
        return point


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    run = Run(args)
    batches = run.batches()
    next_check = run.state["seconds"] + args.check_every
    losses = []
    with tqdm(
        total=round(args.minutes * 60), initial=round(run.state["seconds"]), unit="s", mininterval=5
    ) as bar:
        while True:
            progress = run.progress()
            bar.update(round(run.state["seconds"]) - bar.n)
            if progress >= 1 or run.state["seconds"] >= next_check:
                bar.write(json.dumps(run.check(losses)))
                losses, next_check = [], run.state["seconds"] + args.check_every
            if progress >= 1:
                break
            losses.append(run.step(next(batches), progress))
            best = f"{run.state['best']:.2f}"
            bar.set_postfix(step=run.state["step"], mse=f"{losses[-1]:.4f}", best=best, refresh=False)
    measure_folder(run.demo, args.out)


if __name__ == "__main__":
    main()
