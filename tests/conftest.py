"""Shared by the tests: small modules, and a look at what a probe may leave behind."""

import os

import psutil
import pytest
import torch

from ttvideo.basics.folders import FOLDER_PREFIX, places
from ttvideo.probing.on_plugin import Worker, warm_workers


@pytest.fixture(scope="session", autouse=True)
def warm():
    """Probes and streams of all tests share workers, one a target, each of which takes 5 s to start."""
    with warm_workers():
        yield


@pytest.fixture
def cold():
    """Each probe and stream of the test starts a worker of its own, which ends with it."""
    with warm_workers(False):
        yield


@pytest.fixture
def clean_after():
    """Fails if the test leaves a process or a temporary folder behind, but for workers that wait."""

    def leftovers():
        waiting = Worker.idle or []
        folders = {path.name for place in places() for path in place.glob(f"{FOLDER_PREFIX}{os.getpid()}-*")}
        processes = {process.pid for process in psutil.Process().children(recursive=True)}
        own = {worker.folder.name for worker in waiting}, {worker.child.process.pid for worker in waiting}
        return folders - own[0], processes - own[1]

    before = leftovers()
    yield
    after = leftovers()
    assert after[0] <= before[0] and after[1] <= before[1]


@pytest.fixture
def clip():
    """[1, 8, 3, 8, 8]"""
    return torch.randn(1, 8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
