"""Do TT-NN's mocked boards refuse what real cards refused?

The cases, with their sources, stand in ttvideo/ttnn/published.py.
"""

import contextlib
from dataclasses import asdict

from ttvideo.targets.target import TARGETS
from ttvideo.ttnn.chip import Chip
from ttvideo.ttnn.published import PUBLISHED, Published, provoke

MADE_WITH = ("ttnn",)
CASES = {case.issue: case for case in PUBLISHED}
KEYS = [("rows", {"issue": issue}) for issue in CASES]


def measure(case: Published, chip: Chip) -> dict:
    here = provoke(chip, case)
    row = {"model": case.model, "board": case.board, "op": case.op, "inferred": case.inferred}
    row |= {"result": list(case.result), "dtype": case.dtype, "layout": case.layout}
    return row | {"card": asdict(case.card), "mock": here and asdict(here)}


def make(keys):
    cases = [CASES[key[-1]["issue"]] for key in keys]
    with contextlib.ExitStack() as stack:
        boards = {case.board for case in cases}
        chips = {board: stack.enter_context(Chip(TARGETS[f"{board}-ttnn"])) for board in boards}
        for key, case in zip(keys, cases):
            yield key, measure(case, chips[case.board])
