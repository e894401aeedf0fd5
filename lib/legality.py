"""Which forms of Conv3d each plugin takes: the stored findings of `findings/legality.py`, as a table."""

import pandas as pd

from lib.stored import stored


def legality_table() -> pd.DataFrame:
    """One row a form; for each plugin version what it becomes or how it fails, then the same decomposed.

    A column with two lanes says both: compiled for p150 / run on the mocked p150.
    """
    plugins = stored("legality")["plugins"]
    columns = {}
    for plugin in plugins:
        version = plugin["plugin"].split()[-1]
        for how in ("native", "decomposed"):
            columns[f"{version} {how}"] = {form: cell(row[how]) for form, row in plugin["rows"].items()}
    return pd.DataFrame(columns).rename_axis("form")


def cell(lanes: dict) -> str:
    return " / ".join(said(verdict) for verdict in lanes.values() if isinstance(verdict, dict))


def said(verdict: dict) -> str:
    if verdict["status"] == "fail":
        return f"✗ {verdict['kind']}"
    ops = [op.removeprefix("ttnn.") for op in verdict.get("becomes", {}) if op != "ttnn.full"]
    return f"✓ {', '.join(ops)}".strip()
