"""What real cards refused, asked of TT-NN's mocked boards again: findings/results/published.json.

    python -m findings published [--out FILE]

The cases, with their sources, stand in ttvideo/ttnn/published.py. A minute.
"""

import argparse
import contextlib
from dataclasses import asdict
from pathlib import Path

from lib.stored import store
from ttvideo.targets.target import TARGETS
from ttvideo.ttnn.chip import Chip
from ttvideo.ttnn.places import ttnn_version
from ttvideo.ttnn.published import PUBLISHED, provoke


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    with contextlib.ExitStack() as stack:
        chips = {b: stack.enter_context(Chip(TARGETS[f"{b}-ttnn"])) for b in {case.board: None for case in PUBLISHED}}
        for case in PUBLISHED:
            here = provoke(chips[case.board], case)
            rows.append(
                {
                    "issue": case.issue,
                    "model": case.model,
                    "board": case.board,
                    "op": case.op,
                    "inferred": case.inferred,
                }
                | {"result": list(case.result), "dtype": case.dtype, "layout": case.layout}
                | {"card": asdict(case.card), "mock": here and asdict(here)}
            )
    store("published", {"rows": rows}, options.out, ttnn=ttnn_version())


if __name__ == "__main__":
    main()
