"""One run of a sweep: papermill in a process of its own, whatever comes of it a row.

    python -m batches.run FOLDER

FOLDER holds `asked.json`; `out.ipynb` and the notebook's own record go there too. `row.json` is written by
whoever started it.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil

from lib.project import PROJECT

PASS, FAIL, STOPPED = "pass", "fail", "stopped"
POLL_SECONDS = 1  # a look at the memory of all of a run takes 0.06 s of a core


def execute(
    asked: dict, folder: Path, python: str, timeout: float, stopped: Callable[[], bool] = lambda: False
) -> dict:
    """Run `asked` (notebook, parameters) in `folder` by the interpreter `python`; returns its row and keeps
    it there.

    A row says how it ended (pass, fail, stopped), why, after how many seconds, with how many GB in all its
    processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in ("row.json", "record.json", "out.ipynb"):
        (folder / old).unlink(missing_ok=True)
    (folder / "asked.json").write_text(json.dumps(asked, indent=1) + "\n")
    begin, peak = time.monotonic(), 0
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
    with open(folder / "log.txt", "w") as log:
        process = psutil.Popen(
            [python, "-m", "batches.run", str(folder)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=PROJECT,
            start_new_session=True,
        )  # fmt: skip
        why = None
        try:
            while process.poll() is None and not why:
                peak = max(peak, resident(process))
                time.sleep(POLL_SECONDS)
                if stopped():
                    why = STOPPED
                elif time.monotonic() - begin > timeout:
                    why = f"no end after {timeout:g} s"
        finally:
            end(process)
    status, reason = (
        (STOPPED, "by the sweep")
        if why == STOPPED
        else (FAIL, why)
        if why
        else outcome(process.returncode, folder)
    )
    row = {
        "status": status,
        "reason": reason,
        "seconds": round(time.monotonic() - begin, 1),
        "gb": round(peak / 1e9, 2),
    }
    if status != STOPPED:
        write(folder / "row.json", row)
    return row


def kept(folder: Path) -> dict | None:
    """The row of a run that has ended, None of any other."""
    path = folder / "row.json"
    return json.loads(path.read_text()) if path.exists() else None


def outcome(returncode: int, folder: Path) -> tuple[str, str | None]:
    if returncode == 0:
        return PASS, None
    if returncode < 0:
        return FAIL, f"killed by {signal.Signals(-returncode).name}"
    return FAIL, raised(folder / "out.ipynb") or last_line(folder / "log.txt")


def raised(notebook: Path) -> str | None:
    """The error that a notebook stopped at, with its cell."""
    with contextlib.suppress(OSError, ValueError, nbformat.reader.NotJSONError):
        for number, cell in enumerate(nbformat.read(notebook, 4).cells):
            for output in cell.get("outputs", []):
                if output.output_type == "error":
                    return f"cell {number}: {output.ename}: {output.evalue or failing_line(output.traceback)}"
    return None


def failing_line(traceback: list[str]) -> str:
    """The line that IPython's arrow points at: an assertion without words says nothing else."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(traceback))
    return next((line.strip() for line in re.findall(r"^-+> *\d+ (.*)$", plain, re.MULTILINE)), "")


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no word of why")


def resident(process: psutil.Process) -> int:
    """Bytes in memory, of a process and all under it; a library's pages are shared out among those that have
    them."""
    total = 0
    for member in family(process):
        with contextlib.suppress(psutil.Error):
            total += member.memory_full_info().pss
    return total


def family(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [process, *process.children(recursive=True)]
    return []


def end(process: psutil.Process) -> None:
    """End a process and all under it: a kernel is in a session of its own, so no group holds them all."""
    members = family(process)
    for member in members:
        with contextlib.suppress(psutil.Error):
            member.kill()
    psutil.wait_procs(members, timeout=10)
    process.wait()


def write(path: Path, content: dict) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(part, path)


def end_with(parent: int) -> None:
    """End this process and all under it when its parent is gone, however that happened."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    os._exit(1)


def main(folder: Path) -> int:
    import papermill  # slow, and of no use to who starts this

    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    asked = json.loads((folder / "asked.json").read_text())
    try:
        papermill.execute_notebook(
            PROJECT / "notebooks" / f"{asked['notebook']}.ipynb",
            folder / "out.ipynb",
            parameters={**asked["parameters"], "output_dir": str(folder)},
            kernel_name="python3",
            cwd=PROJECT / "notebooks",
            progress_bar=False,
        )
    except papermill.PapermillExecutionError as error:
        print(f"{error.ename}: {error.evalue}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
