"""The descriptors that stand in for a card, as the compiler's own text shows them again."""

import re

import pytest
import torch
import yaml
from torch import nn

from ttvideo import probe
from ttvideo.targets.boards import BOARDS
from ttvideo.targets.descriptors import FILE_IDENTIFIER, cluster_descriptor, system_descriptor


@pytest.mark.parametrize("name", BOARDS)
def test_the_compiler_reads_what_was_written(name):
    text = probe(nn.Linear(32, 32), (torch.zeros(1, 32),), f"{name}-compile").ttnn
    chip = BOARDS[name].chip
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


def test_the_schema_hash_is_in_the_file():
    content = system_descriptor(BOARDS["p150"], "ab" * 32)
    assert content[8:12] == FILE_IDENTIFIER and b"ab" * 32 in content
    assert int.from_bytes(content[:4], "little") == len(content) - 4


def test_the_mocked_cluster_has_one_p150():
    described = yaml.safe_load(cluster_descriptor(BOARDS["p150"]))
    assert described["arch"] == {0: "blackhole"} and len(described["boards"]) == 1
