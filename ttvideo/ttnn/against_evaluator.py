"""How far is the evaluator from the chip, op by op? Each op is given, on the host, what it was given on the
chip."""

from dataclasses import dataclass

import torch

from ttvideo.programs.evaluate import apply, stored_arguments
from ttvideo.programs.program import Op, Program, Value
from ttvideo.ttnn.chip import Chip

MANTISSA_BITS = {torch.bfloat16: 7, torch.float16: 10, torch.float32: 23}
MOVES = ("ttnn.deallocate", "ttnn.get_device", "ttcore.load_cached")


@dataclass(frozen=True)
class Apart:
    """One op: how many of its results' values differ, and by how much at most.

    `steps` counts in steps of the stored type at each value's own size, `scaled_steps` in steps at the size
    of the tensor's largest value: where terms cancel, only the second is small.
    """

    op: str
    location: str
    differing: float
    steps: float
    scaled_steps: float


def op_by_op(chip: Chip, program: Program, arguments: dict[str, torch.Tensor], timeout: float | None = None):
    """A list of `Apart`, one for each op of the main function that gives numbers."""
    ran = chip.run(program, arguments, fetch=(), timeout=timeout, watch=True)
    main = program.main
    live: dict[Value, torch.Tensor] = {
        argument.value: value
        for argument, value in zip(main.arguments, stored_arguments(program, arguments), strict=True)
    }
    found = []
    for op in main.ops:
        results = [ran.values[value.name] for value in op.results if value.name in ran.values]
        live.update(zip(op.results, results, strict=False))
        if op.name in MOVES:
            continue
        operands = [live[value] for value in op.operands if value.type is not None]
        with torch.inference_mode():
            expected = apply(op, operands)
        found += [apart(op, got, want) for got, want in zip(results, expected, strict=True)]
    return found


def apart(op: Op, got: torch.Tensor, want: torch.Tensor) -> Apart:
    difference = (got.double() - want.double()).abs()
    largest = torch.maximum(got.double().abs(), want.double().abs())
    own, scaled = step_at(largest, got.dtype), step_at(largest.max(), got.dtype)
    return Apart(
        op.name,
        op.location,
        (difference != 0).double().mean().item(),
        (difference / own).max().item(),
        (difference / scaled).max().item(),
    )


def step_at(size: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The distance between neighbours of the stored type at values of that size; 1 for integers."""
    if dtype not in MANTISSA_BITS:
        return torch.ones_like(size)
    least = torch.finfo(dtype).tiny
    return 2.0 ** (torch.floor(torch.log2(size.clamp_min(least))) - MANTISSA_BITS[dtype])
