"""Tables tell what rows hold, in the units that their columns name."""

import pandas as pd
import pytest

from lib.tables import dashed, figures, least, roofline_row
from ttvideo.targets.boards import BOARDS

ROW = {"ops": 3, "flops": 2e12, "dram_bytes_moved": 4e9, "launches": 3, "peak_dram_bytes": 1.5e9}


def test_figures_are_told_in_the_units_that_they_name():
    table = figures({"a": ROW, "b": ROW | {"ops": None}}, "ops", "GB moved", "peak, GB", "TFLOP")
    assert table.loc["a"].to_dict() == {"ops": 3, "GB moved": 4.0, "peak, GB": 1.5, "TFLOP": 2.0}
    assert dashed(table).loc["b", "ops"] == "–"
    assert figures(pd.DataFrame([ROW]), "GB moved")["GB moved"].item() == 4.0
    assert list(figures({}, "ops", "GB moved")) == ["ops", "GB moved"]  # of a host, which has no programs


def test_the_least_seconds_are_a_latent_frames():
    chip = BOARDS["p150"].chip
    assert roofline_row(ROW, "p150").dram_seconds == pytest.approx(4 / chip.dram_gb_per_s)
    assert roofline_row(ROW | {"hifi4_flops": 0}, "p150").arithmetic_seconds == 0
    assert float(least(ROW, "p150").split()[0]) == pytest.approx(
        2 * float(least(ROW, "p150", 2).split()[0]), abs=0.01
    )


def test_a_row_without_its_passes_has_the_same_least_seconds_in_a_table_as_alone():
    """In a table, what a row doesn't have is NaN."""
    old = {"flops": 10**12, "dram_bytes_moved": 10**9, "launches": 5}
    table = pd.DataFrame([old, old | {"hifi4_flops": 5 * 10**11}])
    assert least(table.iloc[0], "p150") == least(old, "p150") and "nan" not in least(table.iloc[0], "p150")
