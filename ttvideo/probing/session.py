"""A worker process and what it says: started, called, timed out, ended, and cleaned up after."""

import contextlib
import os
import re
import shutil
import sys
from pathlib import Path

from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.basics.folders import new_folder
from ttvideo.basics.progress import progress
from ttvideo.basics.worker import Died, TimedOut, Worker
from ttvideo.probing.compile_options import checked_options
from ttvideo.probing.compiler_log import Compiled, read_log, without_modules
from ttvideo.probing.failures import Failure, classify, cut_into, died, graph_cut, timed_out
from ttvideo.probing.verdict import FAIL, MOCKED, PASS, UNREACHED, Verdict
from ttvideo.probing.worker import load, save
from ttvideo.targets.target import CARD, KERNEL_CACHE, KERNELS, MOCK, ROOT, RUN, STABLEHLO, TRACE, Target

CARD_SECONDS = 30  # for a card to be closed in order
RUNTIME_FILES_BYTES = 600_000_000  # the plugin unpacks its runtime files at every load: 11,000 of them
LANE_OUTPUTS = {"host": "the host, eager", "xla": "the host's CPU through torch_xla", "card": "the card"}


class Session(contextlib.AbstractContextManager):
    """One module on one target, in a process of its own; `call` it as often as needed.

    With `stateful`, the module takes a keyword `state`, returns `(output, state)`, and the state, a dict of tensors, stays
    on the device from call to call. Raises `Refused` at once for a target that isn't there or a disk without room.
    """

    def __init__(self, module: nn.Module, target: Target, stateful: bool = False, state=None, options=None):
        self.target = target
        self.plugin = target.plugin()
        self.options = checked_options(options, target)
        if stateful and self.options:
            raise Refused("options", f"{self.options} with a state", "a module without one")
        self.calls = 0
        self.programs: dict[str, tuple] = {}  # texts and argument names, by the hash of their graph
        self.worker = None
        weights = sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
        self.folder = new_folder(RUNTIME_FILES_BYTES + 2 * weights)
        try:
            job = {
                "module": module,
                "target": target.name,
                "stateful": stateful,
                "state": state,
                "options": self.options,
            }
            write(job, self.folder / "job.pt")
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        (self.folder / "tmp").mkdir()
        KERNEL_CACHE.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            **self.target.environment(self.folder),
            # Every client writes its descriptor to a fixed name in TMPDIR: two at a time would spoil each other.
            "TMPDIR": str(self.folder / "tmp"),
            # The module's class may come from a file that only this process's path leads to.
            "PYTHONPATH": os.pathsep.join([str(ROOT), *(os.path.abspath(entry) for entry in sys.path)]),
        }
        command = [sys.executable, "-m", "ttvideo.probing.worker", str(self.folder)]
        self.worker = Worker(command, self.folder, environment)

    def call(self, inputs: tuple, name: str = "", timeout: float | None = None, part: str = "", **options) -> Verdict:
        """Trace, compile and, where the lane can, run the module on `inputs`; a failure is in the verdict.

        `part` is the path of a submodule to run instead of the whole; `options` are keywords for it that no tensor is.
        """
        begin = self.worker.log_size()
        number, self.calls = self.calls, self.calls + 1
        write(inputs, self.folder / f"inputs-{number}.pt")
        ended = self.request({"do": "call", "number": number, "part": part, "options": options}, name, timeout)
        return self.judge(name, number, ended, self.worker.log_text(begin))

    def result_order(self):
        """The outputs' structure of the last call, each tensor replaced by its place among the program's results."""
        return load(self.folder / "results.pt")

    def state(self):
        """The module's state, copied to the host."""
        ended = self.request({"do": "state"}, "state", None)
        if ended.failure:
            raise Refused("state", ended.failure.message, "a worker that is alive")
        return load(self.folder / "state.pt")

    def request(self, message: dict, name: str, timeout: float | None) -> "Ended":
        ended = Ended()
        with progress(f"{name or 'module'} · {self.target.name}") as show:
            try:
                for event in self.worker.ask(message, timeout):
                    ended.take(event)
                    show(ended.stage)
            except TimedOut:
                ended.failure = timed_out(timeout)
            except Died as end:
                ended.failure = died(end.returncode, without_modules(self.worker.log_text()))
        return ended

    def judge(self, name: str, number: int, ended: "Ended", log: str) -> Verdict:
        compiled = read_log(log)
        if ended.graph in self.programs:
            texts, names = self.programs[ended.graph]
            compiled = Compiled({stage: rename(text, names, ended.arguments) for stage, text in texts.items()}, {})
        elif ended.graph:
            self.programs[ended.graph] = compiled.texts, ended.arguments
        failure = ended.failure
        if failure is None and ended.cuts and not self.target.outputs_are_real:
            failure = graph_cut(ended.cuts)
        if failure is None and ended.error:
            failure = classify(log, ended.error["message"])
            if failure.kind == "error":
                failure = Failure(ended.error["type"], failure.message, stage=failure.stage)
        stages = stage_statuses(self.target, compiled.texts, ended, failure)
        outputs = None
        if failure is None and self.target.outputs_are_real:
            outputs = load(self.folder / f"outputs-{number}.pt")
        stablehlo = self.folder / "stablehlo.mlir"
        return Verdict(
            name=name,
            target=self.target.name,
            plugin=str(self.plugin) if self.plugin else None,
            stages=stages,
            kind=failure.kind if failure else None,
            message=failure.message if failure else None,
            op=failure.op if failure else None,
            location=failure.location if failure else None,
            stablehlo=compiled.texts.get(STABLEHLO) or (stablehlo.read_text() if stablehlo.exists() else None),
            ttir=compiled.texts.get("TTIR"),
            ttnn=compiled.texts.get("TTNN"),
            log=without_modules(log),
            options=self.options,
            outputs=outputs,
            outputs_from=LANE_OUTPUTS[self.target.lane] if outputs is not None else None,
            seconds={**ended.seconds(), **compiled.seconds},
            compiled_programs=ended.compiled,
            cut=cut_into(ended.cuts) if ended.cuts else None,
        )

    def close(self) -> None:
        if self.worker is not None:
            self.worker.close(patience=CARD_SECONDS if self.target.lane == CARD else 0)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __exit__(self, *_) -> None:
        self.close()


