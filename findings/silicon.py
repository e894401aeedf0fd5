"""Every case on the simulated chip, and each known fault of the simulator provoked: lib/notebook/results/silicon.json.

    python -m findings silicon [--out FILE]

`make sim` sets up what this needs. About 3 minutes, and as many more where kernels are built first.
"""

import argparse
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
from lib.notebook.silicon.cases import cases
from lib.notebook.silicon.faults import provoke_all
from lib.notebook.silicon.measure import measure
from lib.notebook.stored import store
from lib.ttnn.lane import versions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    start = time.perf_counter()
    rows = measure(cases())
    print(*rows, f"{time.perf_counter() - start:.0f} s", sep="\n", file=sys.stderr, flush=True)
    faults = provoke_all()
    print(*faults.items(), sep="\n", file=sys.stderr)
    store("silicon", {"rows": [row.as_dict() for row in rows], "faults": faults}, options.out, **versions())


if __name__ == "__main__":
    main()
