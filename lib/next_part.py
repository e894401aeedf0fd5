"""Which part next? Stored costs of the pipeline's parts on one chip, multiplied out to a clip; all seconds are estimates."""


import pandas as pd
import torch
from diffusers.models.transformers.transformer_mochi import MochiTransformer3DModel
from torch import nn

from lib.stored import stored
from ttvideo.media.pipeline_parts import BLOCKS, FULL, PASSES, STEPS, TEXT_BLOCKS, TextBlock
from ttvideo.programs.cost import roofline_of
from ttvideo.programs.hazards import ALLOCATED
from ttvideo.programs.program import ELEMENT_BYTES, TILE
from ttvideo.targets.boards import BOARDS

LATENT_FRAMES = 28
# Seconds that a test of tt_dit's hand-written pipeline allows on cards, 168 frames at 848×480 in 50 steps (tt-metal,
# models/tt_dit/tests/models/mochi/test_performance_mochi.py).
PUBLISHED = {
    "8 Wormhole": {"text encoder": 8, "transformer": 1320, "decoder": 55},
    "4 Blackhole": {"text encoder": 8, "transformer": 2600, "decoder": 90},
    "32 chips": {"text encoder": 8, "transformer": 400, "decoder": 22},
}
TYPES = {"bf16": "bf16", "bf8": "bfp_bf8", "bf4": "bfp_bf4"}


def part_rows() -> pd.DataFrame:
    """One row a part, a board and, of the encoder, a step."""
    return pd.DataFrame(stored("next_part")["rows"])


def costs(rows: pd.DataFrame) -> pd.DataFrame:
    """The parts without the encoder, by board: what one call costs."""
    rows = rows[~rows["part"].str.startswith("encoder")].set_index(["part", "board"])
    return pd.DataFrame(
        {
            "ops": rows["ops"].astype(int),
            "TFLOP": (rows["flops"] / 1e12).round(2),
            "GB moved": (rows["dram_bytes_moved"] / 1e9).round(1),
            "largest tensor, GB": (rows["largest_tensor_bytes"] / 1e9).round(2),
            "peak, GB": (rows["peak_dram_bytes"] / 1e9).round(2),
            "runs": runs(rows),
            ALLOCATED: (rows["allocator_bytes"] / 1e9).round(2),
            "weights, GB": (rows["weight_bytes"] / 1e9).round(2),
            "softmax by": [softmax_op(counts) for counts in rows["op_counts"]],
        }
    )


def runs(rows: pd.DataFrame) -> list[str]:
    """On TT-NN's mocked board: passed, or what kind of failure."""
    return ["✓" if status == "pass" else f"✗ {kind}" for status, kind in zip(rows["status"], rows["kind"])]


def softmax_op(counts: dict[str, int]) -> str:
    names = ("ttnn.scaled_dot_product_attention", "ttnn.softmax")
    found = [name for name in names if name in counts]
    return found[0] if found else "max, subtract, exp, sum, divide" if "ttnn.divide" in counts else "–"


def encoder_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """The encoder at 480×848, a row a board and step."""
    rows = rows[rows["part"] == "encoder"].astype({"step": int}).set_index(["board", "step"]).sort_index()
    return pd.DataFrame(
        {
            "frames so far": [1 + 6 * step for _, step in rows.index],
            "runs": runs(rows),
            "ops": rows["ops"].astype(int),
            "GB moved": (rows["dram_bytes_moved"] / 1e9).round(1),
            "state, GB": (rows["state_bytes"] / 1e9).round(2),
            "peak, GB": (rows["peak_dram_bytes"] / 1e9).round(2),
            ALLOCATED: (rows["allocator_bytes"] / 1e9).round(2),
        }
    )


def stock_encoder(rows: pd.DataFrame) -> pd.DataFrame:
    """diffusers' encoder on the whole clip at once, beside all steps of ours that ran; a row a board."""
    stock = rows[rows["part"] == "encoder, stock"].set_index("board")
    ours = rows[(rows["part"] == "encoder") & (rows["status"] == "pass")].groupby("board")
    return pd.DataFrame(
        {
            "stock": runs(stock),
            "ops": stock["ops"].astype(int),
            "GB moved": (stock["dram_bytes_moved"] / 1e9).round(1),
            "largest tensor, GB": (stock["largest_tensor_bytes"] / 1e9).round(2),
            "peak, GB": (stock["peak_dram_bytes"] / 1e9).round(2),
            "our steps that run": ours.size(),
            "their GB moved": (ours["dram_bytes_moved"].sum() / 1e9).round(1),
            "their peak, GB": (ours["peak_dram_bytes"].max() / 1e9).round(2),
        }
    )


