"""Options for the compiler, such as {"optimization_level": 1}: tt-xla's, by its names (its
pjrt_implementation, compile_options.cc).

Tenstorrent's wheel takes them through torch_xla. PyPI's torch_xla has no way to hand them on, so for the PyPI
build the traced StableHLO is compiled by jaxlib's client, in a process of its own; what it prints is read as
the rest is.
"""

import subprocess
import sys
from pathlib import Path

from ttvideo.basics.errors import Refused
from ttvideo.probing.export import REPRO_NAME, as_text, write_repro
from ttvideo.targets.target import Target

Options = dict[str, str | int | bool]


def checked_options(options: Options | None, target: Target) -> Options:
    """Raises `Refused` for a target without a compiler, and what can't be an option. Unknown names the plugin
    refuses."""
    options = dict(options or {})
    if options and not target.needs_plugin:
        need = "a target that Tenstorrent's compiler serves"
        raise Refused("compiler_options", f"{options} for {target.name}", need)
    for name, value in options.items():
        if not isinstance(name, str) or not name or not isinstance(value, (str, int)):
            raise Refused("compiler_options", f"{name!r}: {value!r}", "names with numbers, flags or texts")
    return options


def taken_by_torch_xla(options: Options) -> bool:
    """Whether torch_xla hands options on, which it is then told."""
    import torch_xla

    if not hasattr(torch_xla, "set_custom_compile_options"):
        return False
    torch_xla.set_custom_compile_options({name: as_text(value) for name, value in options.items()})
    return True


def compile_elsewhere(stablehlo: bytes, options: Options, folder: Path) -> None:
    """Compile for the board that this process's environment describes or mocks. Raises `RuntimeError` with
    what was said."""
    folder.mkdir(exist_ok=True)
    write_repro(stablehlo, options, folder)
    # Its standard error is kept apart for its last line; all else it prints is this process's, and so in the
    # log.
    done = subprocess.run(
        [sys.executable, "-P", folder / REPRO_NAME],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    print(done.stderr, file=sys.stderr, flush=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "Error: " in line] or done.stderr.splitlines()[
            -1:
        ]
        raise RuntimeError(f"exit status {done.returncode}: {lines[-1] if lines else 'no word of why'}")
