"""Pictures with a description, for those who can't see them: in notebook, JupyterLab and HTML."""

import io
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure
from nbconvert import HTMLExporter
from PIL.Image import open as read

from ttvideo.programs.cost import DATA_MOVEMENT, Cost
from ttvideo.programs.seconds import Seconds

TEMPLATES = Path(__file__).with_name("templates")
COLOURS = 256  # frames in true colour would fill most of a notebook
KINDS_SHOWN, MOVES = 10, " (moves)"


def show(figure: Figure, alt: str) -> None:
    """Display a figure in a palette, with `alt`, what it shows in a sentence, as its alternative text."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi="figure", bbox_inches="tight")
    read(drawn).convert("RGB").quantize(COLOURS).save(small, "png", optimize=True)
    plt.close(figure)  # else the inline backend shows it once more
    picture = {"image/png": small.getvalue(), "text/plain": repr(figure)}
    display(picture, metadata={"image/png": {"alt": alt}}, raw=True)


def plot_live(costs: dict[str, Cost]) -> Figure:
    """Left, DRAM live over each named program; right, bytes moved by kind of op, marked where it computes
    nothing."""
    figure, (over_time, by_kind) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name, cost in costs.items():
        position = [i / max(1, len(cost.live) - 1) for i in range(len(cost.live))]
        over_time.step(position, [b / 1e9 for b in cost.live], where="post", label=name)
    over_time.set(xlabel="position in the program", ylabel="GB", title="DRAM live over a run", ylim=0)
    over_time.legend(frameon=False)

    gb = pd.DataFrame({name: pd.Series(cost.bytes_by_kind()) for name, cost in costs.items()}).fillna(0) / 1e9
    gb.index = [name.removeprefix("ttnn.") + MOVES * (name in DATA_MOVEMENT) for name in gb.index]
    order = gb.max(axis=1).sort_values(ascending=False).index[:KINDS_SHOWN]
    gb.loc[order[::-1]].plot.barh(ax=by_kind, width=0.8)
    by_kind.set(xlabel="GB moved a run (estimate)", title="DRAM traffic; (moves): computes nothing")
    by_kind.legend(frameon=False, loc="lower right")
    for axes in (over_time, by_kind):
        axes.spines[["top", "right"]].set_visible(False)
    plt.close(figure)
    return figure


def plot_seconds(times: Mapping[str, Seconds]) -> Figure:
    """What each named run's expected seconds go to (`Seconds.by_cause`, and starts), as shares of them."""
    named = {f"{name}: {one.seconds:.2g} s": one for name, one in times.items()}
    causes = pd.DataFrame({name: one.by_cause for name, one in named.items()}).T.fillna(0)
    causes["starts"] = [one.traced_start_seconds for one in named.values()]
    shares = causes.div(causes.sum(axis=1), axis=0) * 100
    figure, axes = plt.subplots(figsize=(9, 0.4 * len(times) + 1.2), layout="constrained")
    shares[shares.sum().sort_values(ascending=False).index].iloc[::-1].plot.barh(
        ax=axes, stacked=True, width=0.7, colormap="tab20"
    )
    axes.set(xlabel="share of the expected seconds, ops in turn (a prediction), %", xlim=(0, 100))
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    plt.close(figure)
    return figure


def to_html(notebook: Path) -> str:
    """A notebook as one HTML page. nbconvert's own template has no place for descriptions; ours adds it."""
    exporter = HTMLExporter(
        template_name="described",
        extra_template_basedirs=[str(TEMPLATES)],
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    return exporter.from_filename(str(notebook))[0]
