"""`make sim`: does the lane p150-sim work? Runs its canary, and says what it is made of."""

import sys
import time

from lib.ttnn.canary import run_after_canary
from lib.ttnn.lane import versions


def main() -> int:
    start = time.perf_counter()
    _, wrong = run_after_canary({})
    made_of = " on ".join(f"{name} {version}" for name, version in versions().items())
    print(f"p150-sim: {made_of}; {wrong or 'the canary is right'} ({time.perf_counter() - start:.0f} s)")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
