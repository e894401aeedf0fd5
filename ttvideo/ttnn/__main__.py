"""`make sim`: TT-NN's environment, the simulator, and one op of each kind that decoders need on each
simulated chip.

    python -m ttvideo.ttnn [--python PYTHON3.12]

The environment is made in the user's cache, once; what TTSIM names, or `ttvideo.ttnn.ttsim` finds, is kept
beside it. Each chip's ops are compared with the evaluator's.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.programs.evaluate import OPS
from ttvideo.programs.program import Op, Program
from ttvideo.targets.target import TARGETS, TTSIM, Target
from ttvideo.ttnn import ttsim
from ttvideo.ttnn.against_evaluator import op_by_op
from ttvideo.ttnn.chip import Broke, Chip
from ttvideo.ttnn.handmade import EXACT, Arguments, conv3d, op, program, tensor
from ttvideo.ttnn.places import ENVIRONMENT, READY, made_of, python, workaround

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
NO_ACTIVATIONS = {"activations": [], "input_tensor_a_activations": [], "input_tensor_b_activations": []}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default="python3.12", help="a Python 3.12, for which TT-NN comes")
    options = parser.parse_args()
    try:
        set_up(options.python)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 1
    given = os.environ.get("TTSIM") or None
    try:
        print(ttsim.keep(given))
    except Refused as refused:
        print(f"TT-NN is set up, its mocked boards work; the simulator isn't: {refused}", file=sys.stderr)
        return 1
    simulated = [target for target in TARGETS.values() if target.lane == TTSIM]
    wrong = [
        target
        for target in simulated
        if ttsim.kept_library(target.board.chip.arch).is_file() and not works(target)
    ]
    return 1 if wrong else 0


def set_up(interpreter: str) -> None:
    """TT-NN's environment, if it isn't there as `requirements.txt` wants it. Raises `Refused` for another
    Python."""
    wanted = REQUIREMENTS.read_text()
    if READY.is_file() and READY.read_text() == wanted:
        return
    asked = [interpreter, "-c", "import sys; print(*sys.version_info[:2], sep='.')"]
    try:
        version = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    except OSError:
        version = ""
    if version != "3.12":
        raise Refused(
            "TT-NN",
            f"{interpreter}, {version or 'no Python'}",
            "a Python 3.12 (--python; make sim SIM_PYTHON=path)",
        )
    try:
        subprocess.run([interpreter, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
        install = [
            str(python()),
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "-r",
            str(REQUIREMENTS),
        ]
        subprocess.run(install, check=True)
    except subprocess.CalledProcessError as failed:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        raise Refused(
            "TT-NN", f"{' '.join(failed.cmd[:4])} …: exit {failed.returncode}", "that to pass"
        ) from None
    READY.write_text(wanted)


def works(target: Target) -> bool:
    """Says which kinds of op ran there and agree with the evaluator, and what it was that didn't."""
    start, ran, wrong = time.perf_counter(), [], None
    try:
        with Chip(target) as chip:
            for made, arguments in kinds():
                for one in op_by_op(chip, made, arguments):
                    if one.scaled_steps > OPS[one.op].within:
                        raise Refused(
                            one.op, f"{one.scaled_steps:.1f} bf16 steps off", f"at most {OPS[one.op].within}"
                        )
                    ran.append(one.op.removeprefix("ttnn.").removeprefix("generic_op."))
    except Broke as broke:
        wrong = f"{broke.op} stops: {(broke.said or broke.log).strip().splitlines()[-1]}"
    except Refused as refused:
        wrong = str(refused)
    print(f"{target.name}: {wrong or 'works'} ({time.perf_counter() - start:.0f} s), {made_of(target)}")
    print(
        f"    ran: {', '.join(dict.fromkeys(ran)) or 'nothing'}\n    work-around: {workaround(target).says}"
    )
    return wrong is None


def kinds() -> list[tuple[Program, Arguments]]:
    """A comparison, an exponential, a root, a matrix product and a convolution, both summed in float32, our
    own kernels."""
    x, z, w = tensor("x", (64, 64)), tensor("z", (64, 64)), tensor("w", (64, 64))
    names = {"exp": tensor("exp", (64, 64)), "rsqrt": tensor("rsqrt", (64, 64))}
    ops = [op("ge", [x, z], tensor("ge", (64, 64)), **NO_ACTIVATIONS)]
    ops += [op(name, [x], y) for name, y in names.items()]
    ops += [op("matmul", [x, w], tensor("matmul", (64, 64)), transpose_a=False, transpose_b=False, **EXACT)]
    values = {name: numbers(64, 64, seed=seed) for seed, name in enumerate("xzw")}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        convolution = nn.Conv3d(32, 32, 3).bfloat16()
    return [
        (program([x, z, w], ops), values),
        conv3d(convolution, numbers(1, 3, 6, 8, 32), (1, 2, 6)),
        own_kernels(),
    ]


def own_kernels() -> tuple[Program, Arguments]:
    """A clip's norm with SiLU, and its channels to pixels."""
    frames, h, w, c, parts, groups = 2, 4, 6, 64, 2, 8

    def rows(name: str, *shape: int, dtype: str = "bf16"):
        return tensor(name, shape, dtype, "row_major")

    x, norm = rows("x", 1, frames, h, w, c), rows("norm", 2, c)
    sums, affine = rows("sums", frames * parts * 2, 1024, dtype="f32"), rows("affine", 2 * frames, c)
    clip, kept = rows("clip", 1, 2 + frames, h, w, c), rows("kept", 1, 2, h, w, c)
    pixels = rows("pixels", 1, 2 + frames, 2 * h, w, c // 2)
    how = {"parts": parts, "before": "first frame", "silu": True}
    ops = [
        op("generic_op.frame_moments", [x], sums, parts=parts),
        op("generic_op.group_affine", [sums, norm], affine,
           rows=h * w, groups=groups, parts=parts, pieces=4, epsilon=1e-6),
        Op("ttnn.generic_op.norm_silu", (x, affine), (clip, kept), how, ""),
        op("generic_op.depth_to_space", [clip], pixels, expansion=[1, 2, 1]),
    ]  # fmt: skip
    return program([x, norm], ops), {"x": numbers(1, frames, h, w, c), "norm": numbers(2, c, seed=1)}


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    """Positive, as a root wants them."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).add(0.25).bfloat16()


if __name__ == "__main__":
    sys.exit(main())
