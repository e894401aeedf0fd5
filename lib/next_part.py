"""Which part next? Stored costs of the pipeline's parts on one chip, multiplied out to a clip; all seconds
are estimates."""

import pandas as pd
import torch
from diffusers import AutoencoderKLMochi, WanTransformer3DModel
from diffusers.models.transformers.transformer_mochi import MochiTransformer3DModel, MochiTransformerBlock
from torch import nn

from lib.stored import stored
from lib.tables import figures, outcomes, roofline_row
from ttvideo.decoders.native import NativeDecoder
from ttvideo.media.pipeline_parts import BLOCKS, FULL, PASSES, STEPS, TEXT_BLOCKS, Block, TextBlock
from ttvideo.media.products import products_of
from ttvideo.media.video_models import MODELS
from ttvideo.programs.hazards import ALLOCATED
from ttvideo.programs.seconds import expected_program
from ttvideo.programs.seconds.work import stored_bytes
from ttvideo.targets.boards import BOARDS

SOME_STEPS, WAN = (4, 8, 20, 40, 64), "Wan 2.1"
# Seconds that a test of tt_dit's hand-written pipeline allows on cards, 168 frames at 848×480 in 50 steps
# (tt-metal, models/tt_dit/tests/models/mochi/test_performance_mochi.py).
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
    """The parts without the encoder, by board: what a call costs, and whether it runs on TT-NN's mocked
    board."""
    rows = rows[~rows["part"].str.startswith("encoder")].set_index(["part", "board"])
    memory = ("largest tensor, GB", "peak, GB", ALLOCATED, "weights, GB")
    table = figures(rows, "ops", "TFLOP", "GB moved", *memory)
    table.insert(5, "runs", outcomes(rows))
    return table.assign(**{"softmax by": [softmax_op(counts) for counts in rows["op_counts"]]})


def softmax_op(counts: dict[str, int]) -> str:
    found = [name for name in ("ttnn.scaled_dot_product_attention", "ttnn.softmax") if name in counts]
    return found[0] if found else "max, subtract, exp, sum, divide" if "ttnn.divide" in counts else "–"


def encoder_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """The encoder at 480×848, a row a board and step."""
    rows = rows[rows["part"] == "encoder"].astype({"step": int}).set_index(["board", "step"]).sort_index()
    first = {"frames so far": [1 + 6 * step for _, step in rows.index], "runs": outcomes(rows)}
    table = figures(rows, "ops", "GB moved", "state, GB", "peak, GB", ALLOCATED)
    return pd.concat([pd.DataFrame(first, rows.index), table], axis=1)


def stock_encoder(rows: pd.DataFrame) -> pd.DataFrame:
    """diffusers' encoder on the whole clip at once, beside all steps of ours that ran; a row a board."""
    stock = rows[rows["part"] == "encoder, stock"].set_index("board")
    ours = rows[(rows["part"] == "encoder") & (rows["status"] == "pass")].groupby("board")
    table = figures(stock, "ops", "GB moved", "largest tensor, GB", "peak, GB")
    table.insert(0, "stock", outcomes(stock))
    summed = ours.agg({"dram_bytes_moved": "sum", "peak_dram_bytes": "max"})
    theirs = figures(summed, "GB moved", "peak, GB").add_prefix("their ")
    return table.assign(**{"our steps that run": ours.size()}).join(theirs)


def seconds_a_clip(rows: pd.DataFrame) -> pd.DataFrame:
    """Estimate: roofline seconds of each part for 163 frames at 480×848 on one chip, were its memory enough.

    Text: two prompts. Transformer: 64 steps, with the prompt and without. The encoder, which making a video
    from a text doesn't need: by the p150's programs, for the n150's end before the clip does.
    """
    decoder = pd.DataFrame(stored("video_vaes")["rows"]).set_index(["model", "board", "case"])
    table = {}
    for board in ("n150", "p150"):
        found = {row["part"]: row for row in rows.to_dict("records") if row["board"] == board}
        call = {part: roofline_row(row, board).seconds for part, row in found.items()}
        steps = rows[(rows["part"] == "encoder") & (rows["board"] == "p150")].to_dict("records")
        ends = call["before"] + call["after"]
        step = roofline_row(decoder.loc[("Mochi", board, "compiled")], board)
        table[board] = {
            "text encoder": call["text block"] * TEXT_BLOCKS * PASSES,
            "transformer": (call["block, in chunks"] * BLOCKS + ends) * STEPS * PASSES,
            "transformer, by arithmetic alone": arithmetic(found, board),
            "decoder": step.seconds * FULL.latents[0],
            "encoder (not for text to video)": sum(roofline_row(row, board).seconds for row in steps),
        }
    return pd.DataFrame(table)


