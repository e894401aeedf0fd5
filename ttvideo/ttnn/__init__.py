"""A compiled program, executed op by op by TT-NN: on Tenstorrent's simulator, on a mocked board, on a card.

TT-NN lives in an environment of its own, which `make sim` sets up: its process is `host/`, and never imported
here.
"""

from ttvideo.ttnn.chip import Broke, Chip, Ran
from ttvideo.ttnn.places import why_not

__all__ = ["Broke", "Chip", "Ran", "why_not"]
