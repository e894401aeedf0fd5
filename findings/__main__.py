"""What makes stored results again, and which of them are stale.

    python -m findings                                     list them
    python -m findings NAME [--only TEXT …] [--stale] [--out FILE] [OPTION …]
    python -m findings --stale [--dry-run]                 make again what is stale, or say what that is

A finding is stored with its commit, and refused where what it depends on isn't committed; `--out` takes a
file of your own, which says so. `--only` takes those of its parts whose name has TEXT in it; `--help` after a
name tells the rest.
"""

import argparse
import ast
import functools
import importlib
import inspect
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import ModuleType

from findings import inputs, store
from findings.unused import ON_TTNN, RESUMED
from lib.project import PROJECT
from lib.stored import RESULTS
from ttvideo.basics.errors import Refused

HERE = Path(__file__).parent
RAW = argparse.RawDescriptionHelpFormatter


@functools.cache
def names() -> list[str]:
    """The scripts here: what has a `make` is stored, what has a `main` prints; all else are their helpers."""
    scripts = (path for path in HERE.glob("*.py") if path.stem != "__main__")
    return sorted(path.stem for path in scripts if defines(path) & {"make", "main"})


def defines(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def load(name: str) -> ModuleType:
    """Raises `Refused` for a name that there is none of."""
    if name not in names():
        raise Refused("finding", repr(name), f"one of {', '.join(names())}")
    return importlib.import_module(f"findings.{name}")


def result(name: str) -> Path:
    return RESULTS / f"{name}.json"


def made(path: Path) -> list[dict]:
    return json.loads(path.read_text())["made"] if path.is_file() else []


def unused(name: str, key: store.Key) -> frozenset[str]:
    """What the finding leads to, and this part of it doesn't come to, by its own word; TT-NN, if it isn't
    made with that."""
    finding = load(name)
    never = RESUMED if "ttnn" in getattr(finding, "MADE_WITH", ()) else RESUMED | ON_TTNN
    return never.union(getattr(finding, "unused", lambda key: ())(key))


def found(name: str, unused: frozenset[str]) -> dict[str, str]:
    """What a part depends on that doesn't come to some of it."""
    return inputs.found_by(name, without=unused)


def stale(name: str, path: Path) -> dict[str, str]:
    """By part, why it is stale; what isn't, isn't in it."""
    here, why = store.installed(), {}
    keys = {store.named(key): key for key in load(name).KEYS}
    depends = functools.cache(functools.partial(found, name))
    for one in made(path):
        known = functools.cache(lambda apart, one=one: store.stale(one, depends(apart), here))
        why |= {part: known(unused(name, keys[part])) for part in one["parts"].keys() & keys.keys()}
    return {part: why.get(part, "not made") for part in keys if why.get(part, "not made")}


def entry(name: str) -> str:
    """What the list says of a finding."""
    finding = load(name)
    lines = [name, " ".join(inspect.getdoc(finding).split("\n\n")[0].split())]
    if not hasattr(finding, "make"):
        return "\n    ".join([*lines, "printed, not stored"])
    parts, why = len(finding.KEYS), Counter(stale(name, result(name)).values())
    lines += [f"stale, {count} of {parts} parts: {reason}" for reason, count in why.items()] or ["fresh"]
    took = {part: seconds for one in made(result(name)) for part, seconds in one["parts"].items()}
    if left := took.keys() - map(store.named, finding.KEYS):
        lines.append(f"in its file, and no longer made: {'; '.join(sorted(left))}")
    timed = [seconds for seconds in took.values() if seconds is not None]
    return "\n    ".join([*lines, f"{sum(timed):.0f} s for {len(timed)} parts" if timed else "not timed yet"])


def chosen(keys: list[store.Key], only: list[str]) -> list[store.Key]:
    """Those named by each of the texts: one of a key's fields, or, where it is none's, a part of its name."""
    for text in only:
        found = [key for key in keys if text in store.fields(key)]
        found = found or [key for key in keys if text in store.named(key)]
        if not found:
            raise Refused("--only", repr(text), f"a text in one of {'; '.join(map(store.named, keys))}")
        keys = found
    return keys


def parser(finding: ModuleType) -> tuple[argparse.ArgumentParser, dict]:
    """With an option for each argument that `make` has beside its keys; and their defaults."""
    name = finding.__name__.replace(".", " ")
    known = argparse.ArgumentParser(f"python -m {name}", description=finding.__doc__, formatter_class=RAW)
    known.add_argument("--only", action="append", default=[], metavar="TEXT", help="parts named so")
    known.add_argument("--stale", action="store_true", help="parts that are stale, or not made yet")
    known.add_argument("--out", type=Path, metavar="FILE", help="a file of your own")
    _, *arguments = inspect.signature(finding.make).parameters.values()
    for one in arguments:
        known.add_argument(f"--{one.name.replace('_', '-')}", type=type(one.default), default=one.default)
    return known, {one.name: one.default for one in arguments}


def make(name: str, arguments: list[str]) -> None:
    """Make parts of a finding, each stored as soon as it is there."""
    finding = load(name)
    known, defaults = parser(finding)
    options = known.parse_args(arguments)
    own = {argument: getattr(options, argument) for argument in defaults}
    if own != defaults and not options.out:
        raise Refused(name, "options other than its own", "--out FILE: what is stored is made without")
    path = options.out or result(name)
    keys = chosen(finding.KEYS, options.only)
    if options.stale:
        old = stale(name, path)
        keys = [key for key in keys if store.named(key) in old]
    apart = {store.named(key): unused(name, key) for key in keys}
    with_this = {
        one: store.making(name, found(name, one), getattr(finding, "MADE_WITH", ()), bool(options.out))
        for one in set(apart.values())
    }
    started = time.perf_counter()
    for key, value in finding.make(keys, **own):
        seconds = time.perf_counter() - started
        what = with_this[of := apart[store.named(key)]]
        if inputs.digest(found(name, of)) != what["inputs"]:
            print(f"{name}: what it depends on changed while it ran", file=sys.stderr)
            what["inputs"] = None
        store.put(path, key, value, what, seconds)
        print(f"{name}: {store.named(key)}, {seconds:.0f} s: {str(value)[:200]}", file=sys.stderr, flush=True)
        started = time.perf_counter()


def make_stale(dry: bool) -> int:
    """Each in a process of its own, the others too where one fails."""
    failed = 0
    for name in (name for name in names() if hasattr(load(name), "make")):
        if old := stale(name, result(name)):
            print(f"{name}: {', '.join(old)}", flush=True)
            if not dry:
                done = subprocess.run([sys.executable, "-m", "findings", name, "--stale"], cwd=PROJECT)
                failed |= done.returncode
    return failed


def run(name: str, arguments: list[str]) -> int:
    finding = load(name)
    return (finding.main(arguments) if hasattr(finding, "main") else make(name, arguments)) or 0


def main(arguments: list[str]) -> int:
    try:
        if arguments and not arguments[0].startswith("-"):
            return run(arguments[0], arguments[1:])
        known = argparse.ArgumentParser("python -m findings", description=__doc__, formatter_class=RAW)
        known.add_argument("--stale", action="store_true", help="make again what is stale")
        known.add_argument("--dry-run", action="store_true", help="with --stale: only say what that is")
        options = known.parse_args(arguments)
        if options.stale:
            return make_stale(options.dry_run)
        print(__doc__, *map(entry, names()), sep="\n")
        return 0
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
