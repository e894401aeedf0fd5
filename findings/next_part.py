"""What do the parts around Mochi's decoder cost at the pipeline's size: encoder, transformer, text encoder?

    python -m findings next_part [--lane compile] [--steps 28]

Random weights in bf16, the published widths; one block of the transformer and one of the text encoder are in
memory, never all. All are compiled for both boards and, unless --lane compile is given, run op by op on
TT-NN's mocked board; the encoder streamed at 480×848, step by step until it ends or fails, and stock's, the
whole clip at once.
"""

import sys

import torch
from diffusers import AutoencoderKLMochi

from ttvideo.decoders.mochi_encoder import TileEncoder
from ttvideo.decoders.stream import Stream
from ttvideo.media.pipeline_parts import FULL, PARTS, WHOLE_CLIP, make_part
from ttvideo.probing.probe import probe
from ttvideo.probing.verdict import Verdict

ENCODER, STOCK = "encoder", "encoder, stock"
TIMEOUT_SECONDS = 1800
MADE_WITH = ("ttnn",)
KEYS = [
    ("rows", {"part": part, "board": board})
    for part in [*PARTS, STOCK, ENCODER]
    for board in ("n150", "p150")
]


def row_of(verdict: Verdict) -> dict:
    return verdict.row() | ({"op_counts": dict(verdict.op_counts.most_common())} if verdict.ttnn else {})


def encoder_steps(board: str, lane: str, most: int) -> list[dict]:
    """The encoder on [1, 3, 163, 480, 848], a step of one latent frame at a time."""
    _, _, frames, height, width = WHOLE_CLIP
    torch.manual_seed(0)
    encoder = TileEncoder(AutoencoderKLMochi().encoder.requires_grad_(False)).bfloat16().eval()
    pieces, rows = encoder.steps(frames)[:most], []
    with Stream(encoder, f"{board}-{lane}") as stream:
        for number, count in enumerate(pieces):
            verdict = stream.step(
                torch.zeros(1, 3, count, height, width), number + 1 == len(pieces), TIMEOUT_SECONDS
            ).verdict
            shapes = encoder.state_shapes(1, height, width, number + 1).values()
            state = sum(2 * torch.Size(shape).numel() for shape in shapes)
            rows.append({"lane": lane, "step": number, "state_bytes": state} | row_of(verdict))
            print(verdict, file=sys.stderr, flush=True)
            if not verdict.passed:
                break
    return rows


def stock_encoder() -> tuple[torch.nn.Module, tuple[torch.Tensor]]:
    """diffusers' own, and the whole clip."""
    torch.manual_seed(0)
    return AutoencoderKLMochi().encoder.requires_grad_(False).bfloat16(), (
        torch.zeros(WHOLE_CLIP).bfloat16(),
    )


def measure(part: str, board: str, lane: str, steps: int) -> dict | list[dict]:
    if part == ENCODER:
        return encoder_steps(board, lane, steps)
    module, inputs = stock_encoder() if part == STOCK else make_part(part, FULL)
    verdict = probe(module, inputs, f"{board}-{lane}", name=part, timeout=TIMEOUT_SECONDS)
    return {"lane": lane} | row_of(verdict)


def make(keys, lane: str = "ttnn", steps: int = 28):
    for key in keys:
        yield key, measure(*key[-1].values(), lane, steps)
