"""A device that TT-NN holds open, in a process of its own that ends with all it started, whatever happens."""

import contextlib
import json
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import psutil
import torch

from ttvideo.basics.child import Child, Died, TimedOut
from ttvideo.basics.errors import Refused
from ttvideo.basics.folders import new_folder
from ttvideo.basics.progress import progress
from ttvideo.programs.evaluate import stored_argument
from ttvideo.programs.evaluate.values import TORCH_TYPES
from ttvideo.programs.program import Argument, Program
from ttvideo.targets.target import Target
from ttvideo.ttnn.description import array, describe
from ttvideo.ttnn.places import HOST, environment, python, why_not, workaround

FOLDER_BYTES = 200_000_000
CARD_SECONDS = 30  # for a card to be closed in order
MEMORY_SHARE = 0.6  # of this machine's memory: a simulated chip's DRAM grows as it is written
WEIGHTS = ("parameter", "constant")
REPORT = "report"


@dataclass(frozen=True)
class Ran:
    """What became of one run of a program.

    `outputs` are the results asked for, by their place among all, on the host. `peak_dram_bytes` and
    `peak_l1_bytes` are the allocator's own figures, read after each op of the main function;
    `prepare_peak_dram_bytes` the same for the const-eval functions, 0 where none ran. `memory_bytes` is the
    process's largest resident size. `stand_ins` and `workarounds` are sentences, one for each
    kind. `values` are all ops' results, if asked for.
    """

    outputs: dict[int, torch.Tensor] = field(default_factory=dict, repr=False)
    ops: int = 0
    seconds: float = 0.0
    op_seconds: dict[str, float] = field(default_factory=dict, repr=False)
    peak_dram_bytes: int = 0
    prepare_peak_dram_bytes: int = 0
    peak_l1_bytes: int = 0
    memory_bytes: int = 0
    stand_ins: tuple[str, ...] = ()
    workarounds: tuple[str, ...] = ()
    values: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)


class Broke(Exception):
    """A run that didn't end: `op` and `location` are those of the step it was in, None before the first.

    `said` is TT-NN's exception, "" where the process ended without one; `log` is all that was printed.
    `returncode` is set where the process ended by itself, `timed_out` and `too_large` where it was ended.
    """

    def __init__(
        self, step: dict, said: str = "", log: str = "", returncode=None, timed_out=False, too_large=0
    ):
        super().__init__(said or log[-300:])
        self.op, self.location = step.get("op"), step.get("location") or None
        self.said, self.log, self.returncode = said, log, returncode
        self.timed_out, self.too_large = timed_out, too_large


