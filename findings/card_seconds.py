"""How far are times of a card of yours from what is expected of them?

    python -m findings card_seconds FILE [--json] [--refit]

FILE is a CSV file of measured times (ttvideo/programs/seconds/rows.py says what is in each column); bad rows
are refused, by line. Printed are the expected time of each, its range, and a summary. --refit fits the model
anew with these rows added, and writes ttvideo/programs/seconds/coefficients.json.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from findings.fitting import errors, write_coefficients
from ttvideo.programs.seconds import expected_work, model
from ttvideo.programs.seconds.rows import Row, read_rows


def compared(rows: list[Row]) -> list[dict]:
    """Each row with its expected time, in microseconds; a start's is the measured one of a program in a
    trace."""
    start, found = model.coefficients()["traced_start_us"], []
    for row in rows:
        time = expected_work(row.work) if row.work else None
        times = (time.us, time.low_us, time.high_us) if time else (start, start, start)
        expected = zip(("expected_us", "low_us", "high_us"), (round(us, 2) for us in times), strict=True)
        found.append(row.given | {"line": row.line, "us": row.us} | dict(expected))
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


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m findings card_seconds", description=__doc__.split("\n\n")[0])
    parser.add_argument("rows", type=Path, metavar="FILE", help="a CSV file of measured times")
    parser.add_argument("--json", action="store_true", help="the rows with expected_us, low_us, high_us")
    parser.add_argument("--refit", action="store_true", help="fit anew with these rows added")
    options = parser.parse_args(arguments)
    try:
        rows = read_rows(options.rows)
    except OSError as bad:
        print(bad, file=sys.stderr)
        return 2
    if options.refit:
        write_coefficients(read_rows() + rows)
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
