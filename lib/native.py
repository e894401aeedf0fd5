"""Mochi's decoder three ways: stock, compiled for tiles, written in TT-NN's ops; stored figures and frames,
side by side."""

import pandas as pd
import torch
from safetensors.torch import load_file

from lib.silicon_frames import stored_frames
from lib.stored import RESULTS, stored
from lib.tables import figures, least
from ttvideo.programs.hazards import ALLOCATED

COMPILED, NATIVE = "compiled for tiles", "in TT-NN's ops"
LABELS = {"hifi4": "HiFi4", "hifi3": "HiFi3", "hifi2": "HiFi2"}
FRAMES = RESULTS / "native.safetensors"


def three_ways() -> pd.DataFrame:
    """A line a board and way: what its program costs, stock's for a whole clip, the others' for a latent
    frame.

    The allocator's peaks are those of a stream, in which a state is let go where it is used up.
    """
    compiled = pd.DataFrame(stored("video_vaes")["rows"]).set_index(["model", "board", "case"]).loc["Mochi"]
    native, streams = stored("native"), stored("full_resolution")["steps"]
    written = pd.DataFrame(native["cost"]).query("program == 'steady step'").set_index("board")
    peaks = pd.DataFrame(native["mocked"]).groupby("board")["peak_dram_bytes"].max()
    rows = {}
    for board in written.index:
        streamed = max(step["allocator_peak_dram_bytes"] for step in streams[f"{board}-ttnn"])
        rows[board, "stock"] = {**compiled.loc[board, "stock"], "allocator_bytes": None}
        rows[board, COMPILED] = {**compiled.loc[board, "steady"], "allocator_bytes": streamed}
        rows[board, NATIVE] = {**written.loc[board], "allocator_bytes": peaks[board], "latent_frames": 1}
    frames = {way: row["latent_frames"] for way, row in rows.items()}
    a_frame = {way: row["dram_bytes_moved"] / frames[way] / 1e9 for way, row in rows.items()}
    seconds = {way: least(row, way[0], frames[way]) for way, row in rows.items()}
    table = figures(rows, "ops", "peak, GB", ALLOCATED)
    table.insert(1, "GB a latent frame", pd.Series(a_frame).round(1))
    return table.assign(**{"least s a latent frame": pd.Series(seconds)})


def bytes_by_kind() -> pd.DataFrame:
    """GB of a steady step at 480×848 by kind of op, on each board; beside it what reading each operand once
    would move."""
    table = {}
    for row in stored("native")["cost"]:
        if row["program"] == "steady step":
            table[row["board"]], table["each once"] = row["bytes_by_kind"], row["once_by_kind"]
    found = pd.DataFrame(table).rename(index=lambda name: name.split(".")[-1])
    return pd.concat([found, found.sum().to_frame("all").T]).div(1e9)


def clip_table() -> pd.DataFrame:
    """The demo clip on each simulated chip, compiled and native: closeness to stock in float64, and the
    simulation's cost."""
    table = {(row["chip"], COMPILED): closeness(row) for row in stored_frames()[0]}
    for row in stored("native")["frames"]:
        table[row["chip"], f"{NATIVE}, {LABELS[row['fidelity']]}"] = closeness(row)
    return pd.DataFrame.from_dict(table, orient="index").sort_index()


def closeness(row: dict) -> dict:
    psnr = row["psnr_db"]
    return {
        "PSNR min": round(min(psnr), 1), "PSNR mean": round(sum(psnr) / len(psnr), 1),
        "max abs": round(row["max_abs"], 4), "ops": sum(row["ops"]), "s simulated": round(row["seconds"]),
        "GB of the host": round(row["memory_bytes"] / 1e9, 1),
    }  # fmt: skip


def native_frames() -> dict[str, torch.Tensor]:
    """The demo clip's frames, [1, 3, T, H, W] in bf16, as each simulated chip gave them."""
    return load_file(FRAMES)
