"""Train the small Mochi VAE of lib/media/weights/demo from nothing, on clips drawn as it goes.

    python -m findings train_demo --minutes 66 --threads 1

Run it again with the same options after an interruption and it goes on from its last checkpoint. The weights in
`--out` are always those of the best validation so far. `measure_demo.py`, which it runs at the end, judges them.
"""

import argparse
import copy
import json
import math
import os
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKLMochi
from diffusers.models.attention_processor import Attention
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from findings.measure_demo import measure_folder
from findings.muon import Muon
from lib.media.clips import FIRST_TRAINING_SEED, clip  # noqa: E402
from lib.media.models import DEMO
from lib.notebook.versions import origin
from lib.targets.target import PROJECT

# Mochi's own blocks, strides and latent channels; only width and depth differ.
CONFIG = dict(
    encoder_block_out_channels=(32, 32, 32, 96),
    decoder_block_out_channels=(32, 64, 64, 64),
    layers_per_block=(1, 1, 1, 1, 1),
    latents_mean=(0.0,) * 12,
    latents_std=(1.0,) * 12,
)

SIGMA = 0.03  # the posterior's standard deviation

# (batch, frames, crop): about the same work each. Small crops teach most in a minute; GroupNorm takes its statistics
# over the whole frame, so whole frames and longer clips must come in before the end.
EARLY = [((2, 13, 32), 0.85), ((1, 13, 64), 0.15)]
LATE = [((2, 13, 32), 0.25), ((1, 13, 64), 0.3), ((1, 19, 48), 0.25), ((1, 37, 32), 0.2)]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=66, help="training time, over all resumed runs together")
    parser.add_argument("--steps", type=int, default=10**9, help="stop after this many steps, if that comes first")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--batch-factor", type=int, default=1, help="clips a step, times this (a GPU likes more)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=DEMO)
    parser.add_argument("--checkpoint", type=Path, default=PROJECT / "findings/demo.ckpt")
    return parser.parse_args()


def build():
    """The untrained model, started so that the picture gets through: residual branches begin at zero, the layers
    between them keep the variance, and the input's Fourier features, two octaves far above these clips', begin unused.
    From torch's own start the branches' normalised noise drowns the picture, and training sits still for long."""
    vae = AutoencoderKLMochi(**CONFIG)
    for name, module in vae.named_modules():
        if not isinstance(module, (torch.nn.Conv3d, torch.nn.Linear)) or ".attentions." in name:
            if isinstance(module, Attention):
                torch.nn.init.zeros_(module.to_out[0].weight)
        elif ".conv2." in name:
            torch.nn.init.zeros_(module.weight)
        elif ".conv1." not in name:
            torch.nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
    with torch.no_grad():
        vae.encoder.proj_in.weight[:, 3:] = 0
        vae.encoder.proj_in.weight[:, :3] *= 5**0.5
    return vae


def target_of(x):
    """What the decoder should give for clips x [B, 3, 6k+1, H, W]: [B, 3, 6k+6, H, W]. The causal padding makes five
    frames before the first, which the Mochi pipeline drops; here they repeat the first."""
    return torch.cat([x[:, :, :1].expand(-1, -1, 5, -1, -1), x], dim=2)


def batch_of(step, progress, seed, factor):
    """The training clips of one step, [B, 3, T, S, S], the same whenever it is drawn."""
    g = torch.Generator().manual_seed(seed * 1_000_003 + step)
    shapes, odds = zip(*(LATE if progress > 0.6 else EARLY))
    batch, frames, size = shapes[torch.multinomial(torch.tensor(odds), 1, generator=g).item()]
    xs = []
    for i in range(batch * factor):
        whole = clip(FIRST_TRAINING_SEED + (seed * 10_000_000 + step) * 64 + i, frames)
        top, left = torch.randint(0, 64 - size + 1, (2,), generator=g).tolist()
        xs.append(whole[:, :, top : top + size, left : left + size])
    return torch.stack(xs)


def loss_of(vae, x, generator):
    """Squared and some absolute error of the decoded clip; the latents are pulled gently to zero, and the posterior's
    width is held at SIGMA: left to itself it starts at one, and the decoder learns to look away from the noise."""
    posterior = vae.encode(x).latent_dist
    z = posterior.mean + SIGMA * torch.randn(posterior.mean.shape, generator=generator, device=x.device)
    y = vae.decoder(z)[0].float()
    target = target_of(x)
    mse = F.mse_loss(y, target)
    prior = posterior.mean.float().square().mean()
    width = (posterior.logvar.float() - 2 * math.log(SIGMA)).square().mean()
    return mse + 0.1 * F.l1_loss(y, target) + 1e-5 * prior + 1e-4 * width, mse


@torch.no_grad()
def validate(vae):
    """Mean PSNR in dB over eight clips of seeds that are neither trained on nor in the held-out sets."""
    values = []
    for seed in range(8):
        x = clip(seed, 13)[None].to(vae.device)
        y = vae.decode(vae.encode(x).latent_dist.mode()).sample
        values.append(10 * math.log10(4 / F.mse_loss(y, x).item()))
    return sum(values) / len(values)


