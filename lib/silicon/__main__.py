"""`make sim`: does the lane p150-sim work? Runs its canary, and says what it is made of."""

import sys
import time

from lib.silicon import handmade
from lib.silicon.description import describe
from lib.silicon.lane import run, versions
from lib.silicon.measure import CANARY, canary_fault


def main() -> int:
    start = time.perf_counter()
    program, arguments, answer = handmade.canary()
    ran = run({CANARY: describe(program, arguments)})[CANARY]
    made_of = " on ".join(f"{name} {version}" for name, version in versions().items())
    wrong = canary_fault(ran, answer)
    seconds = time.perf_counter() - start
    print(f"p150-sim: {made_of}; {wrong or f'the canary is right, {ran.cycles:,} cycles'} ({seconds:.0f} s)")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
