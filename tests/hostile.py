"""Modules that misbehave in a worker."""

import os
import signal
import subprocess

import torch
from torch import nn


class Aborts(nn.Module):
    def forward(self, x):
        os.abort()


class Killed(nn.Module):
    def forward(self, x):
        os.kill(os.getpid(), signal.SIGKILL)


class Hangs(nn.Module):
    """Starts a child and waits for it, as a kernel compiler that never ends would."""

    def forward(self, x):
        subprocess.run(["sleep", "600"])


class Raises(nn.Module):
    def forward(self, x):
        return x @ torch.zeros(5, 5, device=x.device, dtype=x.dtype)


class ReadsBack(nn.Module):
    """Lets a value decide, as `if x.sum() > 0` does; by item() and by numpy, which a graph can't hold."""

    def __init__(self, how: str):
        super().__init__()
        self.how, self.layer = how, nn.Linear(8, 8)

    def forward(self, x):
        y = self.layer(x)
        if self.how == "a branch":
            return y + 1 if y.sum() > 0 else y - 1
        if self.how == "item()":
            return y * y.max().item()
        if self.how == "numpy":
            return y * torch.from_numpy(y.mean(0).cpu().numpy()).to(y.device)
        if self.how == "a mask":
            return y[y > 0].sum()
        return y
