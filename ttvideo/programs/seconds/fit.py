"""Coefficients from measured rows: least squares on the logarithm of expected over measured (scipy's
`least_squares`).

The loss is soft beyond a tenth, so a row that is far off, a busy host or another kernel, doesn't bend the
rest.
"""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from scipy.optimize import least_squares

from ttvideo.programs.seconds.model import FORMS, ONE_AT_LEAST, Fitted, microseconds
from ttvideo.programs.seconds.rows import Row

# Kernels that TT-NN had before, or another than the one that is asked for: their rows are there to compare.
OTHERS = {"conv3d": ("2026-03", "2026-04"), "conv2d": ("2025-09",), "sdpa": ("joint",)}
# A published group_norm ran on 8 to 16 cores, 60 to 500 µs a MB: a fault of its program, not of bytes.
LEFT_OUT = ("group_norm",)
MOST_POWER = 8.0  # beyond, two groups that overlap are as good as their maximum
SOFT = 0.1
# Where the search begins: how much of the time each term would be of itself, and the power.
STARTS = ((1.0, 3.0), (0.3, 3.0), (1.0, 1.5), (2.0, 6.0))
FEWEST = 10  # rows, below which the other chip's coefficients are carried over


def fitting(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """The rows that coefficients are fitted to, by kind and chip."""
    found = defaultdict(list)
    for row in rows:
        other = row.given["state"] in OTHERS.get(row.op, ())
        if row.work is not None and row.op not in LEFT_OUT and not other:
            found[row.work.kind, row.work.arch].append(row)
    return dict(found)


def fit(rows: list[Row]) -> Fitted:
    """Coefficients of one kind on one chip; a term that no row has is in `unseen`. The range is left at 1."""
    form = FORMS[rows[0].work.kind]
    names = form.names
    terms = np.array([[row.work.terms[name] for name in names] for row in rows])
    us = np.array([row.us for row in rows])
    begin, power = len(names), len(names) + 1

    def off(logs: np.ndarray) -> np.ndarray:
        values = np.exp(logs)
        return np.log(_expected(terms * values[:begin], form, values[begin], values[power]) / us)

    used = terms.max(axis=0) > 0
    # From each term on its own: so that alone it would be a third of the time.
    start = np.array([np.median(us[t > 0] / t[t > 0]) / 3 if t.any() else 1.0 for t in terms.T])
    least = np.array(
        [1.0 if name in ONE_AT_LEAST else 1e-6 * first for name, first in zip(names, start, strict=True)]
    )
    start = np.maximum(start, 1.2 * least)
    lower = np.log([*least, 1e-3, 1.0])
    upper = np.log([*(1e3 * start), max(min(us), 2e-3), MOST_POWER])
    tries = []
    for share, overlap in STARTS:
        begins = np.clip(np.log([*(share * start), min(us) / 3, overlap]), lower + 1e-9, upper - 1e-9)
        tries.append(
            least_squares(off, begins, bounds=(lower, upper), loss="soft_l1", f_scale=SOFT, max_nfev=400)
        )
    found = min(tries, key=lambda one: one.cost)
    values = np.exp(found.x)
    coefficients = {
        name: float(v) if u else least_of(name) for name, v, u in zip(names, values, used, strict=False)
    }
    unseen = tuple(name for name, u in zip(names, used, strict=True) if not u)
    return Fitted(coefficients, float(values[power]), float(values[begin]), unseen=unseen)


def least_of(name: str) -> float:
    """Of a term that no row has."""
    return 1.0 if name in ONE_AT_LEAST else 0.0


def ratios(rows: list[Row], fitted: Fitted) -> np.ndarray:
    """Measured over expected."""
    return np.array([row.us / microseconds(row.work, fitted) for row in rows])


def _expected(parts: np.ndarray, form, begin: float, power: float) -> np.ndarray:
    """As `microseconds`, of all rows at once; `parts` are their terms times coefficients."""
    groups, column = [], 0
    for group in form.together:
        groups.append(parts[:, column : column + len(group)].sum(axis=1))
        column += len(group)
    most = np.maximum(np.max(groups, axis=0), 1e-12)
    return (
        most * sum((g / most) ** power for g in groups) ** (1 / power) + parts[:, column:].sum(axis=1) + begin
    )