class Chip(contextlib.AbstractContextManager):
    """TT-NN on a target's place, open until closed. Programs, weights and kept results stay there from run to
    run.

    With `counting`, kernels are built that count what they ask of DRAM (`ttvideo.programs.own.dram_counts`).
    Raises `Refused` where the place isn't set up.
    """

    def __init__(self, target: Target, counting: bool = False):
        if reason := why_not(target):
            raise Refused(f"target {target.name!r}", reason, "`make sim` run once")
        self.target = target
        self.known: WeakKeyDictionary[Program, int] = WeakKeyDictionary()  # by number
        self.described = 0
        self.held: dict[str, set[str]] = {}  # names of weights that programs share
        self.sent = 0
        self.child = None
        self.folder = new_folder(FOLDER_BYTES)
        try:
            command = [str(python()), "-P", str(HOST), str(self.folder)]
            self.child = Child(command, self.folder, environment(target, self.folder, counting))
        except BaseException:
            self.close()
            raise

    def run(
        self,
        program: Program,
        arguments: Mapping[str, torch.Tensor],
        fetch: Iterable[int] | None = None,
        keep: Mapping[str, int] | None = None,
        timeout: float | None = None,
        name: str = "",
        watch: bool = False,
        shared: str | None = None,
        stay: Iterable[str] = (),
        report: bool = False,
    ) -> Ran:
        """Run a program on arguments by name; those kept from a run before needn't be given.

        `fetch` says which results to bring to the host (all, if None); `keep` which to leave on the device,
        and the name of the argument that each is to be in the next run; `stay` which arguments are to be
        there again, as they are. Weights are sent with the first run of a program, and prepared once.
        Programs that name the same `shared` have weights of one name in common: each is sent, and held, once.
        `watch` brings back the result of every op. With `report`, what ttnn-visualizer opens is then in
        `report()`: of a program's first run, in which its weights are placed, all. Raises `Broke`, and
        `Refused` for an argument that is missing.
        """
        number, first = self.number(program)
        message = {
            "program": number,
            "shared": shared,
            "arguments": self.sent_arguments(program, arguments, first, shared),
            "fetch": list(range(len(program.main.returns)) if fetch is None else fetch),
            "keep": dict(keep or {}),
            "stay": list(stay),
            "watch": watch,
            "report": REPORT if report else None,
        }
        return self.ran(program, self.ask(message, name or "program", timeout, len(program.main.ops)))

    def number(self, program: Program) -> tuple[int, bool]:
        """The program's, and whether this is its first run, before which it is written down."""
        if program in self.known:
            return self.known[program], False
        number = self.known[program] = self.described
        self.described += 1
        described, constants = describe(program)
        (self.folder / f"program-{number}.json").write_text(json.dumps(described))
        for constant, value in constants.items():
            np.save(self.folder / f"constant-{number}-{constant}.npy", value)
        return number, True

    def sent_arguments(self, program: Program, arguments: Mapping, first: bool, shared: str | None) -> dict:
        """Files by argument's name, of those that the device doesn't hold."""
        files = {}
        for argument in program.arguments:
            if argument.name in arguments and self.to_be_sent(argument, first, shared):
                tensor = stored_argument(argument, arguments[argument.name])
                files[argument.name] = f"argument-{self.sent}.npy"
                np.save(self.folder / files[argument.name], array(tensor))
                self.sent += 1
        return files

    def ran(self, program: Program, done: dict) -> Ran:
        types = {
            value.name: value.type for f in program.functions.values() for op in f.ops for value in op.results
        }
        returns = program.main.returns
        outputs = {
            int(i): self.load(file, returns[int(i)].type.dtype) for i, file in done.pop("outputs").items()
        }
        values = {value: self.load(file, types[value].dtype) for value, file in done.pop("values").items()}
        done.pop("event")
        around = workaround(self.target)
        notes = {
            "stand_ins": tuple(done.pop("stand_ins")),
            "workarounds": ((around.says,) if around else ()) + tuple(done.pop("workarounds")),
        }
        return Ran(outputs=outputs, values=values, **notes, **done)

    def to_be_sent(self, argument: Argument, first: bool, shared: str | None) -> bool:
        if argument.kind not in WEIGHTS or shared is None:
            return first or argument.kind not in WEIGHTS
        known = self.held.setdefault(shared, set())
        new = argument.name not in known
        known.add(argument.name)
        return new

    def ask(self, message: dict, name: str, timeout: float | None, ops: int) -> dict:
        step: dict = {}
        begin, checked = self.child.log_size(), time.monotonic()
        with progress(f"{name} · {self.target.name}", total=ops) as show:
            try:
                for event in self.child.ask(message, timeout):
                    match event:
                        case {"event": "step"}:
                            step = event
                            show(event["op"], 1 if event["main"] else 0)
                        case {"event": "error"}:
                            raise Broke(step, event["message"], self.child.log_text(begin))
                        case {"event": "done"}:
                            return event
                    if time.monotonic() - checked > 1:
                        checked = time.monotonic()
                        if (used := self.memory()) > bound_bytes():
                            self.child.end()
                            raise Broke(step, too_large=used)
            except TimedOut:
                raise Broke(step, timed_out=True) from None
            except Died as end:
                raise Broke(step, "", self.child.log_text(begin), end.returncode) from None
        raise AssertionError("a worker answers, or is known to have ended")

    def memory(self) -> int:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.child.process.pid).memory_info().rss
        return 0

    def load(self, file: str, dtype: str) -> torch.Tensor:
        path = self.folder / file
        value = torch.from_numpy(np.load(path))
        path.unlink()
        return value.to(TORCH_TYPES[dtype])

    def kept(self, name: str, dtype: str) -> torch.Tensor:
        """A result that was kept for the argument `name`, copied to the host."""
        done = self.ask({"kept": name}, "state", None, 0)
        return self.load(done["outputs"]["0"], dtype)

    def report(self) -> dict[str, bytes]:
        """The last report's files by name; {} if none was asked for, or the process ended before it was
        written."""
        return {path.name: path.read_bytes() for path in sorted((self.folder / REPORT).glob("*"))}

    def close(self) -> None:
        if self.child is not None:
            self.child.close(patience=CARD_SECONDS if self.target.is_card else 0)
            for lock in locks(self.child.process.pid):
                lock.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __exit__(self, *_) -> None:
        self.close()


def locks(pid: int) -> list[Path]:
    """What UMD leaves behind of a simulated device, which it numbers by its process."""
    return list(Path("/dev/shm").glob(f"TT_UMD_LOCK.*_{pid << 5}_*"))


def bound_bytes() -> int:
    """What a device's process may take of this machine."""
    return int(MEMORY_SHARE * psutil.virtual_memory().total)
