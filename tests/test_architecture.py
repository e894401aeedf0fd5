"""The tree is what the README says of it, and no folder imports one above it."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from click.testing import CliRunner
from importlinter.cli import lint_imports_command

from lib.project import PROJECT

CONTRACTS = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
LAYERS = CONTRACTS[0]["layers"]
FOLDERS = [layer for layer in LAYERS if layer != "command"]  # a file
ROW = re.compile(r"^\| `(\w+)/` \|[^|]*\|(.*)\|$", re.MULTILINE)


def test_no_folder_imports_one_above_it(monkeypatch):
    monkeypatch.chdir(PROJECT)
    result = CliRunner().invoke(lint_imports_command, ["--no-cache"])
    assert result.exit_code == 0 and f"{len(CONTRACTS)} kept, 0 broken" in result.output, result.output


def test_the_code_is_as_linter_and_formatter_want_it():
    ruff = Path(sys.executable).with_name("ruff")
    for asked in (["check", "--quiet"], ["format", "--check"]):
        done = subprocess.run([ruff, *asked, "."], cwd=PROJECT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_no_function_is_longer_than_a_screen():
    for folder in ("ttvideo", "lib", "findings", "batches", "training", "tests"):
        for path in (PROJECT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef):
                    assert node.end_lineno - node.lineno < 50, f"{path}: {node.name}"


def test_at_the_top_of_the_library_stand_folders_and_its_command():
    entries = {path.stem for path in (PROJECT / "ttvideo").iterdir()} - {"__init__", "__pycache__"}
    assert entries == set(LAYERS) and len(FOLDERS) <= 8


def test_what_notebooks_share_is_small():
    lines = sum(len(path.read_text().splitlines()) for path in (PROJECT / "lib").glob("*.py"))
    assert lines <= 1200, lines


def test_every_folder_says_what_is_in_it():
    for folder in [PROJECT / "ttvideo" / name for name in FOLDERS] + [
        PROJECT / name for name in ("lib", "batches", "training", "findings")
    ]:
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), folder


def test_the_readme_maps_the_tree_in_the_order_of_imports():
    rows = ROW.findall((PROJECT / "README.md").read_text())
    assert [folder for folder, _ in rows] == FOLDERS
    for folder, files in rows:
        for name in re.findall(r"`([\w/]+\.py|\w+/)`", files):
            assert (PROJECT / "ttvideo" / folder / name).exists(), f"{folder}/{name}"
