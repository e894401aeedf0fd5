"""What does every way around every distinct Conv3d of Mochi's VAE cost and give?

For each kernel of ttvideo/decompositions/convolutions.py and each way that applies: verdicts in three lanes,
the cost of the program compiled for p150, and the accuracy of that program, evaluated on the host. Minutes a
kernel where kernels are built first.
"""

import torch

from findings.unused import no_seconds
from ttvideo.decompositions.convolutions import CONVOLUTIONS
from ttvideo.decompositions.measure import measure_decompositions

LANES = ("n150-compile", "p150-compile", "p150-mock")
KEYS = [("rows", {"kernel": name}) for name in CONVOLUTIONS]
unused = no_seconds


def make(keys):
    for key in keys:
        name = key[-1]["kernel"]
        torch.manual_seed(0)
        rows = measure_decompositions(CONVOLUTIONS[name].make().eval(), CONVOLUTIONS[name].shape, name, LANES)
        yield key, [row.as_dict() for row in rows]
