"""The simulated chip's results, to look at."""

from collections.abc import Iterable

import pandas as pd
from IPython.display import HTML
from matplotlib.axes import Axes

from lib.notebook.silicon.measure import SiliconRow
from lib.notebook.stored import stored
from lib.notebook.tables import rounded
from lib.programs.cost import DATA_MOVEMENT


def silicon_table(rows: Iterable[SiliconRow]) -> pd.DataFrame:
    """One row a case: status, accuracy, what the evaluator says, cycles beside the estimates."""
    table = pd.DataFrame(
        {
            "": row.group,
            "case": row.case,
            "status": row.status,
            "PCC": rounded(row.pcc, 1, 6),
            "max |Δ|": rounded(row.max_abs, 1, 4),
            "PCC evaluated": rounded(row.pcc_evaluated, 1, 6),
            "to the evaluator, bf16 steps": row.evaluator_steps,
            "launches": row.launches,
            "cycles (simulated)": row.cycles,
            "KB moved": rounded(row.dram_bytes_moved, 1e-3, 0),
            "roofline µs": rounded(row.roofline_seconds, 1e6, 2),
        }
        for row in rows
    )
    return table.set_index(["", "case"])


def fault_table() -> HTML:
    """What each known fault of the simulator shows when it is provoked (`findings/silicon.py`)."""
    table = pd.DataFrame(stored("silicon")["faults"].items(), columns=["fault", "what it shows"])
    with pd.option_context("display.max_colwidth", None):
        return HTML(table.to_html(index=False, justify="left"))


def plot_cycles(rows: Iterable[SiliconRow]) -> Axes:
    """Simulated cycles of each case, arithmetic apart from what only moves data."""
    parts = pd.DataFrame.from_dict({row.case: split(row) for row in rows}, orient="index").iloc[::-1] / 1000
    axis = parts.plot.barh(stacked=True, figsize=(8, 3), width=0.8, xlabel="thousand cycles on one core (simulated)")
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    axis.figure.tight_layout()
    return axis


def split(row: SiliconRow) -> dict[str, int]:
    moving = sum(cycles for op, cycles in row.cycles_by_op.items() if f"ttnn.{op}" in DATA_MOVEMENT)
    return {"arithmetic": row.cycles - moving, "taps and layout": moving}
