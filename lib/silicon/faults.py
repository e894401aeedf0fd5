"""The simulator's known faults, provoked: what each looks like to someone who meets it."""

import torch
from torch import nn

from lib.compare import compare
from lib.silicon import handmade
from lib.silicon.cases import TAPS, Clip, exact
from lib.silicon.description import describe
from lib.silicon.lane import FAULTS, run
from lib.silicon.measure import canary_fault, measure

WIDE_BLOCK = "conv3d in blocks of 64 output channels"


def provoke_all(timeout: float = 300) -> dict[str, str]:
    """Fault: what it showed. Most stop at the canary; some only spoil a convolution."""
    found = {}
    for fault in FAULTS:
        rows = measure(lambda name: name == f"{TAPS}, stacked, taps from the host", timeout, provoke=fault)
        found[fault] = rows[0].status
    found[WIDE_BLOCK] = wide_block(timeout)
    return found


@torch.no_grad()
def wide_block(timeout: float) -> str:
    torch.manual_seed(0)
    conv = nn.Conv3d(32, 64, 3, padding=1).bfloat16()
    clip = torch.randn(1, 2, 4, 4, 32).bfloat16()
    program, arguments = handmade.conv3d(conv, clip, (2, 4, 4), c_out_block=64)
    canary, values, answer = handmade.canary()
    ran = run({"canary": describe(canary, values), "conv3d": describe(program, arguments)}, timeout)
    if wrong := canary_fault(ran["canary"], answer):
        return wrong
    if ran["conv3d"].error:
        return ran["conv3d"].error
    result = ran["conv3d"].outputs[0]
    zeros = (result == 0).float().mean().item()
    return f"PCC {compare(result, exact(Clip(conv), (clip,))).pcc:.4f}, {zeros:.0%} of the outputs are zero"
