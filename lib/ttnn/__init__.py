"""The lane `p150-sim`: TT-NN's own kernels on a simulated Blackhole. `make sim` sets it up."""

from lib.ttnn.lane import Ran, run, why_not

__all__ = ["Ran", "run", "why_not"]
