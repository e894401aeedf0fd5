"""A compiled program's cost, to look at: a table by kind of op, and a plot of two programs side by side."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from ttvideo.programs.cost import DATA_MOVEMENT, Cost

KINDS_SHOWN = 10


def table(cost: Cost) -> pd.DataFrame:
    """One row a kind of op, most bytes first: ops, GB moved a run (estimate), share of it, Gflop, kind of work."""
    frame = pd.DataFrame(
        {"op": op.name.removeprefix("ttnn."), "gb": op.moved / 1e9, "gflop": op.flops / 1e9, "n": 1} for op in cost.ops
    )
    frame = frame.groupby("op").sum().sort_values("gb", ascending=False)
    frame["share"] = frame["gb"] / frame["gb"].sum()
    frame["work"] = ["data movement" if f"ttnn.{op}" in DATA_MOVEMENT else "arithmetic" for op in frame.index]
    frame = frame.rename(columns={"n": "ops", "gb": "GB moved (estimate)", "gflop": "Gflop"})
    return frame[["ops", "GB moved (estimate)", "share", "Gflop", "work"]]


def plot_live(costs: dict[str, Cost]) -> Figure:
    """Left, DRAM live over each named program; right, bytes moved by kind of op, the programs side by side."""
    figure, (over_time, by_kind) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name, cost in costs.items():
        position = [i / max(1, len(cost.live) - 1) for i in range(len(cost.live))]
        over_time.step(position, [b / 1e9 for b in cost.live], where="post", label=name)
    over_time.set(xlabel="position in the program", ylabel="DRAM live, GB", title="DRAM live over a run", ylim=0)
    over_time.legend(frameon=False)

    gb = pd.DataFrame({name: pd.Series(cost.bytes_by_kind()) for name, cost in costs.items()}).fillna(0) / 1e9
    gb.index = gb.index.str.removeprefix("ttnn.")
    order = gb.max(axis=1).sort_values(ascending=False).index[:KINDS_SHOWN]
    gb.loc[order[::-1]].plot.barh(ax=by_kind, width=0.8)
    by_kind.set(xlabel="GB moved a run (estimate)", title="DRAM traffic by kind of op")
    by_kind.legend(frameon=False, loc="lower right")
    for axes in (over_time, by_kind):
        axes.spines[["top", "right"]].set_visible(False)
    plt.close(figure)
    return figure
