"""`make sim`: takes the simulator, `TTSIM` or a release, and has each chip add two numbers."""

import os
import sys
import time

import torch

from lib.basics.errors import Refused
from lib.targets.target import TARGETS, TTSIM
from lib.ttnn import ttsim
from lib.ttnn.chip import Broke, Chip
from lib.ttnn.handmade import op, program, tensor
from lib.ttnn.places import made_of


def main() -> int:
    given = os.environ.get("TTSIM") or None
    try:
        print(ttsim.keep(given))
    except Refused as refused:
        print(f"TT-NN is set up, its mocked boards work; the simulator isn't: {refused}", file=sys.stderr)
        return 1
    wrong = [reason for target in TARGETS.values() if target.lane == TTSIM and (reason := tried(target))]
    return 1 if wrong else 0


def tried(target) -> str | None:
    """What is wrong with the target, None if nothing is."""
    start = time.perf_counter()
    x, y, z = (tensor(name, (32, 32)) for name in "xyz")
    added = program([x, y], [op("add", [x, y], z)])
    one = torch.ones(32, 32).bfloat16()
    try:
        with Chip(target) as chip:
            right = torch.equal(chip.run(added, {"x": one, "y": one}).outputs[0], 2 * one)
        wrong = None if right else "1 + 1 isn't 2 there"
    except (Broke, Refused) as error:
        wrong = str(error)
    print(f"{target.name}: {wrong or 'works'}, {made_of(target)} ({time.perf_counter() - start:.0f} s)")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
