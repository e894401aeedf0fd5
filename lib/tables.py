"""Verdicts and costs as tables that a reader takes in at a glance."""

from collections.abc import Iterable, Mapping

import pandas as pd

from ttvideo.decompositions.measure import DecompositionRow
from ttvideo.probing.verdict import EVALUATED, MOCKED, Verdict
from ttvideo.programs.cost import Roofline, roofline_of
from ttvideo.programs.hazards import ALLOCATED, HAZARDS, hazards
from ttvideo.programs.program import Program
from ttvideo.targets.boards import BOARDS

# A figure's name in tables: what a row has it as, in which unit it is told, and to how many digits.
FIGURES = {
    "ops": ("ops", 1, 0),
    "TFLOP": ("flops", 1e12, 2),
    "GB moved": ("dram_bytes_moved", 1e9, 2),
    "data movement, %": ("data_movement_share", 0.01, 0),
    "largest tensor, GB": ("largest_tensor_bytes", 1e9, 2),
    "peak, GB": ("peak_dram_bytes", 1e9, 2),
    "once, GB moved": ("const_eval_bytes_moved", 1e9, 1),
    "state, GB": ("state_bytes", 1e9, 2),
    "weights, GB": ("weight_bytes", 1e9, 2),
    ALLOCATED: ("allocator_bytes", 1e9, 2),
}


def figures(rows: Mapping[str, Mapping] | pd.DataFrame, *names: str) -> pd.DataFrame:
    """Those of `FIGURES`, a line a row: rows as findings store them, or by name, such as `Cost.record()`."""
    if not isinstance(rows, pd.DataFrame):
        none = None if rows else [FIGURES[name][0] for name in names]  # a host has no programs
        rows = pd.DataFrame.from_dict(rows, orient="index", columns=none)
    told = {name: rows[FIGURES[name][0]].astype(float) / FIGURES[name][1] for name in names}
    told = pd.DataFrame({name: column.round(FIGURES[name][2]) for name, column in told.items()})
    return told.astype({name: "Int64" for name in names if FIGURES[name][2] == 0})


def dashed(table: pd.DataFrame) -> pd.DataFrame:
    """With a dash where there is no figure."""
    return table.astype(object).where(table.notna(), "–")


def roofline_row(row: Mapping, board: str) -> Roofline:
    """Estimate: of one run on one chip of that board."""
    stated = row.get("hifi4_flops")  # older rows have none: the compiler asks for HiFi4 throughout
    arithmetic = row["flops"] if stated is None or pd.isna(stated) else stated
    return roofline_of(arithmetic, row["dram_bytes_moved"], int(row["launches"]), BOARDS[board])


def least(row: Mapping, board: str, latent_frames: int = 1) -> str:
    """Its least seconds a latent frame, and what binds them."""
    line = roofline_row(row, board)
    return f"{line.seconds / latent_frames:.2f} ({line.binds})"


def outcomes(rows: pd.DataFrame) -> list[str]:
    """For each row that it passed, or what kind of failure it met."""
    return ["✓" if status == "pass" else f"✗ {kind}" for status, kind in zip(rows["status"], rows["kind"])]


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


def decompositions_table(rows: Iterable[DecompositionRow]) -> pd.DataFrame:
    """One row a decomposition of a kernel (see `ttvideo.decompositions.measure`); costs are those of the
    program compiled for p150."""
    table = pd.DataFrame(
        {
            "kernel": row.kernel,
            "decomposition": row.decomposition,
            "exact": "✓" if row.exact else "✗",
            **{
                lane: "✓" if said == "pass" else f"✗ {said.split(':')[0]}"
                for lane, said in row.verdicts.items()
            },
            "ops": row.ops,
            "MB moved": rounded(row.dram_bytes_moved, 1e-6, 1),
            "peak MB": rounded(row.peak_dram_bytes, 1e-6, 1),
            "roofline ms": rounded(row.roofline_seconds, 1e3, 3),
            "PCC evaluated": rounded(row.pcc_evaluated, 1, 5),
        }
        for row in rows
    )
    return table.set_index(["kernel", "decomposition"])


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
