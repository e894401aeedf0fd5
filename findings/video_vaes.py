"""What each family's decoder costs at its pipeline's default size, on both boards, stock and for tiles.

    python -m findings video_vaes [--models Wan 2.1;…] [--boards n150,p150] [--cases stock;first;steady] [--out FILE]

Random weights in bf16, the published architecture. "stock" is diffusers' decoder on the whole clip, as the pipeline gives it
to the decoder, without tiling; "first" and "steady" are the two programs of a stream. Rows already in --out are kept.
"""

import argparse
import json
import sys
from pathlib import Path

import diffusers
import torch
from torch import nn

from lib.basics.errors import Refused
from lib.decoders.families import for_tiles
from lib.media.video_models import MODELS, VideoModel
from lib.notebook.stored import RESULTS, store
from lib.probing.probe import probe

CASES = ("stock", "first", "steady")
TIMEOUT_SECONDS = 3600


class Step(nn.Module):
    """A step of a streaming decoder as a function of tensors alone: latents, then the state's values in their order."""

    def __init__(self, decoder: nn.Module, names=()):
        super().__init__()
        self.decoder, self.names = decoder, list(names)

    def forward(self, z_bcthw, *state):
        return self.decoder(z_bcthw, dict(zip(self.names, state, strict=True)) or None, ends=False)


class Whole(nn.Module):
    """The stock autoencoder's decoder, on a whole clip."""

    def __init__(self, vae: nn.Module):
        super().__init__()
        self.vae = vae

    def forward(self, z_bcthw):
        return self.vae.decode(z_bcthw, return_dict=False)[0]


def case(name: str, vae: nn.Module, model: VideoModel) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    z = torch.zeros(model.latents, dtype=torch.bfloat16)
    if name == "stock":
        return Whole(vae), (z,)
    decoder = for_tiles(vae)
    if name == "first":
        return Step(decoder), (z[:, :, : model.first_step],)
    grows = {"seen": model.latents[2] - model.step} if model.state_grows else {}  # the last step's is the largest
    shapes = decoder.state_shapes(1, *model.latents[3:], **grows)
    state = (torch.zeros(shape, dtype=torch.bfloat16) for shape in shapes.values())
    return Step(decoder, shapes), (z[:, :, : model.step], *state)


def measure(name: str, model: VideoModel, board: str, vae: nn.Module) -> dict:
    row = {"model": model.name, "board": board, "case": name, "latents": list(model.latents)}
    try:
        module, inputs = case(name, vae, model)
    except Refused as refused:
        return row | {"status": "refused", "message": str(refused)}
    verdict = probe(module, inputs, f"{board}-compile", name=f"{model.name}, {name}", timeout=TIMEOUT_SECONDS)
    row |= verdict.record() | {"latent_frames": inputs[0].shape[2]}
    if verdict.ttnn:
        row |= verdict.cost.record() | {"bytes_by_op": verdict.cost.bytes_by_kind()}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=";".join(MODELS), help="names, with ; between them")
    parser.add_argument("--boards", default="n150,p150")
    parser.add_argument("--cases", default=";".join(CASES))
    parser.add_argument("--out", type=Path, default=RESULTS / "video_vaes.json")
    options = parser.parse_args()
    rows = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    for model in (MODELS[name] for name in options.models.split(";")):
        vae = getattr(diffusers, model.autoencoder)(**model.config)
        vae = vae.to(torch.bfloat16).eval().requires_grad_(False)
        vae.encoder = None
        for board in options.boards.split(","):
            for name in options.cases.split(";"):
                key = {"model": model.name, "board": board, "case": name}
                if any({k: row[k] for k in key} == key and row["status"] == "pass" for row in rows):
                    continue
                rows = [row for row in rows if {k: row[k] for k in key} != key]
                rows.append(measure(name, model, board, vae))
                print(
                    {k: rows[-1].get(k) for k in (*key, "status", "message", "dram_bytes_moved", "peak_dram_bytes")},
                    file=sys.stderr,
                    flush=True,
                )
                store("video_vaes", {"rows": rows}, options.out)


if __name__ == "__main__":
    main()
