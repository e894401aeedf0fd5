"""Run a grid of notebooks and tell what came of it.

    python -m batches GRID --out DIR [--scheduler tcp://…] [--compare OLD.parquet]

DIR/runs has a folder a run, DIR/records.parquet and .csv all that they found, DIR/report.html the same to
look at. The same command again goes on where it stopped: what passed isn't run again. Exit codes: 0 all runs
pass, 1 one didn't, 2 something given can't be used, 130 interrupted.
"""

import argparse
import signal
import sys
from pathlib import Path

from tqdm import tqdm

from batches.cluster import connected, run_all
from batches.grid import read_grid
from batches.report import changes, read_table, report, table
from batches.run import PASS, STOPPED, kept
from lib.versions import versions
from ttvideo.basics.errors import Refused

INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grid", type=Path, help="a YAML file: notebooks, parameters, cases, plugins")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/sweep"), help="where all goes; workers must see it too"
    )
    parser.add_argument("--scheduler", help="of a Dask cluster; by default one is started here")
    parser.add_argument(
        "--jobs", type=int, help="runs at a time on this machine; by default one a core, as memory allows"
    )
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for a run")
    parser.add_argument("--compare", type=Path, help="an earlier records.parquet: report what changed since")
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    before = signal.signal(
        signal.SIGTERM, interrupt
    )  # a batch system's way to end it; what is done is told all the same
    try:
        return sweep(options)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 2
    finally:
        signal.signal(signal.SIGTERM, before)


def interrupt(*_) -> None:
    raise KeyboardInterrupt


def sweep(options) -> int:
    old = read_table(options.compare) if options.compare else None
    runs = read_grid(options.grid, versions())
    out = options.out.resolve()
    folder = out / "runs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused("--out", f"{options.out}: {error.strerror}", "a folder that can be made") from error
    rows = {run.name: row for run in runs if (row := kept(folder / run.name)) and row["status"] == PASS}
    left = [run for run in runs if run.name not in rows]
    print(f"{len(runs)} runs, {len(rows)} done before", file=sys.stderr)
    interrupted = False
    try:
        if left:
            go_on(left, rows, folder, options)
    except KeyboardInterrupt:
        interrupted = True
    found = table(runs, rows, folder)
    changed = None if old is None else changes(old, found)
    report(out, found, changed)
    bad = [(run, rows[run.name]) for run in runs if run.name in rows and rows[run.name]["status"] != PASS]
    for run, row in bad:
        print(f"{run.name}: {row['status']}: {row['reason']}", file=sys.stderr)
    if changed is not None:
        print(changed.to_string(index=False) if len(changed) else "nothing changed")
    print(f"{options.out}: records.parquet, records.csv, report.html, runs/")
    return INTERRUPTED if interrupted else int(bool(bad))


def go_on(left, rows: dict[str, dict], folder: Path, options) -> None:
    with connected(options.scheduler, options.jobs) as client:
        print(f"Dask's dashboard: {client.dashboard_link}", file=sys.stderr)
        with tqdm(total=len(left), desc="runs", unit="run", dynamic_ncols=True) as bar:
            failed = 0
            for run, row in run_all(client, left, folder, options.timeout):
                rows[run.name] = row
                failed += row["status"] not in (PASS, STOPPED)
                bar.set_postfix_str(
                    f"{bar.n + 1 - failed} pass, {failed} fail, {len(left) - bar.n - 1} left", refresh=False
                )
                bar.update()


if __name__ == "__main__":
    sys.exit(main())
