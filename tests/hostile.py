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
