"""Every way around every distinct Conv3d of Mochi's VAE, measured, stored in findings/results/ways.json.

    python -m findings ways [--only "3×3×3, 256"] [--out FILE]

For each kernel of ttvideo/ways/convolutions.py and each way that applies: verdicts in three lanes, the cost of the program
compiled for p150, and the accuracy of that program, evaluated on the host. Minutes a kernel where kernels are built first.
"""

import argparse
import sys
from pathlib import Path

import torch

from lib.stored import store
from ttvideo.ways.convolutions import CONVOLUTIONS
from ttvideo.ways.measure import measure_ways

LANES = ("n150-compile", "p150-compile", "p150-mock")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="kernels whose name contains this")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for name, kernel in CONVOLUTIONS.items():
        if options.only in name:
            torch.manual_seed(0)
            rows += measure_ways(kernel.make().eval(), kernel.shape, name, LANES)
            print(*rows[-4:], sep="\n", file=sys.stderr, flush=True)
    found = {
        "dtype": "bfloat16",
        "shapes": {name: kernel.shape for name, kernel in CONVOLUTIONS.items()},
        "rows": [row.as_dict() for row in rows],
    }
    store("ways", found, options.out)


if __name__ == "__main__":
    main()
