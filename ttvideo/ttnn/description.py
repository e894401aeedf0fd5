"""A compiled program as TT-NN's process is handed it: plain steps, as JSON, and its constants' tensors."""

from dataclasses import asdict

import numpy as np
import torch

from ttvideo.basics.errors import Refused
from ttvideo.programs.evaluate import OPS
from ttvideo.programs.program import Function, Op, Program, Value

CONSTANT = "ttnn.constant"


def describe(program: Program) -> tuple[dict, dict[str, np.ndarray]]:
    """The whole program, const-eval functions too, and its constants by the key that stands in their step.

    A function: arguments ([value, name, kind, type]), steps (op, operands, results ([value, type]),
    attributes, location) and returns. A type: shape, dtype ("bf16"), layout ("tile" or "row_major"), memory
    ("dram", "l1" or "system"). Raises `Refused` for a sharded tensor.
    """
    constants: dict[str, np.ndarray] = {}
    functions = {name: _function(function, constants) for name, function in program.functions.items()}
    return {"main": program.main.name, "functions": functions}, constants


def _function(function: Function, constants: dict[str, np.ndarray]) -> dict:
    return {
        "arguments": [[a.value.name, a.name, a.kind, stated(a.value)] for a in function.arguments],
        "steps": [
            _step(op, f"{function.name}.{number}", constants) for number, op in enumerate(function.ops)
        ],
        "returns": [value.name for value in function.returns],
    }


def _step(op: Op, key: str, constants: dict[str, np.ndarray]) -> dict:
    attributes = {name: value for name, value in op.attributes.items() if plain(value)}
    if op.name == CONSTANT:
        constants[key] = array(OPS[CONSTANT].function(op))
        attributes["value"] = key
    return {
        "op": op.name,
        "operands": [value.name for value in op.operands if value.type is not None],
        "results": [[value.name, stated(value)] for value in op.results if value.type is not None],
        "attributes": attributes,
        "location": op.location,
    }


def stated(value: Value) -> dict:
    type = asdict(value.type)
    if type["memory"] == "l1" and type["cores"] > 1:
        raise Refused("describe", f"{value.name} sharded over {type['cores']} cores", "interleaved tensors")
    return {key: type[key] for key in ("shape", "dtype", "layout", "memory")}


def plain(value: object) -> bool:
    """What JSON can say; what it can't (a memory layout, say) is the compiler's word on placement."""
    if isinstance(value, dict):
        return all(plain(part) for part in value.values())
    if isinstance(value, (list, tuple)):
        return all(plain(part) for part in value)
    return value is None or isinstance(value, (str, int, float, bool))


def array(tensor: torch.Tensor) -> np.ndarray:
    """bf16 by its bits, which numpy has no type for: half the bytes on their way. Else float32 or int32."""
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy()
    return (tensor.float() if tensor.is_floating_point() else tensor.to(torch.int32)).numpy()
