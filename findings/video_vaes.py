"""What each family's decoder costs at its pipeline's default size, on both boards, stock and for tiles.

    python -m findings video_vaes [--models Wan 2.1;…] [--boards n150,p150] [--cases stock;first;steady;last] [--lane ttnn]

Random weights in bf16, the published architecture. "stock" is diffusers' autoencoder on the whole clip, as the pipeline
gives it, without tiling; "first" and "steady" are the programs of a stream, "last" the one that ends a clip whose frames come
late. A stream's are compiled for the board and executed op by op on TT-NN's mocked one, which --lane compile leaves out; stock
is compiled only. Rows that are in --out already are kept, unless they are of another lane.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import nn

from lib.stored import RESULTS, store
from ttvideo.basics.errors import Refused
from ttvideo.decoders.families import for_tiles
from ttvideo.media.video_models import MODELS, VideoModel, random_autoencoder
from ttvideo.probing.probe import probe

CASES = ("stock", "first", "steady", "last")
SHOWN = (
    "model",
    "board",
    "case",
    "lane",
    "status",
    "message",
    "dram_bytes_moved",
    "peak_dram_bytes",
    "allocator_bytes",
)
TIMEOUT_SECONDS = 3600


def case(name: str, vae: nn.Module, decoder: nn.Module, latents) -> tuple[nn.Module, torch.Tensor, dict]:
    """A module, its input and its keywords. Raises `Refused` for a last step where it is the steady one."""
    z = torch.zeros(latents, dtype=torch.bfloat16)
    if name == "stock":
        return vae.decode, z, {"return_dict": False}
    steps = decoder.steps(latents[2])
    if name == "first":
        return decoder, z[:, :, : steps[0]], {"ends": False}
    late = "late" in decoder.streaming
    if name == "last" and not late:
        raise Refused("case", "last", "a decoder whose frames come late")
    size = steps[-1] if name == "last" else steps[1]
    # A state that grows is largest before the last step; one of a decoder that is late is whole in a long clip.
    seen = latents[2] - size if name == "last" or not late else None
    shapes = decoder.state_shapes(1, *latents[3:], latents=seen)
    # Views of one zero: a state of gigabytes would lie in three processes at once.
    state = {key: torch.zeros((), dtype=torch.bfloat16).expand(shape) for key, shape in shapes.items()}
    return decoder, z[:, :, :size], {"state": state, "ends": name == "last"}


def measure(name: str, model: VideoModel, target: str, vae: nn.Module, decoder: nn.Module) -> dict:
    row = {"latents": list(model.latents), "streaming": decoder.streaming}
    module, z, keywords = case(name, vae, decoder, model.latents)
    verdict = probe(module, (z,), target, name=f"{model.name}, {name}", timeout=TIMEOUT_SECONDS, **keywords)
    row |= verdict.record() | {"latent_frames": z.shape[2], "op": verdict.op}
    if verdict.ttnn:
        row |= verdict.cost.record() | {"bytes_by_op": verdict.cost.bytes_by_kind()}
    if verdict.ran:
        row |= {"allocator_bytes": verdict.ran.peak_dram_bytes}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=";".join(MODELS), help="names, with ; between them")
    parser.add_argument("--boards", default="n150,p150")
    parser.add_argument("--cases", default=";".join(CASES))
    parser.add_argument("--lane", default="ttnn", choices=("ttnn", "compile"))
    parser.add_argument("--out", type=Path, default=RESULTS / "video_vaes.json")
    options = parser.parse_args()
    for model in (MODELS[name] for name in options.models.split(";")):
        vae = random_autoencoder(model).bfloat16().requires_grad_(False)
        vae.encoder = None
        decoder = for_tiles(vae)
        for name in options.cases.split(";"):
            if name == "last" and "late" not in decoder.streaming:
                continue
            for board in options.boards.split(","):
                key = {"model": model.name, "board": board, "case": name}
                rows = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
                old = [row for row in rows if {k: row[k] for k in key} == key]
                lane = "compile" if name == "stock" else options.lane
                if any(row["lane"] == lane for row in old):
                    continue
                row = key | {"lane": lane} | measure(name, model, f"{board}-{lane}", vae, decoder)
                print({k: row.get(k) for k in SHOWN}, file=sys.stderr, flush=True)
                rows = json.loads(options.out.read_text())["rows"] if options.out.exists() else []  # another's, since
                old = [{k: row[k] for k in ("model", "board", "case")} for row in old]
                rows = [r for r in rows if {k: r[k] for k in ("model", "board", "case")} not in old]
                store("video_vaes", {"rows": [*rows, row]}, options.out)


if __name__ == "__main__":
    main()
