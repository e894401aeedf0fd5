"""A module compiled for a board, and the program executed by TT-NN: the two processes of one session."""

import contextlib
import dataclasses

from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.probing.failures import Failure, classify, died, timed_out, too_large
from ttvideo.probing.session import Session
from ttvideo.probing.trace import arguments_by_name, weights_by_name
from ttvideo.probing.verdict import FAIL, MOCKED, PASS, UNREACHED, Verdict
from ttvideo.probing.worker import map_tensors, tensors
from ttvideo.programs.fidelity import in_fidelity
from ttvideo.programs.program import TensorType
from ttvideo.targets.target import KERNELS, RUN, TARGETS, Target
from ttvideo.ttnn.chip import Broke, Chip, Ran
from ttvideo.ttnn.places import made_of

STATE = "input.state"


def open_session(module: nn.Module, target: Target, stateful: bool = False, state=None, options=None, report=False):
    """The session that serves `target`; see `Session`. With `report`, its verdicts have one for ttnn-visualizer.

    Raises `Refused` for a report where TT-NN doesn't execute the program.
    """
    if target.on_ttnn:
        return OnTTNN(module, target, stateful, state, options, report)
    if report:
        names = ", ".join(name for name, known in TARGETS.items() if known.on_ttnn)
        raise Refused("report", f"target {target.name!r}", f"one where TT-NN executes the program: {names}")
    return Session(module, target, stateful, state, options)


class OnTTNN(contextlib.AbstractContextManager):
    """What `Session` is, for targets whose programs TT-NN executes. The state stays on its chip from call to call."""

    def __init__(
        self, module: nn.Module, target: Target, stateful: bool = False, state=None, options=None, report: bool = False
    ):
        self.module, self.target, self.stateful, self.report = module, target, stateful, report
        self.given = arguments_by_name(state, STATE)
        self.kept: tuple[str, ...] = ()  # the state's entries, and what they are
        self.types: dict[str, TensorType] = {}
        with contextlib.ExitStack() as stack:
            self.chip = stack.enter_context(Chip(target))
            self.compiler = stack.enter_context(Session(module, target.compiler, stateful, state, options))
            self.open = stack.pop_all()

    def call(self, inputs: tuple, name: str = "", timeout: float | None = None, part: str = "", **options) -> Verdict:
        """Trace and compile the module, then have its program executed; a failure is in the verdict."""
        compiled = self.compiler.call(inputs, name, timeout, part, **options)
        if not compiled.passed:
            stages = dict.fromkeys(self.target.stages, UNREACHED) | compiled.stages
            return dataclasses.replace(compiled, target=self.target.name, stages=stages)
        if self.target.fidelity:
            compiled = dataclasses.replace(compiled, written=in_fidelity(compiled.program, self.target.fidelity))
        module = self.module.get_submodule(part)
        arguments = weights_by_name(module) | arguments_by_name(inputs, "input") | self.given
        outputs, state = self.result_order() if self.stateful else (self.result_order(), {})
        keep = {name: place.item() for name, place in arguments_by_name(state, STATE).items()}
        same = [f"{STATE}.{name}" for name, place in state.items() if place is None]
        read = {argument.name: argument.type for argument in compiled.program.arguments}
        unread = {name: self.given[name] for name in same if name in self.given and name not in read}  # never sent
        stay = [name for name in same if name not in unread]
        fetch = {place.item() for place in tensors(outputs)} if self.target.outputs_are_real else ()
        try:
            ran = self.chip.run(
                compiled.program, arguments, fetch, keep, part, timeout, name, stay=stay, report=self.report
            )
        except Broke as broke:
            return self.failed(compiled, failure(broke, timeout))
        self.given = unread
        self.kept = tuple(state)
        returned = {name: compiled.program.main.returns[place].type for name, place in keep.items()}
        self.types = {name: (self.types | read)[name] for name in stay} | returned
        return self.passed(compiled, ran, outputs)

    def passed(self, compiled: Verdict, ran: Ran, order) -> Verdict:
        real = self.target.outputs_are_real
        return dataclasses.replace(
            compiled,
            target=self.target.name,
            stages=dict.fromkeys(self.target.stages, PASS) | ({} if real else {RUN: MOCKED}),
            outputs=map_tensors(lambda place: ran.outputs[place.item()], order) if real else None,
            outputs_from=made_of(self.target) if real else None,
            seconds=compiled.seconds | {RUN: round(ran.seconds, 3)},
            ran=ran,
            report=self.chip.report(),
        )

    def failed(self, compiled: Verdict, why: Failure) -> Verdict:
        stages = dict.fromkeys(self.target.stages, PASS)
        stages |= {KERNELS: FAIL, RUN: UNREACHED} if why.stage == KERNELS else {RUN: FAIL}
        return dataclasses.replace(
            compiled,
            target=self.target.name,
            stages=stages,
            kind=why.kind,
            message=why.message,
            op=why.op,
            location=why.location,
            report=self.chip.report(),
        )

    def result_order(self):
        return self.compiler.result_order()

    def state(self):
        """The module's state, copied to the host. Raises `Refused` where kernels don't run: it would mean nothing."""
        if not self.target.outputs_are_real:
            raise Refused("state", f"a state on {self.target.name}, where kernels don't run", "a target with results")
        names = {name: f"{STATE}.{name}" for name in self.kept}
        return {name: self.given[at] if at in self.given else self.chip.kept(at, self.types[at].dtype)
                for name, at in names.items()}  # fmt: skip

    def close(self) -> None:
        self.open.close()

    def __exit__(self, *_) -> None:
        self.close()


def failure(broke: Broke, timeout: float | None) -> Failure:
    """What went wrong, at the op that TT-NN was at."""
    if broke.timed_out:
        why = timed_out(timeout)
    elif broke.too_large:
        why = too_large(broke.too_large)
    elif broke.returncode is not None:
        why = died(broke.returncode, broke.log)
    else:
        why = classify(broke.log, broke.said)
    return dataclasses.replace(why, op=broke.op or why.op, location=broke.location or why.location)
