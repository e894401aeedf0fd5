"""lib's tree is what the README says of it, and no folder imports one above it."""

import ast
import re
import tomllib

from click.testing import CliRunner
from importlinter.cli import lint_imports_command

from lib.targets.target import PROJECT

LIB = PROJECT / "lib"
LAYERS = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
ROW = re.compile(r"^\| `(\w+)/` \|[^|]*\|(.*)\|$", re.MULTILINE)


def test_no_folder_imports_one_above_it(monkeypatch):
    monkeypatch.chdir(PROJECT)
    result = CliRunner().invoke(lint_imports_command, ["--no-cache"])
    assert result.exit_code == 0 and "1 kept, 0 broken" in result.output, result.output


def test_at_the_top_stand_folders_alone():
    entries = {path.name for path in LIB.iterdir()} - {"__init__.py", "__pycache__"}
    assert entries == set(LAYERS) and len(entries) <= 9


def test_every_folder_says_what_is_in_it():
    for folder in LAYERS:
        assert ast.get_docstring(ast.parse((LIB / folder / "__init__.py").read_text()))


def test_the_readme_maps_the_tree_in_the_order_of_imports():
    rows = ROW.findall((PROJECT / "README.md").read_text())
    assert [folder for folder, _ in rows] == LAYERS
    for folder, files in rows:
        for name in re.findall(r"`([\w/]+\.py|\w+/)`", files):
            assert (LIB / folder / name).exists(), f"{folder}/{name}"
