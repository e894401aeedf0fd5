"""With what something was found: the commit, and the versions of all that has a say in it."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

from lib.project import PROJECT
from ttvideo.basics.errors import Refused
from ttvideo.targets.plugins import find_plugin

PACKAGES = ("torch", "torch_xla", "diffusers")


def versions() -> dict[str, str]:
    """The installed versions, by name; `plugin` is "none" where there is none."""
    try:
        plugin = str(find_plugin())
    except Refused:
        plugin = "none"
    packages = {name: metadata.version(name) for name in PACKAGES}
    return {"plugin": plugin, **packages, "python": platform.python_version()}


def commit() -> str:
    """The checked-out commit, with "-dirty" where files differ from it; "unknown" outside a checkout."""
    return git("describe", "--always", "--dirty", "--abbrev=12") or "unknown"


def git(*words: str, root: Path = PROJECT) -> str | None:
    """What git says of a checkout, None where it can't: outside one, or without git."""
    try:
        done = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.rstrip() if done.returncode == 0 else None
