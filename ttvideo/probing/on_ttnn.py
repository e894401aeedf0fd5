"""Programs executed by TT-NN, op by op: those that the compiler makes, or that a module brings along."""

import contextlib
import dataclasses

import torch

from ttvideo.basics.errors import Refused
from ttvideo.probing.failures import Failure, classify, died, timed_out, too_large
from ttvideo.probing.session import Session, places_in
from ttvideo.probing.verdict import FAIL, MOCKED, PASS, UNREACHED, Verdict
from ttvideo.programs.fidelity import in_fidelity
from ttvideo.programs.program import TensorType
from ttvideo.targets.target import KERNELS, RUN, Target
from ttvideo.ttnn.chip import Broke, Chip
from ttvideo.ttnn.places import made_of

STATE = "input.state."


class OnTTNN(Session):
    """`programs` is a session whose verdicts have the programs; they run on a chip, where the state stays.

    With `report`, verdicts have what ttnn-visualizer opens.
    """

    def __init__(self, programs: Session, target: Target, report: bool = False):
        super().__init__(target, programs.stateful)
        self.programs, self.report, self.evaluated_by = programs, report, programs.evaluated_by
        # The state's entries after the last call: types of those on the chip; those that none has read, here.
        self.kept: dict[str, TensorType | torch.Tensor] = {}
        with contextlib.ExitStack() as stack:
            stack.enter_context(programs)
            self.chip = stack.enter_context(Chip(target))
            self.open = stack.pop_all()

    def run(self, inputs: tuple, keywords: dict, name: str, timeout: float | None) -> Verdict:
        """Have the program made, then executed."""
        made = self.programs.run(inputs, keywords, name, timeout)
        stages = made.stages | {KERNELS: UNREACHED, RUN: UNREACHED}
        made = dataclasses.replace(made, target=self.target.name, stages=stages)
        if not made.passed:
            return made
        if self.target.fidelity:
            made = dataclasses.replace(made, written=in_fidelity(made.program, self.target.fidelity))
        try:
            return self.executed(made, self.arguments(inputs, keywords), keywords.get("state"), name, timeout)
        except Broke as broke:
            why = failure(broke, timeout)
            stages |= {KERNELS: FAIL} if why.stage == KERNELS else {KERNELS: PASS, RUN: FAIL}
            return dataclasses.replace(made, stages=stages, report=self.chip.report(), **why.told())

    def executed(self, made: Verdict, arguments: dict, given: dict | None, name: str, timeout) -> Verdict:
        """`given` is the state, None for the one that is here."""
        program, real = made.program, self.target.outputs_are_real
        wanted, state = made.results if self.stateful else (made.results, {})
        here = {STATE + entry: kept for entry, kept in self.kept.items() if isinstance(kept, torch.Tensor)}
        kept = self.after(state, program, given)
        handed_on = (entry for entry, place in state.items() if place is None)
        ran = self.chip.run(
            program,
            here | arguments,
            fetch=places_in(wanted) if real else (),
            keep={STATE + entry: place for entry, place in state.items() if place is not None},
            stay=[STATE + entry for entry in handed_on if isinstance(kept[entry], TensorType)],
            shared=self.programs.shared,
            timeout=timeout,
            name=name,
            report=self.report,
        )
        self.kept = kept
        return dataclasses.replace(
            made,
            stages=made.stages | {KERNELS: PASS, RUN: PASS if real else MOCKED},
            outputs=self.outputs(wanted, ran.outputs, None if self.stateful else given) if real else None,
            outputs_from=made_of(self.target) if real else None,
            seconds=made.seconds | {RUN: round(ran.seconds, 3)},
            ran=ran,
            report=self.chip.report(),
        )

    def after(self, state: dict, program, given: dict | None) -> dict[str, TensorType | torch.Tensor]:
        """The state's entries once the program has run; what is handed on unread stays where it was."""
        read = {argument.name: argument.type for argument in program.arguments}
        old = self.kept if given is None else given
        returns = program.main.returns
        return {
            entry: read.get(STATE + entry, old.get(entry)) if place is None else returns[place].type
            for entry, place in state.items()
        }

    def arguments(self, inputs: tuple, keywords: dict) -> dict[str, torch.Tensor]:
        return self.programs.arguments(inputs, keywords)

    def output(self, place: int, result: torch.Tensor) -> torch.Tensor:
        return self.programs.output(place, result)

    def state_there(self) -> dict[str, torch.Tensor]:
        if not self.target.outputs_are_real:
            raise Refused(
                "state", f"a state on {self.target.name}, where kernels don't run", "a target with results"
            )
        return {
            entry: kept if isinstance(kept, torch.Tensor) else self.chip.kept(STATE + entry, kept.dtype)
            for entry, kept in self.kept.items()
        }

    def close(self) -> None:
        self.open.close()


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
