"""Which forms of Conv3d each plugin takes: the stored findings of `findings/legality.py`, as a table."""

import pandas as pd

from lib.stored import stored

HOW = ("native", "decomposed")


def legality_table() -> pd.DataFrame:
    """One row a form; for each plugin version what it becomes or how it fails, then the same decomposed.

    A column with two lanes says both: compiled for p150 / run on the mocked p150.
    """
    plugins = stored("legality")["plugins"]
    columns = {}
    for plugin in plugins:
        version = plugin["plugin"].split()[-1]
        for how in HOW:
            columns[f"{version} {how}"] = {form: cell(row[how]) for form, row in plugin["rows"].items()}
    return pd.DataFrame(columns).rename_axis("form")


def refusals() -> pd.DataFrame:
    """For each plugin version, how many forms some lane refuses: as they are, and decomposed."""
    counts = {}
    for plugin in stored("legality")["plugins"]:
        rows = plugin["rows"].values()
        counts[plugin["plugin"].split()[-1]] = {how: sum(fails(row[how]) for row in rows) for how in HOW}
    return pd.DataFrame.from_dict(counts, orient="index").rename_axis("forms refused, or not runnable")


def fails(lanes: dict) -> bool:
    return any(verdict["status"] == "fail" for verdict in lanes.values() if isinstance(verdict, dict))


def cell(lanes: dict) -> str:
    return " / ".join(said(verdict) for verdict in lanes.values() if isinstance(verdict, dict))


def said(verdict: dict) -> str:
    if verdict["status"] == "fail":
        return f"✗ {verdict['kind']}"
    ops = [op.removeprefix("ttnn.") for op in verdict.get("becomes", {}) if op != "ttnn.full"]
    return f"✓ {', '.join(ops)}".strip()
