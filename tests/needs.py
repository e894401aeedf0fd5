"""Marks of tests that run where `make sim` was run (`needs_ttnn`) and found a simulator (`needs_ttsim`)."""

import pytest

from ttvideo.targets.target import TARGETS
from ttvideo.ttnn.places import why_not

NO_TTNN, NO_TTSIM = why_not(TARGETS["p150-ttnn"]), why_not(TARGETS["p150-ttsim"])
needs_ttnn = pytest.mark.skipif(NO_TTNN is not None, reason=str(NO_TTNN))
needs_ttsim = pytest.mark.skipif(NO_TTSIM is not None, reason=str(NO_TTSIM))
