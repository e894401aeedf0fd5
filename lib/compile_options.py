"""What the compiler's options bring for a block and a step of the decoder: stored figures, as a table."""

import re

import pandas as pd

from lib.stored import stored
from lib.tables import figures


def options_table() -> pd.DataFrame:
    """One row a block, board and set of options; `× time` is the compiler's, beside that without options."""
    rows = pd.DataFrame(stored("compile_options")["rows"]).set_index(["block", "board", "name"])
    passed = rows["status"] == "pass"
    compiles = ["✓" if good else f"✗ {said(message)}" for good, message in zip(passed, rows["message"])]
    table = figures(rows, "ops", "GB moved", "peak, GB", "once, GB moved")
    table.insert(0, "compiles", compiles)
    without = rows["seconds"].xs("default", level="name").reindex(rows.index.droplevel("name"))
    table["× time"] = (rows["seconds"] / without.values).where(passed).round().astype("Int64")
    return table.rename_axis(["block", "board", "options"])


def said(message: str) -> str:
    """The compiler's own words, without the time and the place that they may begin with."""
    return re.sub(r"^.*TT_\w+: ", "", message).split(". ")[0]
