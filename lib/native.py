"""Mochi's decoder three ways: stock, compiled for tiles, written in TT-NN's ops; stored figures and frames,
side by side."""

from statistics import mean

import pandas as pd

from lib.stored import stored
from lib.tables import figures, least
from ttvideo.programs.hazards import ALLOCATED

COMPILED, NATIVE = "compiled for tiles", "in TT-NN's ops"
LABELS = {"hifi4": "HiFi4", "hifi3": "HiFi3", "hifi2": "HiFi2"}


def three_ways() -> pd.DataFrame:
    """A line a board and way: what its program costs, stock's for a whole clip, the others' for a latent
    frame, with the allocator's peaks in a stream, in which a state is let go where it is used up."""
    compiled = pd.DataFrame(stored("video_vaes")["rows"]).set_index(["model", "board", "case"]).loc["Mochi"]
    written = pd.DataFrame(stored("native")["cost"]).query("program == 'steady step'").set_index("board")
    rows = {}
    for board in written.index:
        rows[board, "stock"] = {**compiled.loc[board, "stock"], "allocator_bytes": None}
        rows[board, COMPILED] = compiled.loc[board, "compiled"].to_dict()
        rows[board, NATIVE] = written.loc[board].to_dict()
        for way, case in ((COMPILED, "for tiles"), (NATIVE, "natively")):
            rows[board, way]["allocator_bytes"] = streamed_peak(case, board)
    frames = {way: row["latent_frames"] for way, row in rows.items()}
    a_frame = {way: row["dram_bytes_moved"] / frames[way] / 1e9 for way, row in rows.items()}
    seconds = {way: least(row, way[0], frames[way]) for way, row in rows.items()}
    table = figures(rows, "ops", "peak, GB", ALLOCATED)
    table.insert(1, "GB a latent frame", pd.Series(a_frame).round(1))
    return table.assign(**{"least s a latent frame": pd.Series(seconds)})


def streamed_peak(case: str, board: str) -> int:
    """In bytes by a mocked board's allocator, in a stream at 480×848 whose every step passes."""
    steps = stored("full_resolution")[case][f"{board}-ttnn"]
    assert all(step["status"] == "pass" for step in steps)
    return max(step["allocator_peak_dram_bytes"] for step in steps)


def bytes_by_kind() -> pd.DataFrame:
    """GB a latent frame of a steady step at 480×848 by kind of op: on a board, and of operands read once."""
    table = {}
    for row in stored("native")["cost"]:
        if row["program"] == "steady step":
            table[row["board"]], table["each once"] = row["bytes_by_kind"], row["once_by_kind"]
            frames = row["latent_frames"]
    found = pd.DataFrame(table).rename(index=lambda name: name.split(".")[-1])
    return pd.concat([found, found.sum().to_frame("all").T]).div(1e9 * frames)


def clip_table() -> pd.DataFrame:
    """The demo clip on each simulated chip, compiled and native: closeness to stock in float64, and what the
    simulation takes of the host."""
    labels = {"for tiles": COMPILED, "native": f"{NATIVE}, HiFi3"}
    labels |= {f"native, {label}": f"{NATIVE}, {label}" for label in ("HiFi4", "HiFi2")}
    rows = [row for row in stored("demo_clips")["rows"] if row["model"] == "demo" and row["case"] in labels]
    table = {(row["chip"], labels[row["case"]]): closeness(row) for row in rows}
    return pd.DataFrame.from_dict(table, orient="index").sort_index()


def closeness(row: dict) -> dict:
    return {
        "PSNR min": round(min(row["psnr_db"]), 1), "PSNR mean": round(mean(row["psnr_db"]), 1),
        "max abs": round(row["max_abs"], 4), "ops": sum(row["ops"]),
        "GB of the host": round(row["memory_bytes"] / 1e9, 1),
    }  # fmt: skip
