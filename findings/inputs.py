"""What a finding's rows depend on in this checkout: the files that its script imports, and what is beside."""

import ast
import functools
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from lib.project import PROJECT
from ttvideo.basics.errors import Refused

MODULE = re.compile(r"(findings|lib|ttvideo)(\.\w+)*")
NO_SAY = {".md", ".png", ".pyc"}  # prose and pictures


def files(module: str, root: Path = PROJECT) -> dict[str, str]:
    """By path, what each file says that the module depends on, as a digest.

    It is all that is imported within the project, in functions too, or started by its name; and of each
    package the files that none imports: weights, coefficients, kernels, TT-NN's host.
    """
    found, todo = {}, [where(module, root)]
    while todo:
        path = todo.pop()
        if path and path not in found:
            found[path], names = read(path, path.stat().st_mtime_ns)
            todo += (where(name, root) for name in names)
    packages = {path.parent for path in found if path.is_relative_to(root / "ttvideo")}
    for path in {path for package in packages for path in beside(package)}:
        found[path], _ = read(path, path.stat().st_mtime_ns)
    return {str(path.relative_to(root)): found[path] for path in sorted(found)}


def digest(found: dict[str, str]) -> str:
    """One for all files."""
    return brief(repr(sorted(found.items())).encode())


def where(name: str, root: Path) -> Path | None:
    """The module's file, None for what isn't one of the project's."""
    path = root.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def beside(package: Path) -> Iterator[Path]:
    """The package's files that aren't its modules; a folder in it that is no package is full of them."""
    for path in package.iterdir():
        if path.is_dir() and not (path / "__init__.py").exists():
            yield from (file for file in path.rglob("*") if file.is_file() and file.suffix not in NO_SAY)
        elif path.is_file() and path.suffix not in NO_SAY | {".py"}:
            yield path


@functools.cache
def read(path: Path, changed: int) -> tuple[str, tuple[str, ...]]:
    """What a file says, as a digest, and what may be modules that it names; `changed` is when it last was."""
    data = path.read_bytes()
    if path.suffix != ".py":
        return brief(data), ()
    tree = ast.parse(data)
    return said(tree), tuple(filter(MODULE.fullmatch, named(tree)))


def said(tree: ast.Module) -> str:
    """A digest of Python without comments, docstrings and layout."""
    return brief(repr(plain(tree)).encode())


def brief(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def plain(node):
    """A syntax tree as lists, the same in each version of Python: some have more fields, which are empty
    here."""
    if isinstance(node, ast.AST):
        fields = ((name, plain(value)) for name, value in ast.iter_fields(node) if value not in (None, []))
        return [type(node).__name__, *fields]
    if isinstance(node, list):
        return [plain(one) for one in node if not is_text(one)]
    return repr(node)


def is_text(node) -> bool:
    """A text that stands alone: a docstring, or what serves as a comment."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def named(tree: ast.Module) -> Iterator[str]:
    """What may be a module's name: in imports, and as a text, by which a process is started."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise Refused("import", f"a relative one, of {node.module}", "its whole name")
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if "." in node.value:
                yield node.value
