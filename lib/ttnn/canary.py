"""A program of known answer, run ahead of all others: can what executes kernels be trusted?"""

import torch

from lib.programs.program import Program
from lib.ttnn.description import Description, describe
from lib.ttnn.handmade import Arguments, op, program, tensor
from lib.ttnn.lane import TIMEOUT_SECONDS, Ran, run

CANARY = "canary"
FAULT = "simulator or kernel fault"


def run_after_canary(
    programs: dict[str, Description], timeout: float = TIMEOUT_SECONDS, provoke: str = ""
) -> tuple[dict[str, Ran], str | None]:
    """What the programs gave, and what is wrong with the simulator: None if the canary's answer is right."""
    known, arguments, answer = canary()
    ran = run({CANARY: describe(known, arguments)} | programs, timeout, provoke)
    return ran, canary_fault(ran[CANARY], answer)


def canary_fault(ran: Ran, answer: torch.Tensor) -> str | None:
    if ran.error:
        return f"{FAULT}: the canary: {ran.error}"
    off = (ran.outputs[0] - answer).abs().max().item()
    return None if off == 0 else f"{FAULT}: the canary is off by {off:g} where its answer is known"


def canary() -> tuple[Program, Arguments, torch.Tensor]:
    """A program of small whole numbers, exact in bf16, its arguments and its known answer.

    The kinds of work that the simulator has been seen to get wrong: a matrix product over several tiles, a choice
    between two bf16 tensors, and a sum in float32.
    """
    x, w, mask, zero, product, chosen, wide, total = (
        tensor("x", (32, 128)), tensor("w", (32, 128)), tensor("mask", (32, 32)), tensor("zero", (32, 32)),
        tensor("product", (32, 32)), tensor("chosen", (32, 32)), tensor("wide", (32, 32), "f32"),
        tensor("total", (32,), "f32"),
    )  # fmt: skip
    ops = [
        op("linear", [x, w], product, transpose_a=False, transpose_b=True),
        op("where", [mask, product, zero], chosen),
        op("typecast", [chosen], wide),
        op("sum", [wide], total, dim_arg=[0], keep_dim=False),
    ]
    generator = torch.Generator().manual_seed(0)
    values = {name: torch.randint(-1, 2, (32, 128), generator=generator).bfloat16() for name in ("x", "w")}
    values["mask"] = torch.randint(0, 2, (32, 32), generator=generator).bfloat16()
    values["zero"] = torch.zeros(32, 32).bfloat16()
    answer = (values["x"].double() @ values["w"].double().T * values["mask"].double()).sum(0)
    return program([x, w, mask, zero], ops), values, answer.float()
