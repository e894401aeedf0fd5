"""Findings that take minutes to make: a JSON file each in lib/data, written by a script of the same name."""

import json
from pathlib import Path

DATA = Path(__file__).with_name("data")


def stored(name: str) -> dict:
    """`legality` and `ways` are written by tools/, `accuracy`, `decoder_cost` and `full_resolution` by benchmarks/."""
    return json.loads((DATA / f"{name}.json").read_text())
