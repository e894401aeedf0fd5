"""Modules compiled, and run where they can be, by the plugin, torch_xla or torch: in worker processes."""

import contextlib
import os
import shutil
import sys
import threading
from dataclasses import replace

import torch
from torch import nn

from ttvideo.basics.child import Child, Died, TimedOut, save, take
from ttvideo.basics.errors import Refused
from ttvideo.basics.folders import new_folder
from ttvideo.basics.progress import progress
from ttvideo.probing.compile_options import checked_options
from ttvideo.probing.compiler_log import read_log, without_modules
from ttvideo.probing.failures import Failure, classify, cut_into, died, graph_cut, timed_out
from ttvideo.probing.session import Session
from ttvideo.probing.trace import arguments_by_name, weights_by_name
from ttvideo.probing.verdict import FAIL, MOCKED, PASS, UNREACHED, Verdict
from ttvideo.targets.target import CARD, KERNEL_CACHE, KERNELS, MOCK, ROOT, RUN, STABLEHLO, TRACE, Target

CARD_SECONDS = 30  # for a card to be closed in order
RUNTIME_FILES_BYTES = 600_000_000  # the plugin unpacks its runtime files at every load: 11,000 of them
LANE_OUTPUTS = {"host": "the host, eager", "xla": "the host's CPU through torch_xla", "card": "the card"}
STAY = 4  # workers that wait for their next module at a time


class OnPlugin(Session):
    """A module in a worker, for targets where TT-NN doesn't execute programs: a host, torch_xla, the plugin.

    `method` is what is called of it, `result` which item of what that returns, None for all. Raises `Refused`
    at once for a target that isn't there, options that can't be, a disk without room.
    """

    def __init__(self, module: nn.Module, target: Target, stateful: bool, method: str, result, options):
        super().__init__(target, stateful)
        self.plugin = target.plugin()
        self.options = checked_options(options, target)
        if stateful and self.options:
            raise Refused("compiler_options", f"{self.options} with a state that stays", "a module without")
        self.module = module
        self.sent = {"module": module, "method": method, "stateful": stateful, "result": result}
        self.worker = None
        self.begin(fresh=False)

    def begin(self, fresh: bool) -> None:
        if self.worker:
            self.worker.release(well=False)
        room = 2 * sum(tensor.nbytes for tensor in weights_by_name(self.module).values())
        self.worker = Worker.for_target(self.target, self.options, room, fresh)
        self.calls, self.well, self.begun = 0, True, self.worker.child.log_size()

    def run(self, inputs: tuple, keywords: dict, name: str, timeout: float | None) -> Verdict:
        well, self.well = self.well, False  # a worker that is interrupted is of no use any more
        begin, ended = self.ask(inputs, keywords, name, timeout)
        if ended.stale:
            if self.stateful and self.calls > 1 and "state" not in keywords:
                keywords = keywords | {"state": self.state_there()}
            self.begin(fresh=True)
            begin, ended = self.ask(inputs, keywords, name, timeout)
        verdict = self.judge(name, ended, self.worker.child.log_text(begin))
        self.well = well and verdict.passed
        return verdict

    def ask(self, inputs: tuple, keywords: dict, name: str, timeout: float | None) -> tuple[int, "Ended"]:
        """Where in the log its answer begins, and the answer."""
        worker, begin = self.worker, self.worker.child.log_size()
        worker.calls, self.calls = worker.calls + 1, self.calls + 1
        call = {"inputs": inputs, "keywords": keywords} | (self.sent if self.calls == 1 else {})
        try:
            save(call, worker.folder / f"call-{worker.calls}.pt")
        except (OSError, RuntimeError) as error:
            got = f"{type(error).__name__}: {error}"
            raise Refused("temporary folder", got, "room for the weights") from error
        return begin, worker.request({"do": "call", "number": worker.calls}, name, timeout, self.begun)

    def judge(self, name: str, ended: "Ended", log: str) -> Verdict:
        compiled, failure = read_log(log), self.failure(ended, log)
        texts = compiled.texts
        if ended.graph:
            texts = self.worker.programs.setdefault(ended.graph, texts)
        real = failure is None and self.target.outputs_are_real
        return Verdict(
            name=name,
            target=self.target.name,
            plugin=str(self.plugin) if self.plugin else None,
            stages=stage_statuses(self.target, texts, ended, failure),
            **(failure.told() if failure else {}),
            stablehlo=texts.get(STABLEHLO) or self.worker.left("stablehlo"),
            ttir=texts.get("TTIR"),
            ttnn=texts.get("TTNN"),
            log=without_modules(log),
            compiler_options=self.options,
            results=self.worker.left("results"),
            outputs=self.worker.left("outputs") if real else None,
            outputs_from=LANE_OUTPUTS[self.target.lane] if real else None,
            seconds={**ended.seconds, **compiled.seconds},
            compiled_programs=ended.compiled,
            cut=cut_into(ended.cuts) if ended.cuts else None,
        )

    def failure(self, ended: "Ended", log: str) -> Failure | None:
        if ended.failure:
            return ended.failure
        if ended.cuts and not self.target.outputs_are_real:
            return graph_cut(ended.cuts)
        if not ended.error:
            return None
        failure = classify(log, ended.error["message"])
        return failure if failure.kind != "error" else replace(failure, kind=ended.error["type"])

    def arguments(self, inputs: tuple, keywords: dict) -> dict[str, torch.Tensor]:
        return weights_by_name(self.module) | arguments_by_name(inputs) | arguments_by_name(keywords)

    def state_there(self) -> dict[str, torch.Tensor]:
        ended = self.worker.request({"do": "state"}, "state", None)
        if ended.failure:
            raise Refused("state", ended.failure.message, "a worker that is alive")
        return take(self.worker.folder / "state.pt")

    def close(self) -> None:
        self.worker.release(self.well)


