"""Each way around Conv3d on the chips' own kernels, simulated: how near to float64, and how near to the evaluator."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from lib.basics.compare import compare
from lib.decoders.causal_conv import CausalConv
from lib.decoders.group_norm import group_norm_silu
from lib.decoders.mochi import Rewrites
from lib.decoders.pixel_shuffle import PixelShuffle
from lib.notebook.stored import stored
from lib.probing.on_ttnn import failure
from lib.probing.probe import probe_each
from lib.probing.trace import arguments_by_name, weights_by_name
from lib.programs.evaluate import evaluate
from lib.targets.target import TARGETS
from lib.ttnn.against_evaluator import MANTISSA_BITS, Apart, op_by_op
from lib.ttnn.chip import Broke, Chip
from lib.ways.decompose import decompose

CHIPS = ("n150-ttsim", "p150-ttsim")
FRAMES, HEIGHT, WIDTH = 3, 8, 8
TAPS, OTHERS = "3×3×3", "the decoder's other parts"
Case = tuple[nn.Module, tuple[Tensor, ...]]


@dataclass(frozen=True)
class SiliconRow:
    """One module on one simulated chip. `status` is "pass" or what went wrong, and then the figures are None.

    `pcc` and `max_abs` compare the chip's result with float64, `pcc_evaluated` the evaluator's with it. `steps` is the
    largest difference between chip and evaluator in bf16 steps at the largest output; `worst_op` is the op that is
    farthest from the evaluator's when both are given the same, by `worst_op_steps`. `checksum` is of the result's bits.
    """

    group: str
    case: str
    chip: str
    status: str
    pcc: float | None = None
    max_abs: float | None = None
    pcc_evaluated: float | None = None
    steps: float | None = None
    differing: float | None = None
    worst_op: str | None = None
    worst_op_steps: float | None = None
    checksum: int | None = None
    remarks: tuple[str, ...] = ()

    def as_dict(self) -> dict:
        return asdict(self)


class CausalFrames(nn.Module):
    """A causal Conv3d as the decoder for tiles has it, replicate padding included: [T, H * W, C] in and out."""

    def __init__(self, conv: nn.Conv3d):
        super().__init__()
        self.conv = CausalConv(conv, Rewrites(), 1)

    def forward(self, x_tnc: Tensor) -> Tensor:
        return torch.stack(self.conv(list(x_tnc.unbind()), (HEIGHT, WIDTH), None)[0])


class Shuffle(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.shuffle = PixelShuffle(nn.Linear(channels, 4 * channels), (1, 2, 2), Rewrites())

    def forward(self, x_nc: Tensor) -> Tensor:
        return self.shuffle([x_nc], (HEIGHT, WIDTH))[0][0]


class Norm(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.norm.weight.data += 0.5 * torch.randn(channels)
        self.norm.bias.data += 0.5 * torch.randn(channels)

    def forward(self, x_nc: Tensor) -> Tensor:
        return group_norm_silu([x_nc], self.norm)[0]


@torch.no_grad()
def cases(conv: nn.Conv3d, only: Callable[[str], bool] = lambda name: True) -> dict[tuple[str, str], Case]:
    """(group, case) -> module and inputs in bf16, for a trained 3×3×3; seeded. Those whose case `only` accepts."""
    torch.manual_seed(0)
    channels = conv.in_channels
    plain = nn.Conv3d(channels, channels, 3, padding=1)
    plain.load_state_dict(conv.state_dict())
    plain = plain.bfloat16()
    clip = torch.randn(1, channels, FRAMES, HEIGHT, WIDTH).bfloat16()
    frames = clip[0].permute(1, 2, 3, 0).flatten(1, 2).contiguous()
    made = {
        (TAPS, "conv3d"): (plain, (clip,)),
        (TAPS, "sum"): (decompose(plain, "sum")[0], (clip,)),
        (TAPS, "stacked"): (decompose(plain, "stacked")[0], (clip,)),
        (TAPS, "for tiles, causal"): (CausalFrames(plain), (frames,)),
        (OTHERS, "1×1×1 as linear"): (nn.Linear(12, channels).bfloat16(), (clip[0, :12].flatten(1).t().contiguous(),)),
        (OTHERS, "pixel shuffle"): (Shuffle(channels).bfloat16(), (frames[0],)),
        (OTHERS, "GroupNorm, SiLU"): (Norm(channels).bfloat16(), (frames[0] + 1,)),
    }
    return {key: case for key, case in made.items() if only(key[1])}


def measure(chosen: Mapping[tuple[str, str], Case], target: str, timeout: float = 1800) -> list[SiliconRow]:
    """Compile the cases for the target's board and run them there, in one process for each that fails."""
    verdicts = probe_each({", ".join(key): case for key, case in chosen.items()}, TARGETS[target].compiler.name)
    rows, chip = [], None
    try:
        for key, (module, inputs) in chosen.items():
            program = verdicts[", ".join(key)].program
            arguments = weights_by_name(module) | arguments_by_name(inputs, "input")
            chip = chip or Chip(TARGETS[target])
            try:
                ran = chip.run(program, arguments, timeout=timeout)
                apart = op_by_op(chip, program, arguments, timeout)
            except Broke as broke:
                why = failure(broke, timeout)
                rows.append(SiliconRow(*key, target, f"{why.kind}: {why.op}: {why.message}"))
                chip.close()
                chip = None
                continue
            expected = exact(module, inputs)
            rows.append(row(key, target, ran, apart, evaluate(program, arguments)[0].float(), expected))
    finally:
        if chip:
            chip.close()
    return rows


