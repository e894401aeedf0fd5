"""Programs that the compiler doesn't make, put together by hand: Conv3d in blocks, as it won't write it."""

import math

import torch
from torch import nn

from ttvideo.programs.program import TILE, Argument, Function, Op, Program, TensorType, Value
from ttvideo.targets.boards import BLACKHOLE, Chip

Arguments = dict[str, torch.Tensor]
EXACT = {"compute_config": {"math_fidelity": "hifi4", "fp32_dest_acc_en": True}}  # as the compiler asks


def tensor(name: str, shape: tuple[int, ...], dtype: str = "bf16", layout: str = "tile") -> Value:
    """In DRAM; in tiles, each matrix of the last two dimensions is filled up to whole ones."""
    *outer, rows, columns = (1, *shape)
    if layout == "tile":
        rows, columns = -(-rows // TILE), -(-columns // TILE)
    buffer = (math.prod(outer) * rows, columns)
    return Value(name, TensorType(tuple(shape), dtype, layout, "dram", buffer))


def program(
    arguments: list[Value | Argument],
    ops: list[Op],
    returns: list[Value] | None = None,
    chip: Chip = BLACKHOLE,
) -> Program:
    """The ops in order; it returns what the last one gives, or `returns`. A value alone is an input by its
    own name."""
    given = tuple(a if isinstance(a, Argument) else Argument(a, a.name, "input") for a in arguments)
    returned = ops[-1].results if returns is None else tuple(returns)
    main = Function("main", given, tuple(ops), returned, False)
    return Program({"main": main}, main, chip, text="")


def deallocated(ops: list[Op], kept: set[Value]) -> list[Op]:
    """The same ops, each value let go after its last use; `kept` are those that outlive the program."""
    last = {value: number for number, op in enumerate(ops) for value in (*op.results, *op.operands)}
    after: dict[int, list[Value]] = {}
    for value, number in last.items():
        if value not in kept:
            after.setdefault(number, []).append(value)
    frees = [
        [Op("ttnn.deallocate", (value,), (), {}, "") for value in after.get(n, ())] for n in range(len(ops))
    ]
    return [one for op, free in zip(ops, frees, strict=True) for one in (op, *free)]


def op(name: str, operands: list[Value], result: Value, **attributes) -> Op:
    return Op(f"ttnn.{name}", tuple(operands), (result,), attributes, "")


def conv3d(conv: nn.Conv3d, x_ndhwc: torch.Tensor, block: tuple[int, int, int], c_out_block: int = 32):
    """ttnn.conv3d in output blocks of (t, h, w) by `c_out_block` channels: the program and its arguments."""
    n, t, h, w, c = x_ndhwc.shape
    out = tuple(
        (size + 2 * pad - kernel) // stride + 1
        for size, pad, kernel, stride in zip(
            (t, h, w), conv.padding, conv.kernel_size, conv.stride, strict=True
        )
    )
    # As ttnn.prepare_conv3d_weights leaves it: a row for each tap and channel.
    weight = conv.weight.detach().permute(2, 3, 4, 1, 0).reshape(-1, conv.out_channels)
    x = tensor("x", tuple(x_ndhwc.shape), layout="row_major")
    w_2d, bias = tensor("weight", tuple(weight.shape)), tensor("bias", (1, conv.out_channels))
    result = tensor("y", (n, *out, conv.out_channels), layout="row_major")
    step = op(
        "conv3d", [x, w_2d, bias], result,
        batch_size=n, input_depth=t, input_height=h, input_width=w, in_channels=c,
        out_channels=conv.out_channels, kernel_size=list(conv.kernel_size), stride=list(conv.stride),
        padding=list(conv.padding), dilation=[1, 1, 1], groups=1, padding_mode="zeros",
        conv3d_config={
            "t_out_block": block[0], "h_out_block": block[1], "w_out_block": block[2],
            "c_out_block": c_out_block, "c_in_block": c,
        },
        **EXACT,
    )  # fmt: skip
    values = {"x": x_ndhwc, "weight": weight, "bias": conv.bias.detach().reshape(1, -1)}
    return program([x, w_2d, bias], [step]), values
