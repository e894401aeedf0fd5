"""A compiled program as the simulator's process is handed it: plain steps, and tensors by name."""

from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from lib.basics.errors import Refused
from lib.programs.evaluate import run, stored_arguments
from lib.programs.program import Op, Program, Value

NO_STEP = ("ttnn.deallocate", "ttnn.get_device", "ttcore.load_cached")


@dataclass(frozen=True)
class Description:
    """`inputs`: {value: its tensor's type}, `steps`: ops in order, `returns`: values; `tensors`: by value.

    A type is a dict of shape, dtype ("bf16"), layout ("tile" or "row_major") and memory ("dram" or "system").
    A step is a dict of op, operands (values), results ({name, type}) and attributes, as the compiler states them.
    """

    inputs: dict[str, dict]
    steps: list[dict]
    returns: list[str]
    tensors: dict[str, np.ndarray] = field(repr=False)

    def as_json(self) -> dict:
        return {"inputs": self.inputs, "steps": self.steps, "returns": self.returns}


def describe(program: Program, arguments: dict[str, torch.Tensor]) -> Description:
    """The program's `main`, for arguments by name, which are rounded to its types.

    What a const-eval function prepares once, weights mostly, is prepared here, by the evaluator.
    """
    main = program.main
    live = dict(zip((a.value for a in main.arguments), stored_arguments(program, arguments), strict=True))
    for op in main.ops:
        if op.name == "ttcore.load_cached":
            prepared = run(program, program.functions[op.attributes["callee"]], [live[v] for v in op.operands])
            live.update(zip(op.results, prepared, strict=True))
    steps = [op for op in main.ops if op.name not in NO_STEP]
    used = {operand for op in steps for operand in op.operands if operand in live}
    return Description(
        {value.name: stated(value) for value in live if value in used},
        [step(op) for op in steps],
        [value.name for value in main.returns],
        {value.name: array(tensor) for value, tensor in live.items() if value in used},
    )


def step(op: Op) -> dict:
    return {
        "op": op.name.removeprefix("ttnn."),
        "operands": [value.name for value in op.operands if value.type is not None],
        "results": [{"name": value.name, "type": stated(value)} for value in op.results],
        "attributes": {name: value for name, value in op.attributes.items() if plain(value)},
    }


def stated(value: Value) -> dict:
    type = asdict(value.type)
    if type["memory"] == "l1":
        raise Refused(
            "describe", f"{value.name} in L1", "tensors in DRAM or on the host: the simulated chip has one core"
        )
    return {key: type[key] for key in ("shape", "dtype", "layout", "memory")}


def plain(value: object) -> bool:
    """What JSON can say; what it can't (a memory layout, say) is the compiler's word on placement."""
    if isinstance(value, dict):
        return all(plain(part) for part in value.values())
    if isinstance(value, (list, tuple)):
        return all(plain(part) for part in value)
    return value is None or isinstance(value, (str, int, float, bool))


def array(tensor: torch.Tensor) -> np.ndarray:
    """numpy has no bf16; float32 holds it exactly."""
    return (tensor.float() if tensor.is_floating_point() else tensor.to(torch.int32)).numpy()