def seconds_a_clip(rows: pd.DataFrame) -> pd.DataFrame:
    """Estimate: roofline seconds of each part for 163 frames at 480×848 on one chip, were its memory enough.

    Text: two prompts. Transformer: 64 steps, with the prompt and without. The encoder, which making a video from a text
    doesn't need: by the p150's programs, for the n150's end before the clip does.
    """
    decoder = pd.DataFrame(stored("video_vaes")["rows"]).set_index(["model", "board", "case"])
    table = {}
    for board in ("n150", "p150"):
        found = {row["part"]: row for row in rows.to_dict("records") if row["board"] == board}
        call = {part: least_seconds(row, board) for part, row in found.items()}
        steps = rows[(rows["part"] == "encoder") & (rows["board"] == "p150")].sort_values("step").to_dict("records")
        encoder = [least_seconds(row, board) for row in steps]
        ends = call["before"] + call["after"]
        table[board] = {
            "text encoder": call["text block"] * TEXT_BLOCKS * PASSES,
            "transformer": (call["block, in chunks"] * BLOCKS + ends) * STEPS * PASSES,
            "transformer, by arithmetic alone": arithmetic(found, board),
            "decoder": least_seconds(decoder.loc[("Mochi", board, "steady")], board) * LATENT_FRAMES,
            "encoder (not for text to video)": sum(encoder),
        }
    return pd.DataFrame(table)


def arithmetic(found: dict, board: str) -> float:
    """Estimate: what is left of the transformer's seconds if its scores never reach DRAM."""
    flops = found["block, in chunks"]["flops"] * BLOCKS + found["before"]["flops"] + found["after"]["flops"]
    return flops * STEPS * PASSES / (BOARDS[board].chip.bf16_tflops * 1e12)


def least_seconds(row, board: str) -> float:
    return roofline_of(row["flops"], row["dram_bytes_moved"], int(row["launches"]), BOARDS[board]).seconds


def weight_shapes() -> dict[str, list[tuple[int, ...]]]:
    """Of the whole transformer and of T5-XXL's encoder with its embedding: shapes alone, no memory."""
    with torch.device("meta"):
        transformer = MochiTransformer3DModel()
        block, embedding = TextBlock(FULL.t5, FULL.t5_heads, FULL.t5_inner), nn.Embedding(32128, FULL.t5)
    text = [tuple(p.shape) for p in block.parameters()] * TEXT_BLOCKS
    return {
        "transformer": [tuple(p.shape) for p in transformer.parameters()],
        "text encoder": text + [tuple(p.shape) for p in embedding.parameters()],
    }


def stored_bytes(shapes: list[tuple[int, ...]], dtype: str) -> int:
    """In tiles of 32 × 32: 2,048 bytes each in bf16, 1,088 in bf8, 576 in bf4; single rows stay bf16."""
    total = 0
    for shape in shapes:
        *outer, rows, columns = (1, 1, *shape)
        tiles = -(-rows // TILE) * -(-columns // TILE) * torch.Size(outer).numel()
        total += int(tiles * TILE * TILE * ELEMENT_BYTES[TYPES[dtype] if rows > 1 else "bf16"])
    return total


def what_fits(peak_bytes: int) -> pd.DataFrame:
    """Weights in each type, and the boards whose DRAM holds the transformer's, split evenly, with a block's activations."""
    table = {}
    for part, shapes in weight_shapes().items():
        for dtype in TYPES:
            size = stored_bytes(shapes, dtype)
            row = {
                "parameters, G": round(sum(torch.Size(s).numel() for s in shapes) / 1e9, 2),
                "GB": round(size / 1e9, 2),
            }
            for name, board in BOARDS.items():
                room = board.chip.dram_bytes - (peak_bytes if part == "transformer" else 0)
                row[name] = "✓" if size <= room * board.chips else "–"
            table[part, dtype] = row
    return pd.DataFrame.from_dict(table, orient="index")
