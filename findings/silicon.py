"""How close to float64 is each way around Conv3d on both simulated chips?

`make sim` sets up what this needs. Minutes a chip where kernels are built first.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from findings.unused import COSTS
from lib.silicon import CHIPS, SiliconRow
from ttvideo.basics.compare import compare
from ttvideo.decoders.causal import EDGES, FIRST, CausalConv
from ttvideo.decoders.clip_decoder import Memory
from ttvideo.decoders.group_norm import group_norm_silu
from ttvideo.decoders.pixel_shuffle import PixelShuffle
from ttvideo.decompositions.decompose import decompose
from ttvideo.media.models import load_vae
from ttvideo.probing.on_ttnn import failure
from ttvideo.probing.probe import probe_each
from ttvideo.probing.trace import arguments_by_name, weights_by_name
from ttvideo.programs.evaluate import evaluate
from ttvideo.targets.target import TARGETS
from ttvideo.ttnn.against_evaluator import MANTISSA_BITS, Apart, op_by_op
from ttvideo.ttnn.chip import Broke, Chip

FRAMES, HEIGHT, WIDTH = 3, 8, 8
TAPS, OTHERS = "3×3×3", "the decoder's other parts"
Case = tuple[nn.Module, tuple[Tensor, ...]]
MADE_WITH = ("ttnn", "ttsim")
KEYS = [("rows", {"chip": chip}) for chip in CHIPS]


class CausalFrames(nn.Module):
    """A causal Conv3d as the decoder for tiles has it, replicate padding too: [T, H * W, C] in and out."""

    def __init__(self, conv: nn.Conv3d):
        super().__init__()
        self.conv = CausalConv("conv", 1, conv.weight, conv.bias, FIRST, EDGES)

    def forward(self, x_tnc: Tensor) -> Tensor:
        return torch.stack(self.conv(list(x_tnc.unbind()), Memory((HEIGHT, WIDTH), None)))


class Shuffle(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.shuffle = PixelShuffle(nn.Linear(channels, 4 * channels), 1, 1, 2)

    def forward(self, x_nc: Tensor) -> Tensor:
        return self.shuffle([x_nc], Memory((HEIGHT, WIDTH), None))[0]


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
    """(group, case) -> module and inputs in bf16, for a trained 3×3×3; seeded. Those whose case `only`
    accepts."""
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
        (OTHERS, "1×1×1 as linear"): (
            nn.Linear(12, channels).bfloat16(),
            (clip[0, :12].flatten(1).t().contiguous(),),
        ),
        (OTHERS, "pixel shuffle"): (Shuffle(channels).bfloat16(), (frames[0],)),
        (OTHERS, "GroupNorm, SiLU"): (Norm(channels).bfloat16(), (frames[0] + 1,)),
    }
    return {key: case for key, case in made.items() if only(key[1])}


def measure(chosen: Mapping[tuple[str, str], Case], target: str, timeout: float = 1800) -> list[SiliconRow]:
    """Compile the cases for the target's board and run them there, in one process for each that fails."""
    verdicts = probe_each(
        {", ".join(key): case for key, case in chosen.items()}, TARGETS[target].compiler.name
    )
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


def row(
    key: tuple[str, str], target: str, ran, apart: list[Apart], evaluated: Tensor, expected: Tensor
) -> SiliconRow:
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


def unused(key) -> set[str]:
    return COSTS


def make(keys):
    conv = load_vae("demo").decoder.block_in.resnets[0].conv1.conv
    for key in keys:
        yield key, [row.as_dict() for row in measure(cases(conv), key[-1]["chip"])]
