"""What a finding's rows depend on in this checkout: definitions that its script leads to, and what is beside.

A definition is what a name at the top of a module stands for: a function, a class, a constant. One depends on
those whose names it says, and so on; all else at the top of a module is executed with each import of it.
"""

import ast
import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.project import PROJECT
from ttvideo.basics.errors import Refused

MODULE = re.compile(r"(findings|lib|ttvideo)(\.\w+)*")
NO_SAY = {".md", ".png", ".pyc"}  # prose and pictures
EXECUTED, ALL = "", "*"  # what is at a module's top beside definitions; all that is in it
Place = tuple[Path, str]  # a file, and a definition there


@dataclass(frozen=True)
class Source:
    """A module: what each definition `says`, as a digest; the names that it `uses`, an attribute of a name
    with that; and by name what is imported in it, a module and a name there."""

    says: dict[str, str]
    uses: dict[str, frozenset[str]]
    imports: dict[str, tuple[str, str]]


def found_by(finding: str, root: Path = PROJECT, without: Iterable[str] = ()) -> dict[str, str]:
    """By place ("ttvideo/decoders/wan.py:WanTileDecoder"), what it says, as a digest.

    It is what `make` leads to within the project, but through definitions named in `without`; what is
    started by a module's name, whole; and of each package what no module is: weights, coefficients, kernels,
    TT-NN's host. An op's module counts where the op is written, and so does what is called as it.
    """
    places, todo, without = set(), [(where(f"findings.{finding}", root), "make")], set(without)
    while todo:
        place = todo.pop()
        if place not in places and said_as(place, root) not in without:
            places.add(place)
            todo += next_places(*place, root)
    ops = {path for path, _ in places if is_op(path) and (path, "write") not in places}
    places = {(path, name) for path, name in places if name in source(path).says and path not in ops}
    found = {said_as((path, name), root): source(path).says[name] for path, name in places}
    packages = {path.parent for path, name in places if name and path.is_relative_to(root / "ttvideo")}
    for path in {path for package in packages for path in beside(package, places)}:
        data = path.read_bytes()
        found[str(path.relative_to(root))] = brief(said(data) if path.suffix == ".py" else data)
    return dict(sorted(found.items()))


def said_as(place: Place, root: Path = PROJECT) -> str:
    return f"{place[0].relative_to(root)}:{place[1]}"


def place_of(thing: type | Callable, root: Path = PROJECT) -> str:
    """Where a class or function of the project's is defined, as `found_by` says it."""
    return said_as((where(thing.__module__, root), thing.__name__), root)


def next_places(path: Path, name: str, root: Path) -> Iterator[Place]:
    """Where a definition leads to."""
    known = source(path)
    if name == ALL:
        yield from ((path, one) for one in known.says)
    elif name == EXECUTED:
        for module, attribute in known.imports.values():
            for imported in filter(None, (where(module, root), where(f"{module}.{attribute}", root))):
                yield imported, EXECUTED
    for used in known.uses.get(name, ()):
        yield from resolved(path, used, root)
    yield path, EXECUTED


def resolved(path: Path, used: str, root: Path) -> Iterator[Place]:
    """What a name in a file stands for, if it is of the project."""
    if used.startswith(":"):  # a module's, as a text
        started = where(used[1:], root)
        yield from [(started, ALL)] if started else []
        return
    known, (first, _, attribute) = source(path), used.partition(".")
    if first in known.says:
        yield path, first
    elif first in known.imports:
        module, name = known.imports[first]
        file, submodule = where(module, root), where(f"{module}.{name}", root)
        if submodule and (module, name) == source(file).imports.get(name, (module, name)):
            file, name = submodule, attribute or ALL
        there = file and source(file)
        if there and name in there.imports:
            yield from resolved(file, name, root)
        elif there:
            yield file, name if name in there.says else ALL  # or made when it is asked for


def where(name: str, root: Path) -> Path | None:
    """The module's file, None for what isn't one of the project's."""
    path = root.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def beside(package: Path, places: set[Place]) -> Iterator[Path]:
    """The package's files that aren't its modules; a folder in it that is no package is full of them."""
    modules = set(package.glob("*.py"))
    ops = {path.stem: path for path in modules if is_op(path)}
    for path in set(package.iterdir()) - modules:
        files = path.rglob("*") if path.is_dir() and not (path / "__init__.py").exists() else [path]
        for file in (file for file in files if file.is_file() and file.suffix not in NO_SAY):
            whose = max((name for name in ops if file.stem.startswith(name)), key=len, default="")
            written = [(one, "write") in places for one in ([ops[whose]] if whose else ops.values())]
            if any(written) or not written:
                yield file


def is_op(path: Path) -> bool:
    return {"NAME", "write"} <= source(path).says.keys()


def source(path: Path) -> Source:
    return unchanged(path, path.stat().st_mtime_ns)


@functools.cache
def unchanged(path: Path, since: int) -> Source:
    return read(path.read_bytes())


def read(text: bytes) -> Source:
    """What a module's text says. Raises `Refused` for a relative import."""
    tree, says, uses = ast.parse(text), {EXECUTED: ""}, {EXECUTED: frozenset()}
    imports = dict(imported(tree))
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom) or is_text(node):
            continue
        # A decorator of the project's own keeps what it decorates.
        by = {name.split(".")[0] for one in getattr(node, "decorator_list", ()) for name in used_in(one)}
        kept = bool(by & {*imports, *says})
        for name in [*(defines(node) or [EXECUTED]), *[EXECUTED] * kept]:
            says[name] = brief((says.get(name, "") + repr(plain(node))).encode())
            uses[name] = uses.get(name, frozenset()) | frozenset(used_in(node))
    return Source(says, uses, imports)


def imported(tree: ast.Module) -> Iterator[tuple[str, tuple[str, str]]]:
    """By its name there, each name that is imported of the project's modules, in functions too; a module that
    is imported by its whole name is executed."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wholes = (one.name for one in node.names if MODULE.fullmatch(one.name))
            yield from ((name, name.rpartition(".")[::2]) for name in wholes)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise Refused("import", f"a relative one, of {node.module}", "its whole name")
            if MODULE.fullmatch(node.module):
                yield from ((one.asname or one.name, (node.module, one.name)) for one in node.names)


def defines(node: ast.stmt) -> list[str]:
    """The names that a statement defines, none for one that does anything else too."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
    names = [getattr(one, "id", "") for target in targets for one in getattr(target, "elts", [target])]
    return names if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and all(names) else []


def used_in(node: ast.AST) -> Iterator[str]:
    """Names, with an attribute where one is asked of them; after ":", texts that may be a module's name."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        yield f"{node.value.id}.{node.attr}"
        return
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
        if MODULE.fullmatch(node.value):
            yield f":{node.value}"
    for child in ast.iter_child_nodes(node):
        yield from used_in(child)


def digest(found: dict[str, str]) -> str:
    """One for all definitions."""
    return brief(repr(sorted(found.items())).encode())


def said(text: bytes | str) -> bytes:
    """What Python says, without comments, docstrings and layout."""
    return repr(plain(ast.parse(text))).encode()


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
