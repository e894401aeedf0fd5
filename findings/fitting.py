"""How well the model of seconds holds: on rows that it wasn't fitted to, on models of which it has seen no
row, on the other chip.

    python -m findings.fitting

writes what the library reads, ttvideo/programs/seconds/coefficients.json, where measured.csv has other rows.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace

import numpy as np

from ttvideo.programs.seconds import model
from ttvideo.programs.seconds.fit import FEWEST, OTHERS, fit, fitting, ratios
from ttvideo.programs.seconds.model import Fitted
from ttvideo.programs.seconds.rows import BYTES_OPS, CHIPS, Row, read_rows

SEEDS = 5
LARGE_MB = 4  # and more: DRAM-bound
WHOLE = 0.75  # of a chip's cores at work, so that memory and not the cores is what binds
PERCENTILES = (10, 90)


def write_coefficients(rows: list[Row]) -> None:
    model.COEFFICIENTS.write_text(json.dumps(fit_all(rows), indent=1) + "\n")


def fit_all(rows: list[Row]) -> dict:
    """Coefficients of every kind on every chip that has rows for it, with the ranges of rows that weren't
    fitted."""
    by_kind, kinds = fitted_kinds(rows), {}
    for (kind, arch), of in sorted(by_kind.items()):
        low, high = ranges(of)
        kinds.setdefault(kind, {})[arch] = replace(fit(of), low=low, high=high)
    for kind, by_chip in kinds.items():
        kinds[kind] = {arch: asdict(_filled(one, by_chip)) for arch, one in by_chip.items()}
    starts = [row.us for row in rows if row.op == "start"]
    return {"traced_start_us": float(np.median(starts)), "carried": _wider(by_kind), "kinds": kinds}


def fitted_kinds(rows: list[Row]) -> dict[tuple[str, str], list[Row]]:
    """Rows by kind and chip; a kind of few rows is left to the other chip where that has many."""
    by_kind = fitting(rows)

    def other_has_many(kind: str, arch: str) -> bool:
        return any(k == kind and a != arch and len(of) >= FEWEST for (k, a), of in by_kind.items())

    return {key: of for key, of in by_kind.items() if len(of) >= FEWEST or not other_has_many(*key)}


def _wider(by_kind: dict[tuple[str, str], list[Row]]) -> dict[str, dict[str, float]]:
    """By what a range gets wider, on each chip, where coefficients are the other's: as what was measured on
    both is off."""
    found, all_carried = {}, carried(by_kind)
    for chip in CHIPS:
        low, high = _percentiles(np.concatenate([r for n, r in all_carried.items() if n.endswith(chip)]))
        found[chip] = {"low": min(low, 1.0), "high": max(high, 1.0)}
    return found


def ranges(rows: list[Row]) -> tuple[float, float]:
    """Percentiles of rows that weren't fitted: of random halves or of whole models, whichever are wider."""
    models = left_out(rows, True)
    both = [held_out(rows)] + ([np.concatenate(list(models.values()))] if models else [])
    lows, highs = zip(*map(_percentiles, both), strict=True)
    return min(lows), max(highs)


def _filled(one: Fitted, by_chip: dict[str, Fitted]) -> Fitted:
    """What no row of this chip tells, from the other's."""
    found = {
        name: other.coefficients[name]
        for other in by_chip.values()
        for name in one.unseen
        if other is not one and name not in other.unseen
    }
    return replace(one, coefficients=one.coefficients | found, carried=tuple(found))


def halves(rows: list[Row]) -> Iterator[tuple[list[Row], list[Row]]]:
    """(test, train): each of random halves and the other, some times."""
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(len(rows))
        for half in (0, 1):
            test, train = ([rows[i] for i in order[side::2]] for side in (half, 1 - half))
            yield test, train


def held_out(rows: list[Row]) -> np.ndarray:
    """Measured over expected of each half of the rows, by what is fitted to the other half."""
    if len(rows) < FEWEST / 2:
        return np.ones(1)
    return np.concatenate([foretold(test, fit(train)) for test, train in halves(rows)])


