"""Findings that take minutes to make: a JSON file each in lib/notebook/results, written by a script of the same name."""

import json
from pathlib import Path

from lib.ways.measure import WayRow

DATA = Path(__file__).with_name("results")


def stored(name: str) -> dict:
    """What the script of this name in findings/ found."""
    return json.loads((DATA / f"{name}.json").read_text())


def stored_ways() -> list[WayRow]:
    """Every way of every kernel of `lib.ways.convolutions`."""
    return [WayRow(**row) for row in stored("ways")["rows"]]
