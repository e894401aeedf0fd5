"""Each way around Conv3d on chips' own kernels, simulated: what `findings/silicon.py` found, as a table."""

from dataclasses import asdict, dataclass

import pandas as pd

from lib.stored import stored

CHIPS = ("n150-ttsim", "p150-ttsim")


@dataclass(frozen=True)
class SiliconRow:
    """One module on one simulated chip. `status` is "pass" or what went wrong, and then the figures are None.

    `pcc` and `max_abs` compare the chip's result with float64, `pcc_evaluated` the evaluator's with it.
    `steps` is the largest difference between chip and evaluator in bf16 steps at the largest output;
    `worst_op` is the op that is farthest from the evaluator's when both are given the same, by
    `worst_op_steps`. `checksum` is of the result's bits.
    """

    group: str
    case: str
    chip: str
    status: str
    pcc: float | None = None
    max_abs: float | None = None
    pcc_evaluated: float | None = None
    steps: float | None = None
    differing: float | None = None
    worst_op: str | None = None
    worst_op_steps: float | None = None
    checksum: int | None = None
    remarks: tuple[str, ...] = ()

    def as_dict(self) -> dict:
        return asdict(self)


def stored_silicon() -> list[SiliconRow]:
    """What `findings/silicon.py` found."""
    return [SiliconRow(**{**row, "remarks": tuple(row["remarks"])}) for row in stored("silicon")["rows"]]


def silicon_table(rows: list[SiliconRow]) -> pd.DataFrame:
    """A line a case and chip; `same bits` says whether the chips' results are equal."""
    sums = {}
    for one in rows:
        sums.setdefault((one.group, one.case), set()).add(one.checksum)
    table = pd.DataFrame(
        {
            "": one.group,
            "case": one.case,
            "chip": one.chip.removesuffix("-ttsim"),
            "status": one.status,
            "PCC": round(one.pcc, 6) if one.pcc else None,
            "max |Δ|": round(one.max_abs, 4) if one.pcc else None,
            "PCC, evaluator": round(one.pcc_evaluated, 6) if one.pcc else None,
            "steps apart": round(one.steps, 2) if one.pcc else None,
            "values apart": f"{one.differing:.0%}" if one.pcc else None,
            "op farthest apart": f"{one.worst_op}, {one.worst_op_steps:.1f}" if one.pcc else None,
            "same bits": len(sums[one.group, one.case]) == 1,
        }
        for one in rows
    )
    return table.set_index(["", "case", "chip"])
