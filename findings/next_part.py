"""What the parts around Mochi's decoder cost at the pipeline's size: encoder, transformer, text encoder; both boards.

    python -m findings next_part [--parts encoder;block;…] [--boards n150,p150] [--steps 28]

Random weights in bf16, the published widths; one block of the transformer and one of the text encoder are in memory, never
all. All are compiled and, unless --lane compile is given, run op by op on TT-NN's mocked board; the encoder streamed at 480×848,
step by step until it ends or fails, and stock's, the whole clip at once. Rows that are in the stored result already are kept.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKLMochi

from lib.stored import RESULTS, store
from ttvideo.decoders.families import for_tiles
from ttvideo.decoders.stream import Stream
from ttvideo.media.pipeline_parts import FULL, PARTS, WHOLE_CLIP, make_part
from ttvideo.probing.probe import probe
from ttvideo.probing.verdict import Verdict

ENCODER, STOCK = "encoder", "encoder, stock"
TIMEOUT_SECONDS = 1800


def row_of(verdict: Verdict) -> dict:
    row = verdict.record() | {"op": verdict.op}
    if verdict.ttnn:
        row |= verdict.cost.record() | {
            "bytes_by_op": verdict.cost.bytes_by_kind(),
            "weight_bytes": verdict.cost.weight_bytes,
        }
        row |= {"op_counts": dict(verdict.op_counts.most_common())}
    if verdict.ran:
        row |= {"allocator_bytes": verdict.ran.peak_dram_bytes}
    return row


def add(path: Path, rows: list[dict]) -> None:
    found = json.loads(path.read_text())["rows"] if path.exists() else []
    keys = [(row["part"], row["board"], row.get("step")) for row in rows]
    kept = [row for row in found if (row["part"], row["board"], row.get("step")) not in keys]
    store("next_part", {"rows": kept + rows}, path)


def encoder_steps(board: str, lane: str, most: int, path: Path) -> None:
    """The encoder on [1, 3, 163, 480, 848], a step of one latent frame at a time."""
    _, _, frames, height, width = WHOLE_CLIP
    torch.manual_seed(0)
    encoder = for_tiles(AutoencoderKLMochi().encoder.requires_grad_(False)).bfloat16()
    pieces = encoder.steps(frames)[:most]
    with Stream(encoder, f"{board}-{lane}") as stream:
        for number, count in enumerate(pieces):
            verdict = stream.step(
                torch.zeros(1, 3, count, height, width), number + 1 == len(pieces), TIMEOUT_SECONDS
            ).verdict
            shapes = encoder.state_shapes(1, height, width, number + 1).values()
            state = sum(2 * torch.Size(shape).numel() for shape in shapes)
            row = {"part": ENCODER, "board": board, "lane": lane, "step": number, "state_bytes": state} | row_of(
                verdict
            )
            print(
                verdict,
                {k: row.get(k) for k in ("ops", "peak_dram_bytes", "allocator_bytes")},
                file=sys.stderr,
                flush=True,
            )
            add(path, [row])
            if not verdict.passed:
                return


def stock_encoder() -> tuple[torch.nn.Module, tuple[torch.Tensor]]:
    """diffusers' own, and the whole clip."""
    torch.manual_seed(0)
    return AutoencoderKLMochi().encoder.requires_grad_(False).bfloat16(), (torch.zeros(WHOLE_CLIP).bfloat16(),)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=";".join([*PARTS, STOCK, ENCODER]), help="names, with ; between them")
    parser.add_argument("--boards", default="n150,p150")
    parser.add_argument("--lane", default="ttnn", choices=("ttnn", "compile"))
    parser.add_argument("--steps", type=int, default=28, help="the encoder's, at most")
    parser.add_argument("--out", type=Path, default=RESULTS / "next_part.json")
    options = parser.parse_args()
    for part in options.parts.split(";"):
        for board in options.boards.split(","):
            if part == ENCODER:
                encoder_steps(board, options.lane, options.steps, options.out)
                continue
            module, inputs = stock_encoder() if part == STOCK else make_part(part, FULL)
            verdict = probe(module, inputs, f"{board}-{options.lane}", name=part, timeout=TIMEOUT_SECONDS)
            row = {"part": part, "board": board, "lane": options.lane} | row_of(verdict)
            print(
                verdict,
                {k: row.get(k) for k in ("ops", "peak_dram_bytes", "allocator_bytes", "largest_tensor_bytes")},
                file=sys.stderr,
                flush=True,
            )
            add(options.out, [row])


if __name__ == "__main__":
    main()
