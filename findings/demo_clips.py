"""How close is the demo clip to stock in float64, by each trained autoencoder, on both simulated chips?

For tiles, and in TT-NN's own ops, in HiFi3 where the case doesn't say otherwise, whose frames leave the chip
in bf16 or in 8 bits. Of Mochi's ("demo") the frames for tiles and natively are kept.
"""

import sys

import torch

from findings.trained import encoded
from findings.unused import COSTS, other_families
from findings.unused import NATIVE as NATIVELY
from lib.silicon import CHIPS
from lib.silicon_frames import demo_clip
from ttvideo.basics.compare import compare, psnr_by_frame
from ttvideo.decoders.families import for_tiles
from ttvideo.decoders.native import native
from ttvideo.decoders.native_writer import Arithmetic
from ttvideo.decoders.stream import stream_decode
from ttvideo.media.models import load_vae
from ttvideo.media.video_models import TRAINED

TILES, NATIVE, EIGHT_BITS = "for tiles", "native", "native, 8 bits"
FIDELITIES = {"native, HiFi4": "hifi4", "native, HiFi2": "hifi2"}
AUTOENCODERS = {
    "wan-demo": "AutoencoderKLWan", "cogvideox-demo": "AutoencoderKLCogVideoX", "demo": "AutoencoderKLMochi",
}  # fmt: skip
CASES = dict.fromkeys(TRAINED, (TILES, NATIVE, EIGHT_BITS))
CASES["demo"] = TILES, NATIVE, *FIDELITIES, EIGHT_BITS
KEPT = {("demo", TILES), ("demo", NATIVE)}
MADE_WITH = ("ttnn", "ttsim")
KEYS = [
    ("rows", {"model": model, "case": case, "chip": chip})
    for model, cases in CASES.items()
    for case in cases
    for chip in CHIPS
]


def unused(key) -> set[str]:
    model, case, _ = key[-1].values()
    others = COSTS | other_families(AUTOENCODERS[model])
    return others | NATIVELY if case == TILES else others


def on_chip(decoder, z: torch.Tensor, truth: torch.Tensor, chip: str) -> tuple[dict, torch.Tensor]:
    """The clip streamed on a chip, step by step: frames, and figures: PSNR a frame, and what the simulation
    took in all steps.

    "seconds" are TT-NN's, kernel builds included; "memory_bytes" is its process's largest resident size.
    """
    steps = []
    for step in stream_decode(decoder, z, chip):
        print(step.verdict, file=sys.stderr, flush=True)
        steps.append(step)
    frames, runs = torch.cat([step.frames for step in steps], dim=2), [step.verdict.ran for step in steps]
    figures = {
        "latents": list(z.shape),
        "psnr_db": psnr_by_frame(frames, truth),
        "max_abs": compare(frames, truth).max_abs,
        "seconds": sum(ran.seconds for ran in runs),
        "memory_bytes": max(ran.memory_bytes for ran in runs),
        "peak_dram_bytes": max(ran.peak_dram_bytes for ran in runs),
        "ops": [ran.ops for ran in runs],
        "remarks": list(dict.fromkeys(remark for ran in runs for remark in ran.stand_ins + ran.workarounds)),
    }
    return figures, frames


@torch.no_grad()
def make(keys):
    for key in keys:
        model, case, chip = key[-1].values()
        vae, z, truth = (load_vae(model), *demo_clip()) if model == "demo" else encoded(model)
        how = {"arithmetic": Arithmetic(FIDELITIES[case])} if case in FIDELITIES else {}
        how |= {"eight_bits": True} if case == EIGHT_BITS else {}
        decoder = for_tiles(vae).bfloat16() if case == TILES else native(vae, **how)
        # In 8 bits there is nothing beyond -1 and 1, as in the pipelines' own.
        figures, frames = on_chip(decoder, z, truth.clamp(-1, 1) if case == EIGHT_BITS else truth, chip)
        yield key, (figures, {f"{case}, {chip}": frames} if (model, case) in KEPT else {})
