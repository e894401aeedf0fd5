"""Findings that take minutes to make: a JSON file each in findings/results, by `python -m findings`.

Each holds under "made" with what its parts were made: commit, files and versions.
"""

import json
import warnings
from types import SimpleNamespace

from safetensors.torch import load_file
from torch import Tensor

from lib.project import PROJECT
from lib.versions import versions
from ttvideo.basics.errors import Refused

RESULTS = PROJECT / "findings" / "results"


def stored(name: str) -> dict:
    """The finding of this name. Warns, where it is shown, if other versions made it than the installed ones.

    What changed in this checkout since, `python -m findings` says. Raises `Refused` for an unknown name.
    """
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        there_are = ", ".join(sorted(p.stem for p in path.parent.glob("*.json")))
        raise Refused("stored result", repr(name), f"one of {there_are}")
    found = json.loads(path.read_text())
    if others := made_by_others(found["made"], versions()):
        again = f"`python -m findings {name}` makes it again"
        warnings.warn(f"stored result {name!r} was made by {others}; {again}", stacklevel=2)
    return found


def stored_tensors(name: str) -> dict[str, Tensor]:
    """What a finding keeps beside its JSON, by name."""
    return load_file(RESULTS / f"{name}.safetensors")


def made_by_others(made: list[dict], here: dict[str, str]) -> str:
    """The versions that differ from those here, as text; what isn't here isn't compared."""
    differing = {
        f"{name} {version} (here {here[name]})": None
        for one in made
        for name, version in one["versions"].items()
        # Python's patch level has no say in what is compiled.
        if name != "python" and here.get(name, version) != version
    }
    return ", ".join(differing)


def stored_decompositions() -> list[SimpleNamespace]:
    """Every `DecompositionRow` (`ttvideo.decompositions.measure`) of every kernel of its `convolutions`."""
    return [SimpleNamespace(**row) for row in stored("decompositions")["rows"]]
