"""The video models' decoders at their pipelines' default sizes, stock beside ours: stored figures, as a table
and a plot."""

from collections.abc import Iterable

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from lib.stored import stored
from lib.tables import figures, least, outcomes
from ttvideo.media.video_models import ALL, MODELS, VideoModel
from ttvideo.programs.hazards import ALLOCATED
from ttvideo.targets.boards import BOARDS

CHIPS = ("n150", "p150")
NOT_TILES = ["stock", "executed", "written", "native"]


def default_sizes() -> pd.DataFrame:
    """A row a program: model x board x case, with what it costs and how far it gets."""
    rows = pd.DataFrame(stored("video_vaes")["rows"])
    rows["gb_per_latent"] = rows["dram_bytes_moved"] / rows["latent_frames"] / 1e9
    rows["runs"] = outcomes(rows)
    rows.loc[(rows["status"] == "pass") & (rows["lane"] != "ttnn"), "runs"] += " compiles"
    return rows.set_index(["model", "board", "case"]).sort_index()


def side_by_side(rows: pd.DataFrame, models: dict[str, VideoModel] = MODELS) -> pd.DataFrame:
    """One row a model and board that have figures: stock, then ours by its steady step, or the only one."""
    table = {}
    for name, board in of_ours(rows, models):
        found = rows.loc[(name, board)]
        ours, steady = found.drop(index=NOT_TILES, errors="ignore"), steady_of(found)
        ran = steady_of(ours.drop(index="compiled", errors="ignore") if len(ours) > 1 else ours)
        stock = found.reindex(["stock"]).iloc[0]
        moved, of_stock = steady["gb_per_latent"], stock["gb_per_latent"]
        table[name, board] = {
            "clip": models[name].clip,
            "stock": stock["runs"] if "stock" in found.index else "–",
            "ours": next((said for said in ours["runs"] if said.startswith("✗")), ran["runs"]),
            "stock GB": rounded(of_stock),
            "ours GB": rounded(moved),
            "ours / stock": "–" if pd.isna(of_stock) else f"{moved / of_stock:.0%}",
            "stock peak, GB": rounded(stock["peak_dram_bytes"], 1, 1e9),
            "our peak, GB": rounded(ours["peak_dram_bytes"].max(), 2, 1e9),
            ALLOCATED: rounded(ours["allocator_bytes"].max(), 2, 1e9),
            "largest tensor, GB": rounded(ours["largest_tensor_bytes"].max(), 2, 1e9),
            "ops": int(steady["ops"]),
            "least s": least(steady, board, steady["latent_frames"]),
            "expected s": predicted(found),
            "streaming": steady["streaming"],
            "upstream": models[name].upstream,
        }
    return pd.DataFrame.from_dict(table, orient="index").rename_axis(["model", "board"])


def in_own_ops(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a model and board that is written in TT-NN's own ops: its steady step, or the only one, beside
    the compiled one."""
    table = {}
    for name, board in of_ours(rows, ALL):
        found = rows.loc[(name, board)]
        if "written" in found.index:
            one, compiled = found.loc["written"], steady_of(found)
            ran = found.reindex(["native"]).iloc[0]
            share = one["gb_per_latent"] / compiled["gb_per_latent"]
            table[name, board] = {
                "runs": ran["runs"],
                "GB": rounded(one["gb_per_latent"]),
                "of compiled": share,
                "ops": int(one["ops"]),
                "compiled ops": int(compiled["ops"]),
                "peak, GB": rounded(one["peak_dram_bytes"], 2, 1e9),
                "in a stream, GB": rounded(one["stream_peak_bytes"], 2, 1e9),
                ALLOCATED: rounded(ran["allocator_bytes"], 2, 1e9),
                "expected s": predicted(found.loc[["written"]]),
                "compiled, expected s": predicted(found.drop(index="written")),
            }
    return pd.DataFrame.from_dict(table, orient="index").rename_axis(["model", "board"])


def of_ours(rows: pd.DataFrame, models: Iterable[str]) -> list[tuple[str, str]]:
    """The models and boards that there is a program of ours for."""
    costed = rows[rows["ops"].notna()]
    there = {key[:2] for key in costed.drop(index=NOT_TILES, level="case", errors="ignore").index}
    return [(name, board) for name in models for board in CHIPS if (name, board) in there]


def steady_of(found: pd.DataFrame) -> pd.Series:
    """Of a model's rows, the one for tiles that tells what a clip costs: a step compiled, or run."""
    return found.loc[next(case for case in ("compiled", "steady", "first") if case in found.index)]


def last_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a model and board whose clips end with a step of its own, which gives all frames: what it
    costs."""
    last = rows.xs("last", level="case")
    frames = last["latents"].str[2]
    moved = (last["dram_bytes_moved"] / frames / 1e9).round(1)
    ours = pd.DataFrame({"latent frames": frames, "ours": last["runs"], "ours GB": moved})
    return ours.join(figures(last, "peak, GB", ALLOCATED, "ops").rename(columns={"peak, GB": "our peak, GB"}))


def predicted(found: pd.DataFrame) -> str:
    """Expected seconds a latent frame, and their range; a dash where no program was costed since there is a
    model."""
    for _, row in found.reindex(["compiled", "steady", "written", "first"]).iterrows():
        if isinstance(row["expected"], dict):
            seconds = (row["expected"][name] / row["latent_frames"] for name in ("seconds", "low", "high"))
            return "{:.2f} ({:.2f} to {:.2f})".format(*seconds)
    return "–"


def rounded(value: float | None, digits: int = 1, unit: float = 1) -> float | None:
    return None if pd.isna(value) else round(value / unit, digits)


def plot_peaks(table: pd.DataFrame) -> Figure:
    """Peak DRAM of stock and ours, a panel a board, with what the board has as a line; logarithmic."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    for axes, board in zip(panels, CHIPS):
        peaks = table.xs(board, level="board")[["stock peak, GB", "our peak, GB"]].astype(float)
        peaks.iloc[::-1].plot.barh(ax=axes, width=0.8, color=["#9a6700", "#0969da"], legend=False)
        limit = BOARDS[board].chip.dram_bytes / 1e9
        axes.axvline(limit, color="#cf222e", linestyle="--", label=f"DRAM of the {board}")
        axes.set(xscale="log", xlabel="peak DRAM, GB (computed)", ylabel="", title=f"{board}: {limit:.1f} GB")
        axes.spines[["top", "right"]].set_visible(False)
    names = ["DRAM of the board", "stock, whole clip", "for tiles, streamed"]
    panels[0].legend(names, frameon=False, loc="lower right")
    plt.close(figure)
    return figure