class Ended:
    """How a request went, from the worker's events."""

    def __init__(self):
        self.stage = "start"
        self.begun: dict[str, float] = {}
        self.finished: dict[str, float] = {}
        self.error: dict | None = None
        self.failure: Failure | None = None
        self.compiled: int | None = None
        self.graph: str | None = None
        self.arguments: list[str | None] = []
        self.cuts: list[str] = []

    def take(self, event: dict) -> None:
        match event:
            case {"event": "start", "stage": stage, "time": when}:
                self.stage, self.begun[stage] = stage, when
            case {"event": "end", "stage": stage, "time": when}:
                self.finished[stage] = when
            case {"event": "graph", "hash": graph, "arguments": names}:
                self.graph, self.arguments = graph, names
            case {"event": "cut", "place": place}:
                self.cuts.append(place)
            case {"event": "error"}:
                self.error = event
            case {"event": "done"}:
                self.compiled = event.get("compiled")

    def seconds(self) -> dict[str, float]:
        return {stage: round(end - self.begun[stage], 3) for stage, end in self.finished.items()}


def stage_statuses(target: Target, texts: dict, ended: Ended, failure: Failure | None) -> dict[str, str]:
    if failure is None:
        done = dict.fromkeys(target.stages, PASS)
        if target.lane == MOCK:
            done[RUN] = MOCKED
        return done
    printed = {TRACE} & set(ended.finished) | set(texts)
    reached = [stage for stage in target.stages if stage in printed]
    rest = target.stages[len(reached) :]
    # Once compiled, the failure itself tells whether kernels were being built or run.
    failed = RUN if KERNELS in rest and rest[0] == KERNELS and failure.stage == RUN else (rest or target.stages)[0]
    failed = TRACE if failure.stage == TRACE else failed  # pieces of a cut graph may have got further
    statuses = {}
    for stage in target.stages:
        before = target.stages.index(stage) < target.stages.index(failed)
        statuses[stage] = FAIL if stage == failed else PASS if before else UNREACHED
    return statuses


def rename(text: str, old: list, new: list) -> str:
    """A module's text for another module with the same graph: `new` are its names for the arguments `old`."""
    if old == new:
        return text
    names = dict(zip(old, new, strict=True))
    return re.sub(r'(?<=ttir\.name = ")[^"]+', lambda name: names[name[0]] or name[0], text)


def write(value, path: Path) -> None:
    try:
        save(value, path)
    except (OSError, RuntimeError) as error:
        raise Refused("temporary folder", f"{type(error).__name__}: {error}", "room for the weights") from error
