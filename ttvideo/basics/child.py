"""A child process, asked with lines of JSON, that answers with events; whatever it does, nothing of it stays.

What isn't JSON, modules and tensors, goes as files: `save` and `take` are their format, on both sides.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cloudpickle
import torch

POLL_SECONDS = 0.2
ANSWERS = ("done", "error")
# A child dies with the thread of its parent that started it (PR_SET_PDEATHSIG): this one stays.
STARTER = ThreadPoolExecutor(max_workers=1)


class TimedOut(Exception):
    """It had no answer in time, and was ended."""


class Died(Exception):
    """It ended by itself; `returncode` as subprocess has it."""

    def __init__(self, returncode: int):
        super().__init__(returncode)
        self.returncode = returncode


class Child:
    """The parent's handle of a process: `command`, and after it the number of the descriptor for its events.

    It runs in `folder`, where log.txt keeps all that it prints.
    """

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]):
        self.log = folder / "log.txt"
        self.events, writing = os.pipe()
        self.rest = b""
        try:
            with open(self.log, "wb") as log:
                self.process = STARTER.submit(
                    subprocess.Popen,
                    [*command, str(writing)],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    pass_fds=(writing,),
                    cwd=folder,  # tt-metal leaves a folder `generated` where it runs
                    start_new_session=True,
                ).result()
        except BaseException:
            os.close(self.events)
            raise
        finally:
            os.close(writing)

    def ask(self, message: dict, timeout: float | None) -> Iterator[dict]:
        """Its events, up to the one that is the answer; {} for a moment without one. Raises `TimedOut` or
        `Died`."""
        deadline = time.monotonic() + timeout if timeout else None
        with contextlib.suppress(BrokenPipeError):  # it has ended; its events say why
            self.process.stdin.write((json.dumps(message) + "\n").encode())
            self.process.stdin.flush()
        while True:
            if deadline and time.monotonic() > deadline:
                self.end()
                raise TimedOut
            for event in self.read() or [{}]:
                if event is None:
                    self.end()
                    raise Died(self.process.returncode)
                yield event
                if event.get("event") in ANSWERS:
                    return

    def read(self) -> list[dict | None]:
        """The events since the last time; `None` stands for its end."""
        if not select.select([self.events], [], [], POLL_SECONDS)[0]:
            return []
        chunk = os.read(self.events, 1 << 16)
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        return [json.loads(line) for line in lines] + ([] if chunk else [None])

    def log_size(self) -> int:
        return self.log.stat().st_size

    def log_text(self, begin: int = 0) -> str:
        with open(self.log, errors="replace") as log:
            log.seek(begin)
            return log.read()

    def end(self) -> None:
        """End it and all that it started, kernel compilers included."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self, patience: float = 0.0) -> None:
        """Let it end by itself for `patience` seconds (a card is closed in order), then end it."""
        if patience and self.process.poll() is None:
            with contextlib.suppress(Exception):
                self.process.stdin.close()
                self.process.wait(patience)
        self.end()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        os.close(self.events)


def save(value, path: Path) -> None:
    """Modules and tensors, in whatever they are; classes that can't be imported elsewhere go along."""
    torch.save(value, path, pickle_module=cloudpickle)


def take(path: Path):
    """What the other side wrote a moment ago, not only plain tensors; the file is gone then."""
    value = torch.load(path, weights_only=False, mmap=True)  # which outlives the file's name
    path.unlink()
    return value
