"""Findings that take minutes to make: a JSON file each in findings/results, written by findings/ (`python -m findings`).

Each holds under "made" the commit and the versions that it was made with.
"""

import json
import warnings
from pathlib import Path

from lib.project import PROJECT
from lib.versions import origin, versions
from ttvideo.basics.errors import Refused
from ttvideo.ways.measure import WayRow

RESULTS = PROJECT / "findings" / "results"


def stored(name: str) -> dict:
    """The finding of this name. Warns, where it is shown, if other versions made it than the installed ones.

    Raises `Refused` for a name that there is none of.
    """
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        raise Refused(
            "stored result", repr(name), f"one of {', '.join(sorted(p.stem for p in path.parent.glob('*.json')))}"
        )
    found = json.loads(path.read_text())
    if others := made_by_others(found["made"]):
        warnings.warn(
            f"stored result {name!r} was made by {others}; `python -m findings {name}` makes it again", stacklevel=2
        )
    return found


def store(name: str, found: dict, path: Path | None = None, **more_versions: str) -> Path:
    """Write a finding, and with what it was made, to its place or to `path`."""
    path = path or RESULTS / f"{name}.json"
    path.write_text(json.dumps({"made": origin(**more_versions)} | found, indent=1, ensure_ascii=False) + "\n")
    return path


def made_by_others(made: dict) -> str:
    """The versions that differ from the installed ones, as text; what isn't installed here isn't compared."""
    here = versions()
    differing = {name: version for name, version in made["versions"].items() if here.get(name, version) != version}
    differing.pop("python", None)  # its patch level has no say in what is compiled
    return ", ".join(f"{name} {version} (here {here[name]})" for name, version in differing.items())


def stored_ways() -> list[WayRow]:
    """Every way of every kernel of `ttvideo.ways.convolutions`."""
    return [WayRow(**row) for row in stored("ways")["rows"]]
