"""Run a compiled TTNN program on the host, op by op, in the data types that it states.

That gives the numbers of the program that the compiler made: weight preparation and const-eval functions
included, every tensor rounded to its stored type after every op. Inside an op arithmetic is float32, which is
what the compiler asks of the chip (`fp32_dest_acc_en`), products in the op's fidelity; the order of summation
is torch's, not the chip's.

To add an op, write a function in the file of its kind and decorate it with `op`.
"""

import torch

from ttvideo.basics.errors import Refused
from ttvideo.programs import own  # noqa: F401  (it fills the table, too)
from ttvideo.programs.evaluate import (  # noqa: F401  (they fill the table)
    contraction,
    create,
    elementwise,
    movement,
    reduction,
)
from ttvideo.programs.evaluate.table import OPS
from ttvideo.programs.evaluate.values import TORCH_TYPES, check, store
from ttvideo.programs.program import Argument, Function, Op, Program, Value

__all__ = ["OPS", "apply", "evaluate", "knows", "run", "stored_argument", "stored_arguments"]


def knows(program: Program) -> set[str]:
    """Names of the program's ops that `evaluate` has no rule for; empty if it can run."""
    names = {op.name for function in program.functions.values() for op in function.ops}
    return names - set(OPS) - {"ttnn.deallocate", "ttnn.get_device", "ttcore.load_cached"}


def evaluate(program: Program, arguments: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """The program's outputs in the types that it states, for arguments by name (see `Program.arguments`).

    `arguments` are host tensors in the program's shapes; they are rounded to the program's types.
    A value is dropped where the program deallocates it.
    Raises `Refused` for a missing argument or one of another shape, an op without a rule here, an
    attribute whose meaning isn't known, and a result whose shape isn't what the program states.
    """
    with torch.inference_mode():
        return run(program, program.main, stored_arguments(program, arguments))


def stored_arguments(program: Program, arguments: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """`arguments`, by name, in the program's order and types. Raises `Refused` where one is missing."""
    values = []
    for argument in program.arguments:
        if argument.name not in arguments:
            raise Refused(
                "evaluate", f"no argument {argument.name!r}", f"{sorted(a.name for a in program.arguments)}"
            )
        values.append(stored_argument(argument, arguments[argument.name]))
    return values


def stored_argument(argument: Argument, tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` as the program stores it, rounded as torch does. Raises `Refused` for one of another shape."""
    check(tensor, argument.type, f"argument {argument.name}")
    return tensor.detach().to(TORCH_TYPES[argument.type.dtype])


def run(program: Program, function: Function, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """What one function of the program returns, the main one or a const-eval one."""
    live: dict[Value, torch.Tensor] = {a.value: t for a, t in zip(function.arguments, inputs, strict=True)}
    for op in function.ops:
        if op.name == "ttnn.deallocate":
            live.pop(op.operands[0])
        elif op.name == "ttcore.load_cached":
            callee = program.functions[op.attributes["callee"]]
            live.update(zip(op.results, run(program, callee, [live[v] for v in op.operands]), strict=True))
        elif op.name != "ttnn.get_device":
            operands = [live[v] for v in op.operands if v.type is not None]
            live.update(zip(op.results, apply(op, operands), strict=True))
    return [live[v] for v in function.returns]


def apply(op: Op, operands: list[torch.Tensor]) -> list[torch.Tensor]:
    """What one op gives, in the types that it states."""
    if op.name not in OPS:
        raise Refused("evaluate", f"{op.name} at {op.location or 'unknown location'}", "an op that it knows")
    rule = OPS[op.name]
    rule.check(op)
    try:
        results = rule.function(op, *operands)
    except Refused:
        raise
    except (RuntimeError, IndexError, KeyError, TypeError, ValueError) as error:
        got = f"{op.name} on {[tuple(t.shape) for t in operands]}: {error}"
        raise Refused("evaluate", got, "operands and attributes that go together") from error
    results = results if isinstance(results, tuple) else (results,)
    return [store(result, value.type, op.name) for result, value in zip(results, op.results, strict=True)]
