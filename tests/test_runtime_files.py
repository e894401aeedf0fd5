"""The runtime files are kept where kernels built from them stay valid."""

import torch
from torch import nn

from ttvideo.probing.probe import probe
from ttvideo.targets.runtime_files import UNPACKED, kept
from ttvideo.targets.target import KERNEL_CACHE, RUNTIME_FILES


def unpacked(folder, content):
    place = folder / UNPACKED.replace("*", "0123")
    place.mkdir(parents=True)
    (place / "kernel.cpp").write_text(content)
    return place


def test_the_first_worker_s_files_are_kept(tmp_path):
    first = kept(unpacked(tmp_path / "a", "first"), tmp_path / "keep")
    second = kept(unpacked(tmp_path / "b", "second"), tmp_path / "keep")
    assert first == second and (first / "kernel.cpp").read_text() == "first"
    assert [path.name for path in (tmp_path / "keep").iterdir()] == [first.name]


def built():
    return {path: path.stat().st_mtime_ns for path in KERNEL_CACHE.rglob("*.elf") if "xip" not in path.name}


def test_a_second_worker_builds_no_kernel_again(cold):
    layer, x = nn.Linear(32, 64).bfloat16(), torch.zeros(32, 32).bfloat16()
    assert probe(layer, (x,), "p150-mock").passed
    before = built()
    assert probe(layer, (x,), "p150-mock").passed
    assert before and built() == before
    assert len(list(RUNTIME_FILES.iterdir())) >= 1
