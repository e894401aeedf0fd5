"""Where findings are kept: a JSON file each, and in it, under "made", with what each of its parts was made.

A part is what is made at once, and is named by its key: the names that lead to it in the file, and where they
lead to a table, the fields that its rows share: ("step", "cases", "stock"), ("rows", {"board": "n150"}).
"""

import functools
import json
import os
from collections.abc import Iterable
from pathlib import Path

from safetensors.torch import load_file, save_file

from findings import inputs
from lib.project import PROJECT
from lib.stored import made_by_others
from lib.versions import git, versions
from ttvideo.basics.errors import Refused
from ttvideo.ttnn.places import READY, ttnn_version
from ttvideo.ttnn.ttsim import kept_version

Key = tuple[str | dict, ...]


def named(key: Key) -> str:
    """A key as text."""
    return ", ".join(fields(key))


def fields(key: Key) -> list[str]:
    """The names that a key is made of, but for "rows", which most have."""
    found = [str(one) for part in key for one in (part.values() if isinstance(part, dict) else [part])]
    return found[1:] if found[0] == "rows" else found


def installed() -> dict[str, str]:
    """The versions here, TT-NN's and the simulator's among them where they are set up."""
    return versions() | ({"ttnn": ttnn_version(), "ttsim": kept_version()} if READY.exists() else {})


def making(
    finding: str, found: dict[str, str], others: Iterable[str] = (), own: bool = False, root: Path = PROJECT
) -> dict:
    """With what a part of the finding is made now: commit, what it depends on, and versions, of `others` too
    ("ttnn", "ttsim").

    Raises `Refused` where files that it depends on aren't as committed, unless it's for a file of one's
    `own`.
    """
    commit = git("rev-parse", "--short=12", "HEAD", root=root) or "unknown"
    differing = git("status", "--porcelain", "--", *files(found), root=root)
    if differing != "" and not own:
        which = differing and ", ".join(line[3:] for line in differing.splitlines())
        got = f"uncommitted changes in {which}" if which else "no checkout of git"
        raise Refused(finding, got, "a commit of what makes it, or --out FILE")
    here = installed()
    known = {name: version for name, version in here.items() if name in {*versions(), *others}}
    return {"commit": commit + "-dirty" * bool(differing), "inputs": inputs.digest(found), "versions": known}


def put(path: Path, key: Key, value, made: dict, seconds: float) -> None:
    """Write one part into a finding's file, in place of the one of that key.

    A value that is a pair has tensors by name for second, which go into a safetensors file beside it.
    """
    if isinstance(value, tuple):
        value, tensors = value
        beside = path.with_suffix(".safetensors")
        kept = load_file(beside) if beside.is_file() else {}
        save_file(kept | {name: tensor.contiguous() for name, tensor in tensors.items()}, f"{beside}.part")
        os.replace(f"{beside}.part", beside)
    found = json.loads(path.read_text()) if path.is_file() else {}
    others = [one | {"parts": without(one["parts"], named(key))} for one in found.pop("made", [])]
    same = next((one for one in others if without(one, "parts") == made), None)
    if same is None:
        others.append(same := made | {"parts": {}})
    same["parts"][named(key)] = round(seconds, 1)
    place(found, key, value)
    part = path.with_name(f"{path.name}.part")
    text = json.dumps({"made": [one for one in others if one["parts"]]} | found, indent=1, ensure_ascii=False)
    part.write_text(text + "\n")
    os.replace(part, path)


def place(found: dict, key: Key, value: dict | list) -> None:
    """Put a part where its key says; rows of a table get its fields, in the place of those that had them."""
    *names, last = key
    for name in names if isinstance(last, str) else names[:-1]:
        found = found.setdefault(name, {})
    if isinstance(last, str):
        found[last] = value
        return
    rows = found.get(names[-1], [])
    old = [last.items() <= row.items() for row in rows]
    at = old.index(True) if any(old) else len(rows)
    new = [last | row for row in (value if isinstance(value, list) else [value])]
    found[names[-1]] = rows[:at] + new + [row for row, goes in zip(rows[at:], old[at:]) if not goes]


def without(one: dict, name: str) -> dict:
    return {key: value for key, value in one.items() if key != name}


def stale(one: dict, found: dict[str, str], here: dict[str, str], root: Path = PROJECT) -> str:
    """Why what was made so isn't what these definitions and versions would make, "" where it is."""
    why = ""
    if one["inputs"] is None:
        why = f"made at {one['commit']}, of files that aren't known"
    elif one["inputs"] != inputs.digest(found) and (places := changed(one["commit"], found, root)):
        more = f" and {len(places) - 1} more" if places[1:] else ""
        why = f"{places[0].strip(':')}{more} changed since {one['commit']}"
    others = made_by_others([one], here)
    return "; ".join(filter(None, (why, others and f"by {others}")))


def files(found: Iterable[str]) -> list[str]:
    return sorted({place.partition(":")[0] for place in found})


def changed(commit: str, found: dict[str, str], root: Path = PROJECT) -> list[str]:
    """Which of the definitions, or files, say something else than at a commit; a new file that executes
    nothing says nothing."""
    commit = commit.removesuffix("-dirty")
    differing = git("diff", "--name-only", commit, "--", *files(found), root=root)
    if differing is None:
        return ["files, from a commit that isn't here,"]
    files_then = set(differing.splitlines())
    places = ((place, *place.partition(":")) for place in found)
    return [
        place
        for place, path, definition, name in places
        if path in files_then and said_at(commit, path, bool(definition), root).get(name, "") != found[place]
    ]


@functools.cache
def said_at(commit: str, path: str, by_definition: bool, root: Path) -> dict[str, str]:
    """What a file of Python said at a commit: by definition, or the whole, of no name."""
    was = path.endswith(".py") and git("show", f"{commit}:{path}", root=root)
    if not was:
        return {}
    return inputs.read(was.encode()).says if by_definition else {"": inputs.brief(inputs.said(was))}
