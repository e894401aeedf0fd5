"""Each case on the simulated chip, beside what the evaluator and the cost model say of the same program."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch

from lib.basics.compare import compare
from lib.notebook.silicon.cases import Case
from lib.notebook.stored import stored
from lib.programs.cost import cost, roofline
from lib.programs.evaluate import evaluate
from lib.targets.boards import BOARDS
from lib.ttnn.canary import FAULT, run_after_canary
from lib.ttnn.description import describe
from lib.ttnn.lane import TIMEOUT_SECONDS, Ran

LEAST_PCC = 0.99
OK = "ok"


@dataclass(frozen=True)
class SiliconRow:
    """One case. A figure that could not be had is None; `status` is "ok" or what went wrong.

    `pcc` and `max_abs` compare the simulated chip's result with float64, `pcc_evaluated` the evaluator's with it, and
    `evaluator_max_abs` the two with each other; `evaluator_steps` is that in steps of bf16 at the largest output.
    `cycles` are simulated and a floor, on one core, fit for ranking only; `cycles_by_op` says where they went.
    `dram_bytes_moved` and `roofline_seconds` (of a whole p150) are estimates read off the program.
    """

    group: str
    case: str
    status: str
    dram_bytes_moved: int
    roofline_seconds: float
    pcc: float | None = None
    max_abs: float | None = None
    pcc_evaluated: float | None = None
    evaluator_max_abs: float | None = None
    evaluator_steps: float | None = None
    launches: int | None = None
    cycles: int | None = None
    cycles_by_op: dict[str, int] | None = None

    def as_dict(self) -> dict:
        return asdict(self)


def stored_silicon() -> list[SiliconRow]:
    """What `findings/silicon.py` found."""
    return [SiliconRow(**row) for row in stored("silicon")["rows"]]


def measure(chosen: Iterable[Case], timeout: float = TIMEOUT_SECONDS, provoke: str = "") -> list[SiliconRow]:
    """Run cases (see `lib.notebook.silicon.cases`) after a canary of known answer, in one process.

    If the canary's answer is wrong, no case is ok. Raises `Refused` where the lane isn't set up.
    """
    chosen = {case.title: case for case in chosen}
    programs = {title: describe(case.program, case.arguments) for title, case in chosen.items()}
    ran, wrong = run_after_canary(programs, timeout, provoke)
    return [row(case, ran[title], wrong) for title, case in chosen.items()]


def row(case: Case, ran: Ran, wrong: str | None) -> SiliconRow:
    costs = cost(case.program)
    known = (case.group, case.name)
    estimates = (costs.dram_bytes_moved, roofline(costs, BOARDS["p150"]).seconds)
    if ran.error:
        return SiliconRow(*known, wrong or f"{FAULT}: {ran.error}", *estimates)
    result, evaluated = ran.outputs[0], evaluate(case.program, case.arguments)[0].float()
    if not torch.isfinite(result).all():
        return SiliconRow(*known, wrong or f"{FAULT}: NaN or Inf", *estimates)
    close, beside = compare(result, case.expected), compare(result, evaluated)
    by_op: dict[str, int] = {}
    for step in ran.steps:
        by_op[step.op] = by_op.get(step.op, 0) + sum(step.cycles)
    status = wrong or (OK if close.pcc >= LEAST_PCC else f"{FAULT}: PCC {close.pcc:.4f}")
    return SiliconRow(
        *known,
        status,
        *estimates,
        pcc=close.pcc,
        max_abs=close.max_abs,
        pcc_evaluated=compare(evaluated, case.expected).pcc,
        evaluator_max_abs=beside.max_abs,
        evaluator_steps=beside.max_abs / bf16_step(evaluated),
        launches=sum(len(step.cycles) for step in ran.steps),
        cycles=ran.cycles,
        cycles_by_op=by_op,
    )


def bf16_step(values: torch.Tensor) -> float:
    """The distance between neighbouring bf16 numbers at the largest of `values`: 8 bits of mantissa, one implied."""
    return 2.0 ** (math.floor(math.log2(values.abs().max().item())) - 7)
