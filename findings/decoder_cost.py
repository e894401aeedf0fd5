"""What the Mochi decoder costs on a chip, as compiled: stock, with upstream's rewrites, and rewritten for tiles.

    python -m findings decoder_cost [--target p150-compile] [--shape 1,12,1,60,106] [--cases stock,tiles] [--out FILE]

Without --shape and --cases: what 03_full_decoder shows, stored in findings/results. For each case, DRAM moved, operations,
peak, largest tensor and FLOPs a run, read off the compiled program (see `ttvideo.programs.cost`). "tiles" is the steady step of a
stream, which takes the state of the step before and returns its own; "tiles first" the first step, which has none;
"tiles without …" the steady step with one rewrite off, "tiles, pairs at the last size" with pairs there alone. "stock" and "upstream" decode the clip in one call. The weights
are random, full size, bf16. `--cpu` measures the small decoder on the host instead: streaming against stock, seconds
and their ratio, in turns.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn

from lib.stored import store
from ttvideo.basics.errors import Refused
from ttvideo.decoders.mochi import Rewrites, TileDecoder
from ttvideo.decoders.steps import decode_steps
from ttvideo.decoders.upstream import upstream_decoder
from ttvideo.media.models import load_vae
from ttvideo.probing.probe import probe
from ttvideo.programs.cost import in_turn
from ttvideo.targets.boards import BOARDS

REWRITES = [field.name for field in dataclasses.fields(Rewrites)]
FULL_RESOLUTION, ANALYSIS = "1,12,1,60,106", "1,12,3,32,32"
LAST_PAIRS = "tiles, pairs at the last size"
CASES = ["stock", "upstream", "tiles first", "tiles", LAST_PAIRS, *(f"tiles without {name}" for name in REWRITES)]


def case(name: str, mochi: nn.Module, z_bcthw: torch.Tensor) -> tuple[nn.Module, dict]:
    """The module to compile, and what else `probe` takes: its state, or that its frames alone are wanted."""
    if not name.startswith("tiles"):
        return mochi if name == "stock" else upstream_decoder(mochi), {"result": 0}
    off = name.removeprefix("tiles without ")
    changed = {"pairs": 1} if name == LAST_PAIRS else {off: 0} if off in REWRITES else {}
    decoder = TileDecoder(mochi, Rewrites(**changed))
    if name == "tiles first":
        return decoder, {}
    batch, _, _, height, width = z_bcthw.shape
    shapes = decoder.state_shapes(batch, height, width)
    return decoder, {"state": {key: torch.zeros(shape, dtype=z_bcthw.dtype) for key, shape in shapes.items()}}


def compiled(cases: list[str], shape: str, target: str) -> dict:
    mochi = load_vae("random").decoder.to(torch.bfloat16).requires_grad_(False)
    z = torch.randn([int(n) for n in shape.split(",")]).to(torch.bfloat16)
    rows = {}
    for name in cases:
        module, how = case(name, mochi, z)
        verdict = probe(module, (z,), target, name=name, **how)
        row = verdict.record()
        if verdict.ttnn:
            row |= verdict.cost.record() | {"bytes_by_op": verdict.cost.bytes_by_kind()}
            row |= {"seconds_in_turn": {board: in_turn(verdict.cost, BOARDS[board]) for board in ("n150", "p150")}}
        rows[name] = row
        print(f"{name}: {row.get('dram_bytes_moved', 0) / 1e9:.1f} GB moved, {row['status']}", file=sys.stderr)
    return {"shape": shape, "target": target, "cases": rows}


@torch.inference_mode()
def on_the_host(repeats: int) -> dict:
    """Seconds of the small decoder on [1, 12, 3, 16, 16], stock and streamed in turns; the medians' ratio."""
    mochi = load_vae("small").decoder
    decoder, z = TileDecoder(mochi), torch.randn(1, 12, 3, 16, 16)
    runs = {"stock": lambda: mochi(z), "streamed": lambda: list(decode_steps(decoder, z))}
    wall, cpu = {name: [] for name in runs}, {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            started = time.perf_counter(), time.process_time()
            run()
            if repeat:  # the first round warms up
                wall[name].append(time.perf_counter() - started[0])
                cpu[name].append(time.process_time() - started[1])
    median = statistics.median
    row = {name: {"seconds": median(wall[name]), "cpu_seconds": median(cpu[name])} for name in runs}
    ratio = {unit: row["streamed"][unit] / row["stock"][unit] for unit in ("seconds", "cpu_seconds")}
    return {"shape": list(z.shape), "threads": torch.get_num_threads(), **row, "ratio": ratio}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--target", default="p150-compile")
    parser.add_argument("--shape", help="of the latents, B,C,T,H,W")
    parser.add_argument("--cases", help="of: " + ", ".join(CASES))
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cases = options.cases.split(",") if options.cases else CASES
    if unknown := [name for name in cases if name not in CASES]:
        parser.error(f"no case {unknown[0]!r}; there are {', '.join(CASES)}")
    try:
        if options.cpu:
            result = on_the_host(options.repeats)
        elif options.shape or options.cases:
            result = compiled(cases, options.shape or FULL_RESOLUTION, options.target)
        else:
            result = {
                "step": compiled(CASES, FULL_RESOLUTION, options.target),
                "clip": compiled(["stock", "upstream", "tiles first"], ANALYSIS, options.target),
            }
            store("decoder_cost", result, options.out)
            return 0
    except (Refused, ValueError) as error:
        parser.error(str(error))
    text = json.dumps(result, indent=1)
    options.out.write_text(text + "\n") if options.out else print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