def foretold(rows: list[Row], by: Fitted) -> np.ndarray:
    """Measured over expected, of the rows whose every term has a coefficient."""
    return ratios([row for row in rows if not any(row.work.terms[name] for name in by.unseen)], by)


def left_out(rows: list[Row], half_stays: bool = False) -> dict[str, np.ndarray]:
    """Measured over expected of each model's rows, by what is fitted to all others; `half_stays`: if those
    are half or more."""
    found = {}
    for name in sorted({row.model for row in rows}):
        test = [row for row in rows if row.model == name]
        train = [row for row in rows if row.model != name]
        if len(train) >= (len(rows) / 2 if half_stays else FEWEST):
            found[name] = foretold(test, fit(train))
    return {name: ratio for name, ratio in found.items() if len(ratio)}


def carried(by_kind: dict[tuple[str, str], list[Row]]) -> dict[str, np.ndarray]:
    """Measured over expected on one chip by what is fitted to the other, of rows whose every term that one
    has."""
    found = {}
    for (kind, arch), rows in by_kind.items():
        for (other, elsewhere), train in by_kind.items():
            if other == kind and elsewhere != arch:
                found[f"{kind}, {elsewhere} to {arch}"] = foretold(rows, fit(train))
    return {name: ratio for name, ratio in found.items() if len(ratio)}


def document(rows: list[Row]) -> dict:
    """Errors of every kind; "error" is |expected / measured − 1|."""
    by_kind, found = fitted_kinds(rows), []
    for (kind, arch), of in sorted(by_kind.items()):
        row = {"kind": kind, "chip": arch, "rows": len(of), "held_out": errors(held_out(of))}
        found.append(row | {"left_out": {name: errors(r) for name, r in left_out(of).items()}})
    return {
        "errors": found,
        "large": large(by_kind),
        "carried": {name: errors(r) for name, r in carried(by_kind).items()},
        "other_kernels": other_kernels(rows, by_kind),
    }


def errors(found: np.ndarray) -> dict:
    off = np.abs(1 / found - 1)
    low, high = _percentiles(found)
    return {
        "rows": len(found),
        "median_error": round(float(np.median(off)), 4),
        "within_25_percent": round(float((off < 0.25).mean()), 3),
        "measured_over_expected": [round(low, 3), round(float(np.median(found)), 3), round(high, 3)],
    }


def large(by_kind: dict[tuple[str, str], list[Row]]) -> dict:
    """Of ops by bytes that move over `LARGE_MB` on a whole chip, all kinds together, held out with the others
    of their kind."""
    found: dict[str, list] = {}
    for (kind, arch), rows in by_kind.items():
        if kind in BYTES_OPS.values() and len(rows) >= FEWEST:
            found[arch] = found.get(arch, []) + [
                foretold([row for row in test if _large(row)], fit(train)) for test, train in halves(rows)
            ]
    return {arch: errors(np.concatenate(ratio)) for arch, ratio in found.items()}


def _large(row: Row) -> bool:
    chip = CHIPS[row.given["chip"]]
    whole = int(row.given["cores"].split("x")[0]) >= WHOLE * chip.cores
    return whole and row.work.terms["dram"] * chip.dram_gb_per_s * 1000 > LARGE_MB * 1e6


def other_kernels(rows: list[Row], by_kind: dict) -> dict:
    """Measured by another state of the kernel over expected of the one that is fitted."""
    found = {}
    others = (row for row in rows if row.work and row.given["state"] in OTHERS.get(row.op, ()))
    for row in others:
        if (key := (row.work.kind, row.work.arch)) in by_kind:
            found.setdefault((f"{row.op} {row.given['state']}", key), []).append(row)
    return {name: errors(ratios(of, fit(by_kind[key]))) for (name, key), of in found.items()}


def _percentiles(found: np.ndarray) -> tuple[float, float]:
    return tuple(np.percentile(found, PERCENTILES).tolist())


if __name__ == "__main__":
    write_coefficients(read_rows())
