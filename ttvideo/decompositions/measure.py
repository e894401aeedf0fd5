"""One Conv3d, every way around it, side by side: exactness, verdicts, cost, and the accuracy in bf16."""

from copy import deepcopy
from dataclasses import asdict, dataclass

import torch
from torch import nn

from ttvideo.basics.compare import compare
from ttvideo.basics.errors import Refused
from ttvideo.decompositions import DECOMPOSITIONS
from ttvideo.decompositions.decompose import decompose
from ttvideo.decompositions.known import convolution, form_of, kind_of
from ttvideo.decompositions.separable import Separable, break_even_rank
from ttvideo.probing.probe import probe_each, together
from ttvideo.probing.verdict import Verdict
from ttvideo.programs.cost import cost, roofline
from ttvideo.programs.evaluate import evaluate
from ttvideo.programs.program import Program
from ttvideo.targets.boards import BOARDS

NATIVE = "conv3d"
COSTED = "p150-compile"


@dataclass(frozen=True)
class DecompositionRow:
    """One way of one kernel; a figure that could not be had is None.

    `max_abs_float64` and `relative_float64` compare with torch's Conv3d, both in float64 (`relative` to the
    largest output). `exact` is `relative_float64` <= 1e-12: equal up to the rounding of float64. With weights
    and inputs in bf16 an exact way shows 0.0: products of bf16 values and their sums fit float64 whole, so
    the order of summation does not show. `verdicts` maps a target to "pass" or to what failed. Costs are read
    off the program for `p150-compile`: `ops`, `dram_bytes_moved`, `peak_dram_bytes`, `roofline_seconds` (an
    estimate). `pcc_evaluated` is the program's output, evaluated op by op in its own data types, against
    float64.
    """

    kernel: str
    decomposition: str
    exact: bool
    max_abs_float64: float
    relative_float64: float
    verdicts: dict[str, str]
    ops: int | None = None
    dram_bytes_moved: int | None = None
    peak_dram_bytes: int | None = None
    roofline_seconds: float | None = None
    pcc_evaluated: float | None = None

    def as_dict(self) -> dict:
        return asdict(self)


def candidates(conv: nn.Module) -> dict[str, nn.Module]:
    """The module itself as "conv3d", each way that applies, and the separable one that costs as much."""
    inner, form, carries = convolution(conv), form_of(conv), kind_of(conv).carries
    found: dict[str, nn.Module] = {NATIVE: conv}
    for name, kind in DECOMPOSITIONS.items():
        if kind.why_not(form) is None:
            found[name] = decompose(conv, name)[0]
    if form.groups == 1 and form.kernel[0] > 1 and form.kernel[1:] != (1, 1):
        rank = break_even_rank(inner.weight.shape)
        separable = Separable(inner.weight, inner.bias, form, rank)
        found[f"separable, rank {rank}"] = carries(separable, conv) if carries else separable
    return found


@torch.no_grad()
def measure_decompositions(
    conv: nn.Module,
    shape: tuple[int, ...],
    name: str = "",
    targets: tuple[str, ...] = (COSTED,),
    dtype: torch.dtype = torch.bfloat16,
    decompositions: tuple[str, ...] | None = None,
) -> list[DecompositionRow]:
    """Measure `conv` (`nn.Conv3d` or `CogVideoXCausalConv3d`) on [B, C, T, H, W] = `shape`, a row for each
    way.

    `decompositions` limits the rows, by name ("separable" without its rank). Seconds a target, on the mocked
    chip up to a minute. Raises `Refused` if none of `decompositions` applies.
    """
    chosen = {
        key: module
        for key, module in candidates(conv).items()
        if decompositions is None or key.split(",")[0] in decompositions
    }
    if not chosen:
        raise Refused("decompositions", decompositions, f"some of {', '.join(candidates(conv))}")
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    # Every way gets the weights as bf16 has them, so that float64 shows the way and not the rounding.
    exact_input, truth = x.double(), _first(deepcopy(conv).to(dtype).double()(x.double()))
    chosen = {key: deepcopy(module).to(dtype) for key, module in chosen.items()}
    calls = {key: (module, (x,)) for key, module in chosen.items()}
    verdicts = dict(zip(targets, together(lambda target: probe_each(calls, target), targets)))
    rows = []
    for key, module in chosen.items():
        # The separable weights come from the SVD and are themselves rounded to bf16 in the probe.
        difference = (_first(deepcopy(module).double()(exact_input)) - truth).abs().max().item()
        relative = difference / truth.abs().max().item()
        said = {
            target: "pass" if found[key].passed else why(found[key]) for target, found in verdicts.items()
        }
        costed = verdicts[COSTED][key] if COSTED in verdicts else None
        figures = _figures(costed.program, module, x, truth) if costed and costed.passed else {}
        rows.append(DecompositionRow(name, key, relative <= 1e-12, difference, relative, said, **figures))
    return rows


