"""Mochi's decoder three ways: stock, compiled for tiles, written in TT-NN's ops; stored figures and frames, side by side."""

from dataclasses import asdict

import pandas as pd
import torch
from safetensors.torch import load_file

from lib.silicon_frames import stored_frames
from lib.stored import RESULTS, stored
from ttvideo.programs.cost import roofline_of
from ttvideo.programs.hazards import ALLOCATED
from ttvideo.targets.boards import BOARDS

NATIVE, BOARDS_SHOWN = "in TT-NN's ops", ("n150", "p150")
LABELS = {"hifi4": "HiFi4", "hifi3": "HiFi3", "hifi2": "HiFi2"}
FRAMES = RESULTS / "native.safetensors"


def fidelities() -> pd.DataFrame:
    """By fidelity and board: PSNR of the demo clip and the least PCC of all kinds of block, simulated, against float64."""
    found = stored("native")
    frames = pd.DataFrame(found["frames"]).assign(board=lambda rows: rows["chip"].str.removesuffix("-ttsim"))
    psnr = frames.set_index(["fidelity", "board"])["psnr_db"]
    table = {("PSNR, mean, dB", name): psnr.map(lambda each: sum(each) / len(each)).unstack()[name] for name in BOARDS_SHOWN}
    table |= {("PSNR, min, dB", name): psnr.map(min).unstack()[name] for name in BOARDS_SHOWN}
    least = pd.DataFrame(found["blocks"]).groupby(["fidelity", "board"])["pcc"].min().unstack()
    table |= {("PCC of blocks, least", name): least[name] for name in BOARDS_SHOWN}
    return pd.DataFrame(table).loc[list(LABELS)].rename(index=LABELS)


def three_ways() -> pd.DataFrame:
    """A row a board and way: ops of its program; GB a latent frame, peak and least seconds by what binds them.

    The allocator's peaks are those of a stream, in which a state is let go where it is used up.
    """
    compiled = pd.DataFrame(stored("video_vaes")["rows"]).query("model == 'Mochi'").set_index(["board", "case"])
    native = stored("native")
    written = pd.DataFrame(native["cost"]).query("program == 'steady step'").set_index("board")
    peaks = pd.DataFrame(native["mocked"]).groupby("board")["peak_dram_bytes"].max()
    streams = stored("full_resolution")["steps"]
    table = {}
    for board in BOARDS_SHOWN:
        streamed = max(step["allocator_peak_dram_bytes"] for step in streams[f"{board}-ttnn"])
        stock, steady = compiled.loc[board, "stock"], compiled.loc[board, "steady"]
        table[board, "stock"] = figures(stock, board, "a whole clip", stock["latent_frames"], None)
        table[board, "compiled for tiles"] = figures(steady, board, "one latent frame", 1, streamed)
        table[board, NATIVE] = figures(written.loc[board], board, "one latent frame", 1, peaks[board])
    return pd.DataFrame.from_dict(table, orient="index")


def bytes_by_kind() -> pd.DataFrame:
    """GB of a steady step at 480×848 by kind of op, on each board; beside it what reading each operand once would move."""
    table = {}
    for row in stored("native")["cost"]:
        if row["program"] == "steady step":
            table[row["board"]], table["each once"] = row["bytes_by_kind"], row["once_by_kind"]
    found = pd.DataFrame(table).rename(index=lambda name: name.removeprefix("ttnn.").removeprefix("generic_op."))
    return pd.concat([found, found.sum().to_frame("all").T]).div(1e9)


def clip_table() -> pd.DataFrame:
    """The demo clip on each simulated chip, compiled and native: closeness to stock in float64, and the simulation's cost."""
    table = {(row.chip, "compiled for tiles"): closeness(asdict(row)) for row in stored_frames()[0]}
    for row in stored("native")["frames"]:
        table[row["chip"], f"{NATIVE}, {LABELS[row['fidelity']]}"] = closeness(row)
    return pd.DataFrame.from_dict(table, orient="index").sort_index()


def closeness(row: dict) -> dict:
    psnr = row["psnr_db"]
    return {
        "PSNR min": round(min(psnr), 1), "PSNR mean": round(sum(psnr) / len(psnr), 1), "max abs": round(row["max_abs"], 4),
        "ops": sum(row["ops"]), "s simulated": round(row["seconds"]), "GB of the host": round(row["memory_bytes"] / 1e9, 1),
    }  # fmt: skip


def native_frames() -> dict[str, torch.Tensor]:
    """The demo clip's frames, [1, 3, T, H, W] in bf16, as each simulated chip gave them."""
    return load_file(FRAMES)


def figures(row: pd.Series, board: str, program: str, latent_frames: int, allocated: float | None) -> dict:
    arithmetic = row.get("hifi4_flops", row["flops"])  # the compiler asks for HiFi4 throughout
    line = roofline_of(arithmetic, row["dram_bytes_moved"], int(row["launches"]), BOARDS[board])
    return {
        "a program for": program,
        "ops": int(row["ops"]),
        "GB a latent frame": round(row["dram_bytes_moved"] / latent_frames / 1e9, 1),
        "peak, GB": round(row["peak_dram_bytes"] / 1e9, 2),
        ALLOCATED: "–" if allocated is None else f"{allocated / 1e9:.2f}",
        "least s a latent frame": f"{line.seconds / latent_frames:.2f} ({line.binds})",
    }
