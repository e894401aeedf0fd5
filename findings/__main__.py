"""What makes stored results again, and how old each is.

    python -m findings                 list them
    python -m findings NAME [OPTION …] make one again; `--help` after the name lists its options

A new finding is a script here whose `main` ends in `lib.stored.store`.
"""

import ast
import json
import runpy
import sys
from pathlib import Path

from lib.stored import RESULTS, made_by_others
from lib.versions import commits_since

HERE = Path(__file__).parent
# These depend on the machine or the moment: they print JSON, and nothing is stored.
PRINTS = ("cpu_ways",)
PARTS = ("__init__", "__main__", "families", "fitting", "native_parts", "trained", "whole_seconds")


def names() -> list[str]:
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem not in PARTS)


def result(name: str) -> Path | None:
    """Where the finding is stored, None for one that is only printed."""
    return None if name in PRINTS else RESULTS / f"{name}.json"


def question(name: str) -> str:
    return ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())).splitlines()[0]


def age(path: Path | None) -> str:
    if path is None:
        return "printed, not stored"
    if not path.is_file():
        return "not made yet"
    made = json.loads(path.read_text()).get("made")
    if made is None:
        return "stored without its origin"
    since = commits_since(made["commit"])
    others = made_by_others(made)
    return (
        f"made at {made['commit']}, "
        + ("a commit that isn't here" if since is None else f"{since} commits ago")
        + (f"; by other versions: {others}" if others else "; by the installed versions")
    )


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        for name in names():
            print(f"{name}\n    {question(name)}\n    {age(result(name))}")
        return 0
    name, *sys.argv[1:] = arguments
    if name not in names():
        print(f"finding: got {name!r}, need one of {', '.join(names())}", file=sys.stderr)
        return 2
    sys.argv[0] = f"findings {name}"
    runpy.run_module(f"findings.{name}", run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