@contextlib.contextmanager
def warm_workers(stay: bool = True):
    """Within it, a worker that served a module without failing stays for the next one: a start takes 5 s.

    They end with the outermost. With `stay` false, none is used that was there before, and none stays.
    """
    outer = Worker.idle
    Worker.idle = (outer if outer is not None else []) if stay else None
    try:
        yield
    finally:
        ends, Worker.idle = Worker.idle if outer is None else None, outer
        for worker in ends or ():
            worker.close()


class Worker:
    """A process with one PJRT client for a target, and room in its folder for so many bytes of modules."""

    idle: list["Worker"] | None = None  # those that stay, latest last; None where none does
    hand = threading.Lock()  # on them

    def __init__(self, target: Target, options: dict, room: int):
        self.target, self.options, self.calls, self.child = target, options, 0, None
        self.programs: dict[str, dict[str, str]] = {}  # their texts, by the hash of their graph
        self.folder = new_folder(RUNTIME_FILES_BYTES + room)
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @classmethod
    def for_target(cls, target: Target, options: dict, room: int, fresh: bool) -> "Worker":
        with cls.hand:
            for worker in () if fresh else cls.idle or ():
                same = (worker.target, worker.options) == (target, options)
                if same and shutil.disk_usage(worker.folder).free >= room:
                    cls.idle.remove(worker)
                    return worker
        return cls(target, options, room)

    def release(self, well: bool) -> None:
        """Its module is done with; `well` says that it may serve another."""
        with self.hand:
            stays = well and self.idle is not None
            self.idle.append(self) if stays else None
            ends = self if not stays else self.idle.pop(0) if len(self.idle) > STAY else None
        if ends:
            ends.close()

    def start(self) -> None:
        save({"target": self.target.name, "options": self.options}, self.folder / "job.pt")
        (self.folder / "tmp").mkdir()
        KERNEL_CACHE.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            **self.target.environment(self.folder),
            # Every client writes its descriptor to a fixed name there: two at a time would spoil each other.
            "TMPDIR": str(self.folder / "tmp"),
            # The module's class may come from a file that only this process's path leads to.
            "PYTHONPATH": os.pathsep.join([str(ROOT), *(os.path.abspath(entry) for entry in sys.path)]),
        }
        command = [sys.executable, "-m", "ttvideo.probing.worker", str(self.folder)]
        self.child = Child(command, self.folder, environment)

    def request(self, message: dict, name: str, timeout: float | None, begin: int = 0) -> "Ended":
        """Its answer; if it dies, why is in the log from `begin` on."""
        ended = Ended()
        with progress(f"{name or 'module'} · {self.target.name}") as show:
            try:
                for event in self.child.ask(message, timeout):
                    ended.take(event)
                    show(ended.stage)
            except TimedOut:
                ended.failure = timed_out(timeout)
            except Died as end:
                ended.failure = died(end.returncode, without_modules(self.child.log_text(begin)))
        return ended

    def left(self, what: str):
        """What it left of its last call: "results", "outputs" …; None where it came to none."""
        path = self.folder / f"{what}-{self.calls}.pt"
        return take(path) if path.exists() else None

    def close(self) -> None:
        if self.child is not None:
            self.child.close(patience=CARD_SECONDS if self.target.lane == CARD else 0)
        shutil.rmtree(self.folder, ignore_errors=True)


class Ended:
    """How a request went, from the worker's events."""

    def __init__(self):
        self.stage = "start"
        self.seconds: dict[str, float] = {}  # of the stages that it finished
        self.cuts: list[str] = []
        self.error = self.failure = self.compiled = self.graph = None
        self.stale = False

    def take(self, event: dict) -> None:
        match event:
            case {"event": "start", "stage": stage}:
                self.stage = stage
            case {"event": "end", "stage": stage, "seconds": seconds}:
                self.seconds[stage] = round(seconds, 3)
            case {"event": "graph", "hash": graph}:
                self.graph = graph
            case {"event": "cut", "place": place}:
                self.cuts.append(place)
            case {"event": "error"}:
                self.error = event
            case {"event": "done"}:
                self.compiled, self.stale = event.get("compiled"), event.get("stale", False)


def stage_statuses(target: Target, texts: dict, ended: Ended, failure: Failure | None) -> dict[str, str]:
    stages = target.stages
    if failure is None:
        return dict.fromkeys(stages, PASS) | ({RUN: MOCKED} if target.lane == MOCK else {})
    printed = {TRACE} & set(ended.seconds) | set(texts)
    rest = stages[len([stage for stage in stages if stage in printed]) :]
    # Once compiled, the failure itself tells whether kernels were being built or run.
    failed = RUN if KERNELS in rest and rest[0] == KERNELS and failure.stage == RUN else (rest or stages)[0]
    failed = TRACE if failure.stage == TRACE else failed  # pieces of a cut graph may have got further
    at = stages.index(failed)
    return {stage: FAIL if i == at else PASS if i < at else UNREACHED for i, stage in enumerate(stages)}
