"""A grid in YAML becomes runs: every combination of its values, and the cases that it spells out.

    notebooks: [01_repro, 02_decompose]
    parameters: {target: [n150-compile, p150-compile], latent_height: [4, 8]}
    cases: [{notebook: 03_full_decoder, target: p150-mock, latent_frames: 3}]
    plugins: [0.1.2, 0.1.3]

A notebook takes of `parameters` what it has; a combination that then comes twice is one run. A case without
`notebook` is for all of them. `plugins` are versions of the PyPI plugin, each in an environment of its own;
without, the installed one serves.
"""

import ast
import hashlib
import json
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path

import nbformat
import papermill
import yaml

from lib.parameters import NOTEBOOKS, check_values, lane_of
from lib.project import PROJECT
from ttvideo.basics.errors import Refused

KEYS = ("notebooks", "parameters", "cases", "plugins")


@dataclass(frozen=True)
class Run:
    """One execution of a notebook with all its parameters but `output_dir`; `plugin` is a version, or
    "installed"."""

    notebook: str
    parameters: dict[str, object]
    plugin: str = "installed"
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """Of all that decides its outcome: notebook, parameters, versions, the library's own files."""
        asked = [notebook_source(self.notebook), self.parameters, self.plugin, self.versions, library()]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        return f"{self.notebook}-{self.hash}"


def read_grid(path: Path, versions: dict[str, str]) -> list[Run]:
    """The runs of a grid file, each once. Raises `Refused` for what isn't a grid, a name or a value that no
    notebook takes."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Refused("grid", f"{path}: {' '.join(str(error).split())}", "a YAML file") from error
    grid = mapping("grid", content, KEYS)
    notebooks = values("notebooks", grid.get("notebooks", []))
    axes = mapping("parameters", grid.get("parameters") or {}, known(notebooks or NOTEBOOKS))
    axes = {name: values(name, axis) for name, axis in axes.items()}
    asked = [
        (notebook, dict(zip(axes, combination)))
        for notebook in notebooks
        for combination in product(*axes.values())
    ]
    asked = [
        (notebook, {k: v for k, v in given.items() if k in NOTEBOOKS.get(notebook, {})})
        for notebook, given in asked
    ]
    for case in values("cases", grid.get("cases", [])):
        case = dict(mapping("case", case, ("notebook", *known(NOTEBOOKS))))
        own = [case.pop("notebook")] if "notebook" in case else notebooks
        asked += [(notebook, case) for notebook in own]
    plugins = [str(version) for version in values("plugins", grid.get("plugins", []))] or ["installed"]
    runs = [Run(name, whole(name, given), plugin, versions) for name, given in asked for plugin in plugins]
    if not runs:
        raise Refused("grid", "no runs", "notebooks, or cases with a notebook")
    return list({run.hash: run for run in runs}.values())


def whole(notebook: str, given: dict[str, object]) -> dict[str, object]:
    """All parameters of a notebook, its defaults for those that aren't given, but where its outputs go."""
    if notebook not in NOTEBOOKS:
        raise Refused("notebook", repr(notebook), f"one of {', '.join(NOTEBOOKS)}")
    if "output_dir" in given:
        raise Refused("parameter", "output_dir", "none: each run has a folder of its own")
    parameters = defaults(notebook) | given
    check_values(notebook, parameters)
    lane_of(parameters).plugin()
    return {name: value for name, value in parameters.items() if name != "output_dir"}


@cache
def defaults(notebook: str) -> dict[str, object]:
    """What a notebook's parameters cell says."""
    found = papermill.inspect_notebook(str(PROJECT / "notebooks" / f"{notebook}.ipynb"))
    return {name: ast.literal_eval(parameter["default"]) for name, parameter in found.items()}


def mapping(what: str, content, keys) -> dict:
    if not isinstance(content, dict) or set(content) - set(keys):
        got = (
            ", ".join(map(str, sorted(set(content) - set(keys))))
            if isinstance(content, dict)
            else repr(content)
        )
        raise Refused(what, got, f"a mapping of {', '.join(keys)}")
    return content


def values(what: str, content) -> list:
    if not isinstance(content, list):
        raise Refused(what, repr(content), "a list")
    return content


def known(notebooks) -> list[str]:
    return list(
        dict.fromkeys(
            name for notebook in notebooks for name in NOTEBOOKS.get(notebook, {}) if name != "output_dir"
        )
    )


@cache
def notebook_source(name: str) -> str:
    cells = nbformat.read(PROJECT / "notebooks" / f"{name}.ipynb", 4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "code")


@cache
def library() -> str:
    """A hash of the library: a commit's name would say nothing of files that were edited since."""
    hashed = hashlib.sha256()
    for path in sorted(path for room in ("lib", "ttvideo") for path in (PROJECT / room).rglob("*.py")):
        hashed.update(str(path.relative_to(PROJECT)).encode() + path.read_bytes())
    return hashed.hexdigest()
