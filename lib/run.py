"""`make run`: the notebooks through papermill, two at a time, into `runs/latest`, as HTML, too.

python -m lib.run [NAME=VALUE …] passes parameters to every notebook that has them.
"""

import logging
import multiprocessing
import os
import shutil
import sys
from functools import partial

import papermill
import yaml
from tqdm import tqdm

from lib.parameters import NOTEBOOKS
from lib.pictures import to_html
from lib.project import PROJECT
from ttvideo.basics.errors import Refused
from ttvideo.basics.progress import LINE, STREAM
from ttvideo.probing.worker import die_with_parent

LATEST = PROJECT / "runs" / "latest"
AT_A_TIME = 2


def main(arguments: list[str]) -> int:
    try:
        given = parse(arguments)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 2
    # A kernel's long steps show their progress on this process's standard error.
    os.environ[STREAM] = f"/proc/{os.getpid()}/fd/2"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(os.cpu_count() // AT_A_TIME, 1)))  # others wait and spin
    shutil.rmtree(LATEST, ignore_errors=True)
    LATEST.mkdir(parents=True)
    spawn = multiprocessing.get_context("spawn")
    try:
        with spawn.Pool(AT_A_TIME, begin, (spawn.RLock(), spawn.Value("i"))) as pool:
            runs = pool.imap_unordered(partial(run, given=given), NOTEBOOKS)
            for said in tqdm(runs, "notebooks", len(NOTEBOOKS), unit="notebook", dynamic_ncols=True):
                if said:
                    print(f"\n{said}", file=sys.stderr)
                    return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted; what was done is in {LATEST.relative_to(PROJECT)}", file=sys.stderr)
        return 130
    print(*sorted(path.relative_to(PROJECT) for path in LATEST.rglob("*") if path.is_file()), sep="\n")
    return 0


def begin(lock, count) -> None:
    """A process that runs notebooks, with lines of its own in the terminal."""
    die_with_parent()
    logging.getLogger("papermill").setLevel(logging.WARNING)
    tqdm.set_lock(lock)
    with count.get_lock():
        count.value += 1
        os.environ[LINE] = str(2 * count.value)


def parse(arguments: list[str]) -> dict[str, object]:
    known = sorted({name for checks in NOTEBOOKS.values() for name in checks} - {"output_dir"})
    given = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or name not in known:
            raise Refused("argument", repr(argument), f"NAME=VALUE with NAME one of {', '.join(known)}")
        given[name] = yaml.safe_load(value)
    return given


def run(name: str, given: dict[str, object]) -> str | None:
    """Why it stopped, if it did."""
    executed = LATEST / f"{name}.ipynb"
    parameters = {key: value for key, value in given.items() if key in NOTEBOOKS[name]}
    try:
        papermill.execute_notebook(
            PROJECT / "notebooks" / executed.name,
            executed,
            parameters={**parameters, "output_dir": str(LATEST / name)},
            kernel_name="python3",
            cwd=PROJECT / "notebooks",
            progress_bar={"desc": name, "position": int(os.environ[LINE]) - 1, "leave": False},
        )
    except papermill.PapermillExecutionError as error:
        return f"{name}: {error.ename}: {error.evalue}"
    except KeyboardInterrupt:
        return f"{name}: interrupted"
    finally:
        if executed.exists():
            executed.with_suffix(".html").write_text(to_html(executed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
