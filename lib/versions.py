"""With what something was found: the commit, and the versions of all that has a say in it."""

import platform
import subprocess
from importlib import metadata

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
    return {
        "plugin": plugin,
        **{name: metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
    }


def commit() -> str:
    """The checked-out commit, with "-dirty" where files differ from it; "unknown" outside a checkout."""
    return git("describe", "--always", "--dirty", "--abbrev=12") or "unknown"


def origin(**more_versions: str) -> dict:
    """What a finding keeps of how it was made."""
    return {"commit": commit(), "versions": versions() | more_versions}


def commits_since(commit: str) -> int | None:
    """How many commits came after `commit`, None if that isn't known here."""
    count = git("rev-list", "--count", f"{commit.removesuffix('-dirty')}..HEAD")
    return int(count) if count else None


def git(*words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", PROJECT, *words], capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
