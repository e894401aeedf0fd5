"""Every case on the simulated chip, and each known fault of the simulator provoked: lib/notebook/results/silicon.json.

    python findings/silicon.py [--out FILE]

`make sim` sets up what this needs. About 3 minutes, and as many more where kernels are built first.
"""

import argparse
import json
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))
from lib.notebook.silicon.cases import cases
from lib.notebook.silicon.faults import provoke_all
from lib.notebook.silicon.measure import measure
from lib.notebook.stored import DATA
from lib.targets.plugins import find_plugin
from lib.ttnn.lane import versions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DATA / "silicon.json")
    options = parser.parse_args()
    start = time.perf_counter()
    rows = measure(cases())
    print(*rows, f"{time.perf_counter() - start:.0f} s", sep="\n", file=sys.stderr, flush=True)
    faults = provoke_all()
    print(*faults.items(), sep="\n", file=sys.stderr)
    document = {
        "versions": {"plugin": str(find_plugin()), **versions()},
        "rows": [row.as_dict() for row in rows],
        "faults": faults,
    }
    options.out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
