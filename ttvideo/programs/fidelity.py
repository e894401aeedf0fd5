"""Math fidelity: in how many passes the matrix unit multiplies, and what it leaves out with fewer than four.

A pass multiplies 5 bits of one source's mantissa, the weights', by 7 of the other's; four passes take 10 bits
by 11. HiFi3 leaves out the product of what is low in both, HiFi2 what is low in the activations, LoFi what is
low in either (github tenstorrent/tt-isa-documentation, MVMUL; github tenstorrent/ttsim, src/tensix.cpp,
`mvmul`).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from ttvideo.programs.program import Op, Program

CONFIG = "compute_config"  # what an op asks of the chip's arithmetic


def stated(op: Op) -> str:
    """The fidelity that an op asks for; "hifi4" where it doesn't say."""
    return (op.attributes.get(CONFIG) or {}).get("math_fidelity", "hifi4")


@lru_cache(maxsize=4)  # as `read` is: a stream's steps stay one program
def in_fidelity(program: Program, fidelity: str | None) -> Program:
    """The program with each op that states a fidelity in this one; as it is for None."""
    if fidelity is None:
        return program

    def asked(op: Op) -> dict:
        return {"math_fidelity": fidelity} if "math_fidelity" in (op.attributes.get(CONFIG) or {}) else {}

    return configured(program, asked)


def with_exact_exponentials(program: Program) -> Program:
    """The program with `math_approx_mode` off in each softmax: the compiler leaves it on, as TT-NN has it."""
    return configured(program, lambda op: {"math_approx_mode": False} if op.name == "ttnn.softmax" else {})


def configured(program: Program, changes: Callable[[Op], dict]) -> Program:
    """The program with what `changes` gives for an op in its config; itself if that changes nothing."""

    def changed(op: Op) -> Op:
        config = op.attributes.get(CONFIG) or {}
        new = config | changes(op)
        return op if new == config else replace(op, attributes=op.attributes | {CONFIG: new})

    old = program.functions
    functions = {name: replace(each, ops=tuple(map(changed, each.ops))) for name, each in old.items()}
    if all(functions[name].ops == each.ops for name, each in old.items()):
        return program
    return replace(program, functions=functions, main=functions[program.main.name])
