"""The simulator's known faults, provoked: what each looks like to someone who meets it."""

import torch
from torch import nn

from lib.notebook.silicon.cases import TAPS, Case, Clip, cases, exact
from lib.notebook.silicon.measure import measure
from lib.ttnn import handmade
from lib.ttnn.lane import FAULTS

WIDE_BLOCK = "conv3d in blocks of 64 output channels"


def provoke_all() -> dict[str, str]:
    """Fault: the status of a case that meets it. Most stop at the canary; some only spoil a convolution."""
    usual = cases(lambda name: name == f"{TAPS}, stacked, taps from the host")
    met = {fault: measure(usual, provoke=fault) for fault in FAULTS} | {WIDE_BLOCK: measure([wide_block()])}
    return {fault: rows[0].status for fault, rows in met.items()}


@torch.no_grad()
def wide_block() -> Case:
    torch.manual_seed(0)
    conv = nn.Conv3d(32, 64, 3, padding=1).bfloat16()
    clip = torch.randn(1, 2, 4, 4, 32).bfloat16()
    program, arguments = handmade.conv3d(conv, clip, (2, 4, 4), c_out_block=64)
    return Case(TAPS, WIDE_BLOCK, program, arguments, exact(Clip(conv), (clip,)))
