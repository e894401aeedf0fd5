"""An environment for each version of the PyPI plugin: this one's packages, and that plugin before them."""

import contextlib
import fcntl
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from ttvideo.basics.errors import Refused
from ttvideo.basics.folders import CACHE

ENVIRONMENTS = CACHE / "plugins"
DISTRIBUTION = "jax-tt-plugin"


def interpreter(version: str) -> str:
    """The Python of the environment with this version, made where it isn't yet; "installed" is this one's.

    Raises `Refused` for a version that can't be installed.
    """
    if version == "installed":
        return sys.executable
    folder = ENVIRONMENTS / version
    python, ready = folder / "bin" / "python", folder / "ready"
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    with locked(ENVIRONMENTS / f"{version}.lock"):
        if not ready.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder, python, version)
            ready.touch()
    return str(python)


def make(folder: Path, python: Path, version: str) -> None:
    venv.create(folder, with_pip=False)
    own = Path(sysconfig.get_path("purelib", "venv", {"base": folder, "platbase": folder}))
    # addsitedir, since a plain path would leave out the .pth files in it: the project's own is one.
    here = [path for path in site.getsitepackages() if Path(path).is_dir()]
    (own / "here.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in here))
    # Without its dependencies, which are this environment's; ignoring it, which would be taken out of it
    # otherwise.
    command = [
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
    ]
    done = subprocess.run(
        [sys.executable, *command, "--ignore-installed", f"{DISTRIBUTION}=={version}"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = done.stderr.strip().split("\n")[-1]
        shutil.rmtree(folder, ignore_errors=True)
        raise Refused("plugins", f"{version}: {said}", f"a version of {DISTRIBUTION} on PyPI")


@contextlib.contextmanager
def locked(path: Path):
    """One process at a time; two callers may want the same environment."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
