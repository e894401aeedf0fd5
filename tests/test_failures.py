"""What the stack says, and the kind that it is."""

import pytest

from ttvideo.probing.failures import classify, died

SAID = {
    "descriptor mismatch": "Fatal: system desc schema mismatch: 38882b != f0b54f",
    "op not linked": "Exception:\n{ttnn PrepareConv3dWeightsOp is not linked in this libtt build}\n 1. a.so",
    "op validation": "OperationValidationAndFallback: Operation ttnn.conv3d failed validation at level 1",
    "legalisation": 'loc("Conv3d[conv_in]/forward(a.py:623)/aten"): error: failed to legalize operation '
    "'ttir.convolution' that",
    "DRAM out of memory": "TT_THROW\nOut of Memory: Not enough space to allocate 21139292160 B DRAM buffer",
    "L1 out of memory": "Statically allocated circular buffers in program 7 clash with L1 buffers on core",
    "kernel build": "trisc0 build failed. Log: error",
    "disk full": "write: No space left on device",
    "runtime check": "TT_FATAL: padded shape must match",
}


@pytest.mark.parametrize("kind", SAID)
def test_kind(kind):
    failure = classify("some log\n" + SAID[kind] + "\nmore log")
    assert failure.kind == kind and "\n 1." not in failure.message
    assert classify("", SAID[kind]).kind == kind


def test_the_op_and_its_place_are_named():
    failure = classify(SAID["legalisation"])
    assert (failure.op, failure.location) == ("ttir.convolution", "Conv3d[conv_in]/forward(a.py:623)/aten")
    assert classify(SAID["op not linked"]).op == "ttnn.prepare_conv3d_weights"


def test_backtraces_are_cut_away():
    message = classify("", "something else\nLocation: x.hpp:2\n 1. lib.so(+0x42)\n12. _start").message
    assert message == "something else"


def test_a_death_without_a_word_names_the_signal():
    assert "SIGKILL" in died(-9, "2026 | info | Device | fine").message
    assert died(-6, SAID["DRAM out of memory"]).kind == "DRAM out of memory"


def test_a_long_line_is_read_once():
    """A module's constants are such lines; read again from each of its places, one would take an hour."""
    log = "\n".join(["x" * 1_000_000, "TT_THROW: trisc0 build failed. Log: ", "y" * 1_000_000])
    assert classify(log).message == "TT_THROW: trisc0 build failed. Log:"
