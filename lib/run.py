"""`make run`: the notebooks through papermill, in order, into `runs/latest`, each also as HTML when it is
done.

python -m lib.run [NAME=VALUE …] passes parameters to every notebook that has them.
"""

import logging
import os
import shutil
import sys

import papermill
import yaml
from tqdm import tqdm

from lib.parameters import NOTEBOOKS
from lib.pictures import to_html
from lib.project import PROJECT
from ttvideo.basics.errors import Refused
from ttvideo.basics.progress import STREAM

LATEST = PROJECT / "runs" / "latest"


def main(arguments: list[str]) -> int:
    try:
        given = parse(arguments)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 2
    logging.getLogger("papermill").setLevel(logging.WARNING)
    # A kernel's long steps show their progress on this process's standard error.
    os.environ[STREAM] = f"/proc/{os.getpid()}/fd/2"
    shutil.rmtree(LATEST, ignore_errors=True)
    LATEST.mkdir(parents=True)
    for name in tqdm(NOTEBOOKS, desc="notebooks", unit="notebook", dynamic_ncols=True):
        try:
            run(name, given)
        except papermill.PapermillExecutionError as error:
            print(f"\n{name}: {error.ename}: {error.evalue}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(
                f"\n{name}: interrupted; what was done is in {LATEST.relative_to(PROJECT)}", file=sys.stderr
            )
            return 130
    print(f"\n{LATEST.relative_to(PROJECT)}:")
    for path in sorted(LATEST.rglob("*")):
        if path.is_file():
            print(f"  {path.relative_to(LATEST)}")
    return 0


def parse(arguments: list[str]) -> dict[str, object]:
    given = {}
    known = {name for checks in NOTEBOOKS.values() for name in checks}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or name not in known or name == "output_dir":
            raise Refused(
                "argument",
                repr(argument),
                f"NAME=VALUE with NAME one of {', '.join(sorted(known - {'output_dir'}))}",
            )
        given[name] = yaml.safe_load(value)
    return given


def run(name: str, given: dict[str, object]) -> None:
    executed = LATEST / f"{name}.ipynb"
    parameters = {key: value for key, value in given.items() if key in NOTEBOOKS[name]}
    try:
        papermill.execute_notebook(
            PROJECT / "notebooks" / f"{name}.ipynb",
            executed,
            parameters={**parameters, "output_dir": str(LATEST / name)},
            kernel_name="python3",
            cwd=PROJECT / "notebooks",
        )
    finally:
        if executed.exists():
            executed.with_suffix(".html").write_text(to_html(executed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
