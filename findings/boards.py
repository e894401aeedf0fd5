"""How far do the stock decoder and a step of the rewritten one get on a mocked n150 and p150, and what stops them?

    python -m findings boards [--boards n150,p150] [--shapes 1,12,3,32,32] [--cases stock] [--out FILE]

Compiled for the board and executed op by op by TT-NN on the mocked board: its op checks, its allocators, its kernel
builds. The weights are random, full size, in bf16. Rows of other cases that are in --out already stay there.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from findings.decoder_cost import case
from lib.stored import RESULTS, store
from ttvideo.media.models import load_vae
from ttvideo.probing.probe import probe
from ttvideo.programs.cost import first_run_on_ttnn
from ttvideo.ttnn.places import ttnn_version

ONE_STEP = "tiles first"  # the first latent frame, whatever the clip's length


def measure(name: str, shape: str, board: str, mochi: torch.nn.Module) -> dict:
    z = torch.zeros([int(n) for n in shape.split(",")], dtype=torch.bfloat16)
    z = z[:, :, :1] if name == ONE_STEP else z
    module, how = case(name, mochi, z)
    verdict = probe(module, (z,), f"{board}-ttnn", name=name, **how)
    row = {"case": name, "shape": shape, "board": board, "seconds": verdict.seconds} | verdict.record()
    row |= {"op": verdict.op, "location": verdict.location}
    if verdict.ttnn:
        row |= {"computed_bytes": first_run_on_ttnn(verdict.program), "dram_bytes_moved": verdict.cost.dram_bytes_moved}
    if verdict.ran:
        row |= {"allocator_bytes": verdict.ran.peak_dram_bytes, "ran_ops": verdict.ran.ops}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--boards", default="n150,p150")
    parser.add_argument("--shapes", default="1,12,14,60,106;1,12,3,32,32")
    parser.add_argument("--cases", default=f"stock;{ONE_STEP}")
    parser.add_argument("--out", type=Path, default=RESULTS / "boards.json")
    options = parser.parse_args()
    mochi = load_vae("random").decoder.to(torch.bfloat16).requires_grad_(False)
    rows = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    for name in options.cases.split(";"):
        for shape in options.shapes.split(";"):
            for board in options.boards.split(","):
                key = {"case": name, "shape": shape, "board": board}
                rows = [row for row in rows if {k: row[k] for k in key} != key]
                rows.append(measure(name, shape, board, mochi))
                print(rows[-1], file=sys.stderr, flush=True)
                store("boards", {"rows": rows}, options.out, ttnn=ttnn_version())


if __name__ == "__main__":
    main()
