"""Shared by the tests: small modules, and a look at what a probe may leave behind."""

import os

import psutil
import pytest
import torch

from ttvideo.basics.folders import FOLDER_PREFIX, places


@pytest.fixture
def clean_after():
    """Fails if the test leaves a worker, a child of one, or a temporary folder behind."""

    def leftovers():
        folders = {path.name for place in places() for path in place.glob(f"{FOLDER_PREFIX}{os.getpid()}-*")}
        return folders, {process.pid for process in psutil.Process().children(recursive=True)}

    before = leftovers()
    yield
    after = leftovers()
    assert after[0] <= before[0] and after[1] <= before[1]


@pytest.fixture
def clip():
    """[1, 8, 3, 8, 8]"""
    return torch.randn(1, 8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
