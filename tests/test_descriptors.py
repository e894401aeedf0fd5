"""The descriptors that stand in for a card, as the compiler's own text shows them again."""

import re

import pytest
import torch
from torch import nn

from ttvideo import probe
from ttvideo.programs.program import read
from ttvideo.targets.boards import BOARDS


@pytest.mark.parametrize("name", BOARDS)
def test_the_compiler_reads_what_was_written(name):
    text = probe(nn.Linear(32, 32), (torch.zeros(1, 32),), f"{name}-compile").ttnn
    chip, program = BOARDS[name].chip, read(text)
    assert program.chip is chip and {a.name for a in program.arguments} == {"weight", "bias", "input.0"}
    described = re.search(r"#system_desc = .*", text).group()
    assert described.count("arch = ") == BOARDS[name].chips
    for field, value in {
        "arch": f"<{chip.arch}>",
        "grid": f"{chip.grid_yx[0]}x{chip.grid_yx[1]}",
        "l1_size": chip.l1_bytes,
        "num_dram_channels": chip.dram_channels,
        "dram_channel_size": chip.dram_channel_bytes,
        "noc_dram_address_align_bytes": chip.noc_dram_align_bytes,
        "dram_unreserved_base": chip.dram_reserved_below,
        "dram_unreserved_end": chip.dram_channel_bytes - chip.dram_reserved_above,
    }.items():
        assert f"{field} = {value}" in described, field
