"""How long do ops take on a card, by published times, and how far off is the model that was fitted to them?

    python -m findings seconds [--seeds 5]
    python -m findings seconds --rows FILE [--json] [--refit]

The first fits ttvideo/programs/seconds to ttvideo/programs/seconds/measured.csv, writes its coefficients.json, and
stores the errors on rows and on models that weren't fitted, and whole decoders, expected and published. Two
minutes. The second takes rows of that form (ttvideo/programs/seconds/rows.py says what is in each column): the
expected time of each, its range, and a summary; --refit fits all anew with them, and writes
coefficients.json. Bad rows are refused, by line.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from findings.fitting import document, errors, fit_all
from lib.stored import store
from ttvideo.basics.errors import Refused
from ttvideo.programs.seconds import expected_work, model
from ttvideo.programs.seconds.rows import Row, read_rows


def write_coefficients(rows: list[Row], seeds: int) -> None:
    model.COEFFICIENTS.write_text(json.dumps(fit_all(rows, seeds), indent=1) + "\n")
    model.coefficients.cache_clear()
    model.fitted.cache_clear()


def compared(rows: list[Row]) -> list[dict]:
    """Each row with its expected time, in microseconds; a start's is the measured one of a program in a
    trace."""
    found = []
    for row in rows:
        if row.work is None:
            us = model.coefficients()["traced_start_us"]
            times = us, us, us
        else:
            time = expected_work(row.work)
            times = time.us, time.low_us, time.high_us
        names = ("expected_us", "low_us", "high_us")
        found.append(
            row.given
            | {"line": row.line, "us": row.us}
            | {n: round(us, 2) for n, us in zip(names, times, strict=True)}
        )
    return found


def summary(found: list[dict]) -> str:
    lines = []
    for op in dict.fromkeys(row["op"] for row in found):
        of = [row for row in found if row["op"] == op]
        error = errors(np.array([row["us"] / row["expected_us"] for row in of]))
        inside = sum(row["low_us"] <= row["us"] <= row["high_us"] for row in of)
        lines.append(
            f"{op}: {len(of)} rows, median error {error['median_error']:.0%}, measured over expected"
            f" {error['measured_over_expected'][1]:.2f}, {inside} in their range"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", type=Path, help="a CSV file of measured times")
    parser.add_argument("--json", action="store_true", help="the rows with expected_us, low_us, high_us")
    parser.add_argument("--refit", action="store_true", help="fit anew with these rows added")
    parser.add_argument("--seeds", type=int, default=5, help="random halves, twice so many fits a kind")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.rows is None:
        from findings.whole_seconds import (
            whole_things,
        )  # takes diffusers, and so seconds that rows needn't

        rows = read_rows()
        write_coefficients(rows, options.seeds)
        store("seconds", document(rows, options.seeds) | {"whole": whole_things()}, options.out)
        return 0
    try:
        rows = read_rows(options.rows)
    except (Refused, OSError) as bad:
        print(bad, file=sys.stderr)
        return 2
    if options.refit:
        write_coefficients(read_rows() + rows, options.seeds)
    found = compared(rows)
    if options.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return 0
    for row in found:
        times = " to ".join(f"{row[name]:.4g}" for name in ("low_us", "high_us"))
        what = f"line {row['line']}: {row['op']} {row['in0']}"
        print(f"{what}: measured {row['us']:.4g} µs, expected {row['expected_us']:.4g} ({times})")
    print(summary(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
