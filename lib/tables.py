"""Verdicts as tables that a reader takes in at a glance."""

from collections.abc import Iterable, Mapping

import pandas as pd

from ttvideo.probing.verdict import EVALUATED, MOCKED, Verdict
from ttvideo.programs.hazards import HAZARDS, hazards
from ttvideo.programs.program import Program
from ttvideo.ways.measure import WayRow


def verdict_table(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """One row a module, one column a lane; `evaluated` is the compiled program, run on the host."""
    rows: dict[str, dict[str, str]] = {}
    for verdict in verdicts:
        row = rows.setdefault(verdict.name, {})
        row[verdict.label] = cell(verdict)
        if verdict.outputs_from == EVALUATED:
            row["evaluated"] = "✓ on the host"
    return pd.DataFrame.from_dict(rows, orient="index").fillna("–")


def cell(verdict: Verdict) -> str:
    if not verdict.passed:
        return f"✗ {verdict.stage}: {verdict.kind}"
    if MOCKED in verdict.stages.values():
        return "✓ kernels, mocked"
    return f"✓ {verdict.stage}"


def ways_table(rows: Iterable[WayRow]) -> pd.DataFrame:
    """One row a way of a kernel (see `ttvideo.ways.measure`); costs are those of the program compiled for p150."""
    table = pd.DataFrame(
        {
            "kernel": row.kernel,
            "way": row.way,
            "exact": "✓" if row.exact else "✗",
            **{lane: "✓" if said == "pass" else f"✗ {said.split(':')[0]}" for lane, said in row.verdicts.items()},
            "ops": row.ops,
            "MB moved": rounded(row.dram_bytes_moved, 1e-6, 1),
            "peak MB": rounded(row.peak_dram_bytes, 1e-6, 1),
            "roofline ms": rounded(row.roofline_seconds, 1e3, 3),
            "PCC evaluated": rounded(row.pcc_evaluated, 1, 5),
        }
        for row in rows
    )
    return table.set_index(["kernel", "way"])


def rounded(value: float | None, factor: float, digits: int) -> float | None:
    return None if value is None else round(value * factor, digits)


def hazards_table(programs: Mapping[str, Program]) -> pd.DataFrame:
    """One row a hazard (see `ttvideo.programs.hazards`); for each program, how many of its ops have it."""
    found = {name: hazards(program) for name, program in programs.items()}
    return pd.DataFrame.from_dict(
        {
            hazard.when: {"what happens": hazard.what, "source": hazard.source}
            | {name: of_program.get(hazard, 0) for name, of_program in found.items()}
            for hazard in HAZARDS
        },
        orient="index",
    ).rename_axis("when")
