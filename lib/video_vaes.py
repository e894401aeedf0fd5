"""The video models' decoders at their pipelines' default sizes, stock beside ours: stored figures, as a table
and a plot."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from lib.stored import stored
from lib.tables import figures, least, outcomes
from ttvideo.media.video_models import MODELS
from ttvideo.programs.hazards import ALLOCATED
from ttvideo.targets.boards import BOARDS

CHIPS = ("n150", "p150")


def default_sizes() -> pd.DataFrame:
    """One row a program: model x board x case (stock, first, steady, last), with what it costs and how far it
    gets."""
    rows = pd.DataFrame(stored("video_vaes")["rows"])
    rows["gb_per_latent"] = rows["dram_bytes_moved"] / rows["latent_frames"] / 1e9
    rows["runs"] = outcomes(rows)
    rows.loc[(rows["status"] == "pass") & (rows["lane"] != "ttnn"), "runs"] += " compiles"
    return rows.set_index(["model", "board", "case"]).sort_index()


def side_by_side(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a model and board of which there are figures: stock, then ours by its steady step."""
    table = {}
    for name, model in MODELS.items():
        for board in CHIPS:
            if (name, board, "steady") not in rows.index:
                continue
            found = rows.loc[(name, board)]
            steady, ours = found.loc["steady"], found.drop(index="stock", errors="ignore")
            stock = found.loc["stock"] if "stock" in found.index else None
            table[name, board] = {
                "clip": model.clip,
                "stock": "–" if stock is None else stock["runs"],
                "ours": next((said for said in ours["runs"] if said.startswith("✗")), ours["runs"].iloc[0]),
                "stock GB": None if stock is None else rounded(stock["gb_per_latent"]),
                "ours GB": rounded(steady["gb_per_latent"]),
                "ours / stock": "–"
                if stock is None
                else share(steady["gb_per_latent"], stock["gb_per_latent"]),
                "stock peak, GB": None if stock is None else rounded(stock["peak_dram_bytes"] / 1e9),
                "our peak, GB": rounded(ours["peak_dram_bytes"].max() / 1e9, 2),
                ALLOCATED: rounded(ours["allocator_bytes"].max() / 1e9, 2),
                "largest tensor, GB": rounded(ours["largest_tensor_bytes"].max() / 1e9, 2),
                "ops": int(steady["ops"]),
                "least s": least(steady, board, steady["latent_frames"]),
                "expected s": predicted(steady),
                "streaming": steady["streaming"],
                "upstream": model.upstream,
            }
    return pd.DataFrame.from_dict(table, orient="index").rename_axis(["model", "board"])


def last_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a model and board whose clips end with a step of its own, which gives all frames: what it
    costs."""
    last = rows.xs("last", level="case")
    frames = last["latents"].str[2]
    moved = (last["dram_bytes_moved"] / frames / 1e9).round(1)
    ours = pd.DataFrame({"latent frames": frames, "ours": last["runs"], "ours GB": moved})
    return ours.join(figures(last, "peak, GB", ALLOCATED, "ops").rename(columns={"peak, GB": "our peak, GB"}))


def predicted(row: pd.Series) -> str:
    """Expected seconds a latent frame, and their range; a dash where the program was costed before there was
    a model."""
    found, frames = row.get("expected"), row["latent_frames"]
    if not isinstance(found, dict):
        return "–"
    return "{:.2f} ({:.2f} to {:.2f})".format(*(found[name] / frames for name in ("seconds", "low", "high")))


def rounded(value: float, digits: int = 1) -> float | None:
    return None if pd.isna(value) else round(value, digits)


def share(ours: float, stock: float) -> str:
    return "–" if pd.isna(stock) else f"{ours / stock:.0%}"


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
    panels[0].legend(
        ["DRAM of the board", "stock, whole clip", "for tiles, streamed"], frameon=False, loc="lower right"
    )
    plt.close(figure)
    return figure