@torch.no_grad()
def save_weights(vae, out):
    """Measure the latents' mean and std over 16 training clips, as Mochi's config has them, and save in float16."""
    xs = [clip(FIRST_TRAINING_SEED + i, 13)[None].to(vae.device) for i in range(16)]
    z = torch.cat([vae.encode(x).latent_dist.mode() for x in xs]).transpose(0, 1).flatten(1).double()
    measured = dict(latents_mean=z.mean(1).tolist(), latents_std=z.std(1).tolist())
    half = AutoencoderKLMochi.from_config(dict(vae.config, **measured))
    half.load_state_dict(vae.state_dict())
    half.half().save_pretrained(out)


def record(args, state):
    """Keep the command, the machine's kind and the curve beside the weights."""
    options = f"--minutes {args.minutes:g} --threads {args.threads} --lr {args.lr:g} --seed {args.seed}"
    cpu = f"CPU, {args.threads} of {os.cpu_count()} cores, {cpu_name()}"
    kept = dict(
        command=f"python -m findings train_demo {options}",
        machine=cpu if args.device == "cpu" else torch.cuda.get_device_name(),
        made=origin(),
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
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")


class Run:
    """A model in training: its weights, their running average, the optimisers, and what is known of the past."""

    def __init__(self, args):
        self.args = args
        self.model = build().to(args.device)
        self.average = copy.deepcopy(self.model).eval()
        hidden = {n for n, p in self.model.named_parameters() if p.ndim > 1 and n != "encoder.proj_in.weight"}
        matrices = [p for n, p in self.model.named_parameters() if n in hidden]
        others = [p for n, p in self.model.named_parameters() if n not in hidden]
        self.optimisers = [
            Muon(matrices, lr=args.lr),
            torch.optim.AdamW(others, lr=args.lr, betas=(0.9, 0.98), weight_decay=0),
        ]
        self.state = dict(step=0, seconds=0.0, best=0.0, curve=[])
        if args.checkpoint.exists():
            self.load(torch.load(args.checkpoint, map_location=args.device))

    def load(self, saved):
        self.model.load_state_dict(saved["model"])
        self.average.load_state_dict(saved["average"])
        for optimiser, old in zip(self.optimisers, saved["optimisers"]):
            optimiser.load_state_dict(old)
        self.state = saved["state"]

    def save(self):
        kept = dict(model=self.model.state_dict(), average=self.average.state_dict(), state=self.state)
        torch.save(dict(kept, optimisers=[o.state_dict() for o in self.optimisers]), self.args.checkpoint)

    def step(self, progress):
        """One step at `progress` (0 to 1) of the schedule: a warm-up, then a cosine. Returns the squared error."""
        args, step = self.args, self.state["step"]
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        for group in [group for optimiser in self.optimisers for group in optimiser.param_groups]:
            group["lr"] = args.lr * min(1, (step + 1) / 50) * (0.01 + 0.99 * cosine)
        x = batch_of(step, progress, args.seed, args.batch_factor).to(args.device)
        noise = torch.Generator(args.device).manual_seed(step)
        # Attention is over time only, a few frames long: the plain formula is the fast one.
        with torch.autocast(torch.device(args.device).type, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            loss, mse = loss_of(self.model, x, noise)
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
        """Validate, keep the weights if they are the best so far, and save the checkpoint. Returns the curve's point."""
        psnr = validate(self.average)
        point = dict(step=self.state["step"], seconds=round(self.state["seconds"]), psnr=round(psnr, 2))
        if losses:
            point["mse"] = round(sum(losses) / len(losses), 5)
        self.state["curve"].append(point)
        if psnr > self.state["best"]:
            self.state["best"] = psnr
            save_weights(self.average, self.args.out)
        self.save()
        record(self.args, self.state)
        return point


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    run = Run(args)
    started = time.time() - run.state["seconds"]
    next_check = run.state["seconds"] + 600
    losses = []
    with tqdm(total=round(args.minutes * 60), initial=round(run.state["seconds"]), unit="s", mininterval=5) as bar:
        while True:
            run.state["seconds"] = time.time() - started
            progress = max(run.state["step"] / args.steps, run.state["seconds"] / (args.minutes * 60))
            bar.update(round(run.state["seconds"]) - bar.n)
            if progress >= 1 or run.state["seconds"] >= next_check:
                bar.write(json.dumps(run.check(losses)))
                losses, next_check = [], run.state["seconds"] + 600
            if progress >= 1:
                break
            losses.append(run.step(progress))
            best = f"{run.state['best']:.2f}"
            bar.set_postfix(step=run.state["step"], mse=f"{losses[-1]:.4f}", best=best, refresh=False)
    measure_folder(args.out)


if __name__ == "__main__":
    main()