def arithmetic(found: dict, board: str) -> float:
    """Estimate: what is left of the transformer's seconds if its scores never reach DRAM."""
    flops = found["block, in chunks"]["flops"] * BLOCKS + found["before"]["flops"] + found["after"]["flops"]
    return flops * STEPS * PASSES / (BOARDS[board].chip.bf16_tflops * 1e12)


def a_pass(board: str) -> dict[str, float]:
    """Expected seconds of one pass of the transformer, for the pipeline's default clip."""
    with torch.device("meta"):
        mochi = Block(MochiTransformerBlock(FULL.width, FULL.heads, FULL.head, FULL.text), "fused")
        angles = torch.empty(FULL.visual, FULL.heads, FULL.head // 2)
        inputs = torch.empty(1, FULL.visual, FULL.width), torch.empty(1, FULL.tokens, FULL.text)
        found = {"Mochi": (products_of(mochi, *inputs, torch.empty(1, FULL.width), angles, angles), BLOCKS)}
        wan = WanTransformer3DModel(num_attention_heads=12, ffn_dim=8960, num_layers=30)
        inputs = torch.empty(MODELS[WAN].latents), torch.empty(1), torch.empty(1, 512, 4096)
        found[WAN] = products_of(wan, *inputs), 1
    return {model: times * products.expected_seconds(board) for model, (products, times) in found.items()}


def decoder_seconds(board: str) -> dict[tuple[str, str], float]:
    """Expected seconds of decoding the pipeline's default clip on one chip, by its steady step."""
    compiled = pd.DataFrame(stored("video_vaes")["rows"]).set_index(["model", "board", "case"])
    found = {}
    for model in ("Mochi", WAN):
        row = compiled.loc[model, board, "compiled"]
        steps = MODELS[model].latents[2] / row["latent_frames"]
        found[model, "compiled"] = row["expected"]["seconds"] * steps
    with torch.device("meta"):
        step = NativeDecoder(AutoencoderKLMochi()).step((1, *FULL.latents[1:]), False, board).program
    return found | {("Mochi", "in TT-NN's ops"): expected_program(step).seconds * FULL.latents[0]}


def decoder_share(board: str = "p150") -> pd.DataFrame:
    """The decoder's share of a clip's expected seconds, over steps; without guidance, and with it, which
    takes two passes."""
    passes, decoders = a_pass(board), decoder_seconds(board)
    table = {
        (model, way, guided): [whole / (whole + n * times * passes[model]) for n in SOME_STEPS]
        for (model, way), whole in decoders.items()
        for times, guided in ((1, "one pass a step"), (PASSES, "two passes"))
    }
    return pd.DataFrame(table, pd.Index(SOME_STEPS, name="steps"))


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


def in_tiles(shapes: list[tuple[int, ...]], dtype: str) -> int:
    """Bytes in tiles of 32 × 32: 2,048 each in bf16, 1,088 in bf8, 576 in bf4; single rows stay bf16."""
    types = (TYPES[dtype if (1, *shape)[-2] > 1 else "bf16"] for shape in shapes)
    return int(sum(stored_bytes(shape, kind, "tile") for shape, kind in zip(shapes, types)))


def what_fits(peak_bytes: int) -> pd.DataFrame:
    """Weights in each type, and the boards whose DRAM holds the transformer's, split evenly, with a block's
    activations."""
    table = {}
    for part, shapes in weight_shapes().items():
        for dtype in TYPES:
            size = in_tiles(shapes, dtype)
            numbers = sum(torch.Size(s).numel() for s in shapes)
            row = {"parameters, G": round(numbers / 1e9, 2), "GB": round(size / 1e9, 2)}
            for name, board in BOARDS.items():
                room = board.chip.dram_bytes - (peak_bytes if part == "transformer" else 0)
                row[name] = size <= room * board.chips
            table[part, dtype] = row
    return pd.DataFrame.from_dict(table, orient="index")
