"""What does the Mochi decoder cost and give, written in TT-NN's own ops?

cost: a step of as many latent frames as by default at 480x848, and a clip at [1, 12, 3, 32, 32], by the
counted model, with conv3d's blocks, for each board.
refused: what TT-NN says to a convolution in block floats, on each mocked board.
simulated: the demo decoder on each simulated chip, two latent frames of 4x4, in steps, in each fidelity,
against float64.
blocks: each kind of block, of the full-size model's channels, on each simulated chip, in each fidelity,
against float64.
roundings: a convolution on each simulated chip, in one block of input channels and in two: its error, and one
rounding's.
"""

import sys
from collections import Counter

import torch
from diffusers import AutoencoderKLMochi

from findings.inputs import place_of
from findings.native_parts import convolution, in_block_floats, parts
from findings.unused import COSTS, other_families
from ttvideo.basics.compare import compare
from ttvideo.decoders.mochi import TileDecoder
from ttvideo.decoders.native import NativeDecoder
from ttvideo.decoders.native_writer import Arithmetic
from ttvideo.decoders.stream import stream_decode
from ttvideo.media.models import load_vae
from ttvideo.probing.on_ttnn import failure
from ttvideo.programs.cost import cost, once, roofline
from ttvideo.targets.boards import BOARDS
from ttvideo.targets.target import TARGETS
from ttvideo.ttnn.chip import Broke, Chip

FULL, WHOLE = (2, 60, 106), (3, 32, 32)  # latent frames, height and width
STEPS = {"first step": (FULL, True), "steady step": (FULL, False), "clip of 3x32x32": (WHOLE, True)}
FIDELITIES = ("hifi4", "hifi3", "hifi2")


def costs(board: str) -> list[dict]:
    with torch.device("meta"):
        decoder = NativeDecoder(AutoencoderKLMochi())
    rows = []
    for name, (size, begins) in STEPS.items():
        program = decoder.step(size, begins, board).program
        found, at_least = cost(program), Counter()
        for op in program.main.ops:
            at_least[op.name] += once(op)
        blocks = {
            op.location: op.attributes["conv3d_config"] for op in program.main.ops if op.name == "ttnn.conv3d"
        }
        row = {
            "board": board,
            "program": name,
            "latent_frames": size[0],
            **found.record(),
            "bytes_by_kind": found.bytes_by_kind(),
        }
        row |= {"once_by_kind": {kind: at_least[kind] for kind in found.bytes_by_kind()}, "blocks": blocks}
        row |= {"counts": dict(found.counts()), "roofline": roofline(found, BOARDS[board]).as_dict()}
        rows.append(row)
    return rows


def simulated(board: str) -> list[dict]:
    vae = load_vae("demo").bfloat16()
    native, tiles = NativeDecoder(vae), TileDecoder(vae.decoder).bfloat16().eval()
    z = torch.randn(1, 12, 2, 4, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.no_grad():
        want = vae.decoder.double()(z.double())[0][:, :, native.dropped_frames :]
        in_torch = tiles(z)[0][:, :, native.dropped_frames :]
    found = {}
    for fidelity in FIDELITIES:
        decoder = NativeDecoder(vae, arithmetic=Arithmetic(fidelity))
        steps = list(stream_decode(decoder, z, f"{board}-ttsim"))
        print(steps[-1].verdict, file=sys.stderr, flush=True)
        found[steps[0].verdict.outputs_from, fidelity] = torch.cat([step.frames for step in steps], dim=2)
        evaluated = decoder.evaluate(z, None, board)[0]
        found["evaluated on the host", fidelity] = evaluated[:, :, native.dropped_frames :]
    found["for tiles, eager", None] = in_torch
    return [
        {"board": board, "outputs": name, "fidelity": fidelity, **compare(got, want).as_dict()}
        for (name, fidelity), got in found.items()
    ]


def refused(board: str) -> list[dict]:
    rows = []
    for where in ("weights", "activations"):
        made, arguments = in_block_floats(where, board)
        with Chip(TARGETS[f"{board}-ttnn"]) as chip:
            said = None
            try:
                chip.run(made, arguments)
            except Broke as broke:
                said = failure(broke, None).message.splitlines()[-1]
        rows.append({"board": board, "bfloat8_b": where, "said": said})
    return rows


def blocks(board: str) -> list[dict]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = AutoencoderKLMochi(layers_per_block=(1, 1, 1, 1, 1)).decoder
    rows = []
    with Chip(TARGETS[f"{board}-ttsim"]) as chip:
        for name, part in parts(decoder).items():
            x = torch.randn(1, part.channels, 2, 4, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
            want = part.in_torch(x.double())
            for fidelity in FIDELITIES:
                got = part.on(chip, x, Arithmetic(fidelity))
                of = {"board": board, "block": name, "fidelity": fidelity}
                rows.append(of | compare(got, want).as_dict())
                print(rows[-1], file=sys.stderr, flush=True)
    return rows


def roundings(board: str) -> list[dict]:
    rows = []
    with Chip(TARGETS[f"{board}-ttsim"]) as chip:
        for blocks in (1, 2):
            part = convolution(64, 64 // blocks)
            x = torch.randn(1, part.channels, 4, 6, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
            got, exact = part.on(chip, x).double(), part.in_torch(x.double())
            given = {"error": got, "one_rounding": exact.bfloat16().double()}
            errors = {name: (value - exact).square().mean().sqrt().item() for name, value in given.items()}
            rows.append({"board": board, "blocks": blocks} | errors)
    return rows


PARTS = {
    "cost": costs, "refused": refused, "simulated": simulated, "blocks": blocks, "roundings": roundings,
}  # fmt: skip
MADE_WITH = ("ttnn", "ttsim")
KEYS = [(part, {"board": board}) for part in PARTS for board in ("n150", "p150")]


def unused(key) -> set[str]:
    others = {place_of(one) for part, one in PARTS.items() if part != key[0]}
    return other_families("AutoencoderKLMochi") | others | (COSTS if key[0] != "cost" else set())


def make(keys):
    for key in keys:
        part, of = key
        yield key, PARTS[part](of["board"])
