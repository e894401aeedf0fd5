"""Verdicts as tables that a reader takes in at a glance."""

from collections.abc import Iterable

import pandas as pd

from lib.verdict import MOCKED, Verdict


def verdict_table(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """One row a module, one column a target."""
    rows: dict[str, dict[str, str]] = {}
    for verdict in verdicts:
        rows.setdefault(verdict.name, {})[verdict.label] = cell(verdict)
    return pd.DataFrame.from_dict(rows, orient="index").fillna("–")


def cell(verdict: Verdict) -> str:
    if not verdict.passed:
        return f"✗ {verdict.stage}: {verdict.kind}"
    if MOCKED in verdict.stages.values():
        return "✓ kernels, mocked"
    return f"✓ {verdict.stage}"
