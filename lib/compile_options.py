"""What the compiler's options bring for a block and a step of the decoder: stored figures, as a table."""

import re

import pandas as pd

from lib.stored import stored


def options_table() -> pd.DataFrame:
    """One row a block, board and set of options; `× time` is the compiler's, beside that without options."""
    rows = stored("compile_options")["rows"]
    without = {(row["block"], row["board"]): row["seconds"] for row in rows if not row["options"]}
    table = {}
    for row in rows:
        passed, name = row["status"] == "pass", (row["block"], row["board"])
        figures = {
            "compiles": "✓" if passed else f"✗ {said(row['message'])}",
            "ops": row["ops"],
            "GB moved": passed and f"{row['dram_bytes_moved'] / 1e9:.2f}",
            "peak, GB": passed and f"{row['peak_dram_bytes'] / 1e9:.2f}",
            "once, GB moved": passed and f"{row['const_eval_bytes_moved'] / 1e9:.2f}",
            "× time": passed and f"{row['seconds'] / without[name]:.0f}",
        }
        table[*name, row["name"]] = {column: figure or "–" for column, figure in figures.items()}
    return pd.DataFrame.from_dict(table, orient="index").rename_axis(["block", "board", "options"])


def said(message: str) -> str:
    """The compiler's own words, without the time and the place that they may begin with."""
    return re.sub(r"^.*TT_\w+: ", "", message).split(". ")[0]
