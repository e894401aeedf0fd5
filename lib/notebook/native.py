"""Mochi's decoder three ways, at 480×848: stock, compiled for tiles, written in TT-NN's ops; stored figures, side by side."""

from types import SimpleNamespace

import pandas as pd

from lib.notebook.stored import RESULTS, stored
from lib.programs.cost import roofline
from lib.targets.boards import BOARDS

FRAMES = RESULTS / "native.safetensors"
CASES = {"stock": ("stock", "a whole clip"), "compiled for tiles": ("steady", "one latent frame")}


def three_ways() -> pd.DataFrame:
    """A row a board and way: ops of its program; GB a latent frame, peak and least seconds by what binds them."""
    compiled = pd.DataFrame(stored("video_vaes")["rows"]).query("model == 'Mochi'").set_index(["board", "case"])
    native = stored("native")
    written = pd.DataFrame(native["cost"]).query("program == 'steady step'").set_index("board")
    peaks = pd.DataFrame(native["mocked"]).groupby("board")["peak_dram_bytes"].max()
    table = {}
    for board in ("n150", "p150"):
        for name, (case, program) in CASES.items():
            row = compiled.loc[board, case]
            table[board, name] = figures(row, board, program, row["latent_frames"], row["allocator_bytes"])
        table[board, "in TT-NN's ops"] = figures(written.loc[board], board, "one latent frame", 1, peaks[board])
    return pd.DataFrame.from_dict(table, orient="index")


def figures(row: pd.Series, board: str, program: str, latent_frames: int, allocated: float) -> dict:
    cost = SimpleNamespace(**{name: int(row[name]) for name in ("flops", "dram_bytes_moved", "launches")})
    line = roofline(cost, BOARDS[board])
    return {
        "a program for": program,
        "ops": int(row["ops"]),
        "GB a latent frame": round(cost.dram_bytes_moved / latent_frames / 1e9, 1),
        "peak, GB": round(row["peak_dram_bytes"] / 1e9, 2),
        "by the allocator": "–" if pd.isna(allocated) else f"{allocated / 1e9:.2f}",
        "least s a latent frame": f"{line.seconds / latent_frames:.2f} ({line.binds})",
    }
