"""Each way around Conv3d on both simulated chips: lib/notebook/results/silicon.json.

    python -m findings silicon [--out FILE]

`make sim` sets up what this needs. Minutes a chip where kernels are built first.
"""

import argparse
import sys
import time
from pathlib import Path

from lib.media.models import load_vae
from lib.notebook.silicon import CHIPS, cases, measure
from lib.notebook.stored import store
from lib.targets.target import TARGETS
from lib.ttnn.places import made_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    conv = load_vae("demo").decoder.block_in.resnets[0].conv1.conv
    rows = []
    for chip in CHIPS:
        start = time.perf_counter()
        rows += measure(cases(conv), chip)
        print(*rows[-len(cases(conv)) :], f"{time.perf_counter() - start:.0f} s", sep="\n", file=sys.stderr, flush=True)
    found = {"rows": [row.as_dict() for row in rows]}
    store("silicon", found, options.out, **{chip: made_of(TARGETS[chip]) for chip in CHIPS})


if __name__ == "__main__":
    main()