def why(verdict: Verdict) -> str:
    return f"{verdict.kind}: {(verdict.message or '').splitlines()[0]}"


def _figures(program: Program, module: nn.Module, x: torch.Tensor, truth: torch.Tensor) -> dict:
    spent = cost(program)
    arguments = {**dict(module.named_parameters()), **dict(module.named_buffers()), "input.0": x}
    figures = {
        "ops": len(spent.ops),
        "dram_bytes_moved": spent.dram_bytes_moved,
        "peak_dram_bytes": spent.peak_dram_bytes,
        "roofline_seconds": roofline(spent, BOARDS["p150"]).seconds,
    }
    # conv3d's weight preparation, say, may have no rule.
    try:
        outputs = evaluate(program, arguments)
    except Refused:
        return figures
    output = next(out for out in outputs if out.shape == truth.shape)
    return figures | {"pcc_evaluated": compare(output.double(), truth).pcc}


def _first(value):
    return value[0] if isinstance(value, tuple) else value


@dataclass(frozen=True)
class RoundingRow:
    """Where bf16 rounds: `roundings` of an output element, and what it does, against float64 (same bf16
    weights)."""

    decomposition: str
    roundings: int
    pcc: float
    max_abs: float


@torch.no_grad()
def rounding_table(weight: torch.Tensor, x: torch.Tensor) -> list[RoundingRow]:
    """The accuracy of sum against stacked, by where partial sums are rounded to bf16.

    `weight` is [O, I, kt, kh, kw], `x` [B, I, T, H, W], without padding or bias. Each convolution accumulates
    in float32 and its result is rounded, as the chip does with `fp32_dest_acc_en`. Two more rows bound the
    effect: a sum added in float32 and rounded once, and one that keeps every partial sum, of 32 input
    channels each, in bf16, as a chip without that setting would.
    """
    weight, x = weight.bfloat16(), x.bfloat16()
    truth = torch.nn.functional.conv3d(x.double(), weight.double())
    w, v, kt = weight.float(), x.float(), weight.shape[2]
    frames = truth.shape[2]

    def bf16(value):
        return value.bfloat16().float()

    def term(tap, channels=slice(None)):
        return torch.nn.functional.conv3d(v[:, channels, tap : tap + frames], w[:, channels, tap : tap + 1])

    def running(terms, rounded):
        total = None
        for each in terms:
            each = rounded(each)
            total = each if total is None else rounded(total + each)
        return total

    blocks = [slice(i, i + 32) for i in range(0, weight.shape[1], 32)]
    every = [(tap, block) for tap in range(kt) for block in blocks]
    results = {
        ("stacked", 1): bf16(sum(term(tap) for tap in range(kt))),
        ("sum", 2 * kt - 1): running([term(tap) for tap in range(kt)], bf16),
        ("sum, added in float32", 1): bf16(running([term(tap) for tap in range(kt)], lambda t: t)),
        ("accumulated in bf16 by blocks of 32 channels", 2 * len(every) - 1): running(
            (term(*e) for e in every), bf16
        ),
    }
    rows = []
    for (key, roundings), value in results.items():
        close = compare(value.double(), truth)
        rows.append(RoundingRow(key, roundings, close.pcc, close.max_abs))
    return rows
