"""Math fidelity: in how many passes the matrix unit multiplies, and what it leaves out with fewer than four.

A pass multiplies 5 bits of one source's mantissa, the weights', by 7 of the other's; four passes take 10 bits by 11. HiFi3
leaves out the product of what is low in both, HiFi2 what is low in the activations, LoFi what is low in either (github
tenstorrent/tt-isa-documentation, MVMUL; github tenstorrent/ttsim, src/tensix.cpp, `mvmul`).
"""

from dataclasses import replace

from ttvideo.programs.program import Op, Program


def stated(op: Op) -> str:
    """The fidelity that an op asks for; "hifi4" where it doesn't say."""
    return (op.attributes.get("compute_config") or {}).get("math_fidelity", "hifi4")


def in_fidelity(program: Program, fidelity: str | None) -> Program:
    """The program with each op that states a fidelity in this one; as it is for None."""
    if fidelity is None:
        return program

    def asked(op: Op) -> Op:
        config = op.attributes.get("compute_config")
        if not config or "math_fidelity" not in config:
            return op
        return replace(op, attributes=op.attributes | {"compute_config": config | {"math_fidelity": fidelity}})

    functions = {
        name: replace(function, ops=tuple(asked(op) for op in function.ops)) for name, function in program.functions.items()
    }
    return replace(program, functions=functions, main=functions[program.main.name])
