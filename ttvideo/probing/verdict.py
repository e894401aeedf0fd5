"""What a probe found out."""

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path

from ttvideo.basics.errors import Refused
from ttvideo.probing import export
from ttvideo.programs.cost import Cost, cost
from ttvideo.programs.hazards import ALLOCATED, Hazard, hazards
from ttvideo.programs.program import Program, read
from ttvideo.programs.seconds import Seconds, expected_program
from ttvideo.ttnn.chip import Ran

EVALUATED = "evaluated (the compiled program, run on the host)"
PASS, FAIL, MOCKED, UNREACHED = "pass", "fail", "mocked", "not reached"
LOOK = {
    PASS: ("✓", "#1a7f37"),
    FAIL: ("✗", "#cf222e"),
    MOCKED: ("◌", "#9a6700"),
    UNREACHED: ("·", "#8c959f"),
}


@dataclass(frozen=True)
class Verdict:
    """One module on one target.

    `stages` maps each stage of the lane to 'pass', 'fail', 'mocked' (the mocked chip executes no kernels) or
    'not reached'; `stage` is the last one that was reached: where it failed, or the end. `outputs` holds the
    module's outputs where they mean something, and None for lanes that return garbage; `outputs_from` says
    where they come from. `results` is the outputs' structure as traced, with each tensor's place among the
    program's results for it, and None for an entry of the state that is handed on as it came. `log` is what
    the stack printed, without the modules. `seconds` a stage vary from run to run. `ran` is what TT-NN tells
    of its run, on targets where it executes the program. `cut` says where the trace read values back to the
    host and into how many programs that cut the graph, None for a graph in one piece; the texts are then
    those of the last piece. `written` is the program that ran where it isn't the compiler's own: written by
    hand, or in another fidelity. `report` are the files that ttnn-visualizer opens, by name, if they were
    asked for.
    """

    target: str
    stages: dict[str, str]
    name: str = ""
    plugin: str | None = None
    kind: str | None = None
    message: str | None = None
    op: str | None = None
    location: str | None = None
    stablehlo: str | None = field(default=None, repr=False)
    ttir: str | None = field(default=None, repr=False)
    ttnn: str | None = field(default=None, repr=False)
    log: str = field(default="", repr=False)
    compiler_options: dict = field(default_factory=dict)
    results: object = field(default=None, repr=False)
    outputs: object = field(default=None, repr=False)
    outputs_from: str | None = None
    seconds: dict[str, float] = field(default_factory=dict, repr=False)
    compiled_programs: int | None = None
    replayed: bool = False
    cut: str | None = None
    ran: Ran | None = field(default=None, repr=False)
    written: Program | None = field(default=None, repr=False)
    report: dict[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def passed(self) -> bool:
        return self.kind is None

    @property
    def status(self) -> str:
        return PASS if self.passed else FAIL

    @property
    def stage(self) -> str:
        return [stage for stage, status in self.stages.items() if status != UNREACHED][-1]

    @property
    def has_program(self) -> bool:
        return bool(self.written or self.ttnn)

    @cached_property
    def program(self) -> Program:
        """The compiled program, or the one that ran for it. Raises `Refused` if it didn't get so far."""
        if not self.has_program:
            got = f"{self.name or 'a module'} on {self.label}, which got to {self.stage}"
            raise Refused("program", got, "a verdict whose module was compiled (`has_program`)")
        return self.written or read(self.ttnn)

    @cached_property
    def cost(self) -> Cost:
        """What a run of it moves, holds, computes (`ttvideo.programs.cost`). Raises `Refused` as it does."""
        return cost(self.program)

    @cached_property
    def expected(self) -> Seconds:
        """How long a run of the program is expected to take on one chip (see `ttvideo.programs.seconds`)."""
        return expected_program(self.program)

    @cached_property
    def hazards(self) -> dict[Hazard, int]:
        """What is known to go wrong with the program on silicon, and with how many of its ops; {} where there
        is none."""
        try:
            return hazards(self.program) if self.has_program else {}
        except Refused:  # a text that can't be read is a failure told elsewhere
            return {}

    @property
    def remarks(self) -> tuple[str, ...]:
        """What stood in for an op that TT-NN lacks, and what was set otherwise so that one runs at all."""
        return self.ran.stand_ins + self.ran.workarounds if self.ran else ()

    @property
    def op_counts(self) -> Counter:
        """How often each TTNN op stands in the compiled program."""
        return Counter(re.findall(r'"(ttnn\.\w+)"\(', self.ttnn or ""))

    def record(self) -> dict:
        """The verdict's row in `record.json`: everything that doesn't vary from run to run."""
        return {
            "name": self.name,
            "target": self.label,
            "status": self.status,
            "stage": self.stage,
            "kind": self.kind,
            "message": self.message,
            **({"cut": self.cut} if self.cut else {}),
            **({"options": self.compiler_options} if self.compiler_options else {}),
            **(
                {"hazards": {hazard.name: ops for hazard, ops in self.hazards.items()}}
                if self.hazards
                else {}
            ),
        }

    def row(self) -> dict:
        """The verdict's row in a stored finding: its record, the program's costs, the allocator's peak."""
        row = self.record() | {"op": self.op, "location": self.location}
        if self.ttnn or self.written:
            row |= self.cost.record() | {"bytes_by_op": self.cost.bytes_by_kind()}
            row |= {"weight_bytes": self.cost.weight_bytes, "expected": self.expected.record()}
        if self.ran:
            row |= {"allocator_bytes": self.ran.peak_dram_bytes, "ran_ops": self.ran.ops}
        return row

    def save(self, folder: Path) -> Path:
        """Write the texts of all stages, the log, a README and a script that compiles it again (see
        `ttvideo.probing.export`)."""
        return export.save(self, folder)

    def issue(self) -> str:
        """What to paste into the compiler's tracker; Markdown. Raises `Refused` unless the plugin refused the
        module."""
        return export.issue(self)

    @property
    def label(self) -> str:
        return f"{self.target} (replay)" if self.replayed else self.target

    def __str__(self) -> str:
        strip = "  ".join(f"{LOOK[status][0]} {stage}" for stage, status in self.stages.items())
        why = f"\n{self.kind}: {self._reason()}" if not self.passed else f"\n{self.cut}" if self.cut else ""
        more = "".join(f"\n{line}" for line in (*self._predicted(), *self._warnings()))
        return f"{self.name or 'module'} on {self.label}: {strip}{why}{more}"

    __repr__ = __str__

    def _peak(self) -> str:
        return f"; {self.ran.peak_dram_bytes / 1e9:.2f} GB at most {ALLOCATED}" if self.ran else ""

    def _predicted(self) -> list[str]:
        """A run's time on a card, a line; nothing for a program that can't be read or has an op of no known
        cost."""
        try:
            return [str(self.expected)] if self.passed and self.has_program else []
        except Refused:
            return []

    def _warnings(self) -> list[str]:
        return [f"on silicon, {ops} op{'s' * (ops > 1)}: {hazard}" for hazard, ops in self.hazards.items()]

    def _reason(self) -> str:
        where = f" at {self.location}" if self.location and self.location not in (self.message or "") else ""
        op = f"{self.op}: " if self.op and self.op not in (self.message or "") else ""
        return f"{op}{self.message}{where}"

    def _repr_html_(self) -> str:
        cells = "".join(
            f'<td style="color:white;background:{LOOK[status][1]};padding:2px 10px">{LOOK[status][0]} '
            f"{stage}</td>"
            for stage, status in self.stages.items()
        )
        title = f"<b>{escape(self.name or 'module')}</b> on {escape(self.label)}"
        if self.outputs_from:
            title += f", outputs from {escape(self.outputs_from)}"
        why = ""
        if not self.passed:
            why = f"<div><b>{escape(self.kind)}</b> <code>{escape(self._reason())}</code></div>"
        elif self.cut:
            why = f"<div>{escape(self.cut)}</div>"
        elif MOCKED in self.stages.values():
            why = (
                "<div>the chip is mocked: op checks, allocators and kernel builds are real, kernels do "
                f"not run{self._peak()}</div>"
            )
        why += "".join(
            f"<div>{escape(remark)}</div>"
            for remark in (*self._predicted(), *self._warnings(), *self.remarks)
        )
        return f"<div>{title}<table><tr>{cells}</tr></table>{why}</div>"