def row(key: tuple[str, str], target: str, ran, apart: list[Apart], evaluated: Tensor, expected: Tensor) -> SiliconRow:
    result = ran.outputs[0].float()
    close, beside = compare(result, expected), compare(result, evaluated)
    worst = max(apart, key=lambda one: one.scaled_steps)
    return SiliconRow(
        *key,
        target,
        "pass",
        pcc=close.pcc,
        max_abs=close.max_abs,
        pcc_evaluated=compare(evaluated, expected).pcc,
        steps=beside.max_abs / bf16_step(evaluated),
        differing=(result != evaluated).double().mean().item(),
        worst_op=worst.op.removeprefix("ttnn."),
        worst_op_steps=worst.scaled_steps,
        checksum=checksum(ran.outputs[0]),
        remarks=ran.stand_ins + ran.workarounds,
    )


def exact(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    with torch.no_grad():
        result = module.double()(*(x.double() for x in inputs))
    module.bfloat16()  # nothing is lost: its weights were bf16 before
    return result


def bf16_step(values: Tensor) -> float:
    """The distance between neighbouring bf16 numbers at the largest of `values`."""
    return 2.0 ** (math.floor(math.log2(values.abs().max().item())) - MANTISSA_BITS[torch.bfloat16])


def checksum(values: Tensor) -> int:
    """One number of a bf16 tensor's bits, in their order."""
    bits = values.contiguous().view(torch.int16).long().flatten()
    return ((bits & 0xFFFF) * (torch.arange(len(bits)) % 65521 + 1)).sum().item()


def stored_silicon() -> list[SiliconRow]:
    """What `findings/silicon.py` found."""
    return [SiliconRow(**{**row, "remarks": tuple(row["remarks"])}) for row in stored("silicon")["rows"]]


def silicon_table(rows: list[SiliconRow]) -> pd.DataFrame:
    """A line a case and chip; `same bits` says whether the chips' results are equal."""
    sums = {}
    for one in rows:
        sums.setdefault((one.group, one.case), set()).add(one.checksum)
    table = pd.DataFrame(
        {
            "": one.group,
            "case": one.case,
            "chip": one.chip.removesuffix("-ttsim"),
            "status": one.status,
            "PCC": round(one.pcc, 6) if one.pcc else None,
            "max |Δ|": round(one.max_abs, 4) if one.pcc else None,
            "PCC, evaluator": round(one.pcc_evaluated, 6) if one.pcc else None,
            "steps apart": round(one.steps, 2) if one.pcc else None,
            "values apart": f"{one.differing:.0%}" if one.pcc else None,
            "op farthest apart": f"{one.worst_op}, {one.worst_op_steps:.1f}" if one.pcc else None,
            "same bits": len(sums[one.group, one.case]) == 1,
        }
        for one in rows
    )
    return table.set_index(["", "case", "chip"])
