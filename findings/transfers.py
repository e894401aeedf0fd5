"""How many bytes do TT-NN's kernels read from DRAM and write to it, beside what ttvideo.programs.cost says?

    python -m findings transfers

Each case is one op, executed by TT-NN on a simulated chip by kernels that count what they ask of DRAM
(`ttvideo.programs.own.dram_counts`); those of a 480×848 clip's sizes are "at full size". "each operand once"
is what was assumed of every op before these counts. The case "native" are two steps of the demo decoder in
TT-NN's ops, one latent frame of 4x4, with a row for each kind of op.
"""

from collections import defaultdict
from itertools import groupby

import torch
from torch import nn

from findings.unused import other_families
from ttvideo.decoders.native import NativeDecoder
from ttvideo.media.models import load_vae
from ttvideo.programs.cost import once, op_cost
from ttvideo.programs.own import dram_counts
from ttvideo.programs.program import Op, TensorType, Value
from ttvideo.targets.target import resolve
from ttvideo.ttnn import Broke, Chip
from ttvideo.ttnn.handmade import EXACT, conv3d, op, program, tensor

NO_ACTIVATIONS = {f"{which}activations": [] for which in ("", "input_tensor_a_", "input_tensor_b_")}
NATIVE = (1, 4, 4)  # latent frames, height and width
# Bytes and nothing else depend on it: a quarter of the simulator's work.
COARSE = {"compute_config": {"math_fidelity": "lofi", "fp32_dest_acc_en": True}}


def elementwise(name: str, operands: int = 2, **attributes):
    values = [tensor(f"x{i}", (4, 256, 256)) for i in range(operands)]
    return values, [op(name, values, tensor("y", (4, 256, 256)), **attributes)]


def one(name: str, before, after, dtype="bf16", to=None, layouts=("tile", "tile"), **attributes):
    x = tensor("x", before, dtype, layouts[0])
    return [x], [op(name, [x], tensor("y", after, to or dtype, layouts[1]), **attributes)]


def product(rows: int, inner: int, columns: int, **attributes):
    a, b = tensor("a", (1, rows, inner)), tensor("b", (inner, columns))
    transposed = {"transpose_a": False, "transpose_b": False} | attributes
    return [a, b], [op("linear", [a, b], tensor("y", (1, rows, columns)), **transposed, **EXACT)]


def gram(batch: int, rows: int, channels: int):
    x, y = tensor("x", (batch, rows, channels)), tensor("y", (batch, channels, channels))
    return [x], [op("matmul", [x, x], y, transpose_a=True, transpose_b=False, **EXACT)]


def slice_rows(begin: int, end: int, layout: str = "tile"):
    taken = dict(begins=[begin, 0], ends=[end, 256], step=[1, 1])
    return one("slice_static", (1024, 256), (end - begin, 256), layouts=(layout, layout), **taken)


def concat(rows: int):
    parts = [tensor("a", (rows, 256)), tensor("b", (rows, 256))]
    return parts, [op("concat", parts, tensor("y", (2 * rows, 256)), dim=0)]


def rows_gather(rows: int, channels: int, taken: int):
    x, index = (
        tensor("x", (1, rows, channels), layout="row_major"),
        tensor("i", (1, 1, taken), "si32", "row_major"),
    )
    y = tensor("y", (1, taken, channels), layout="row_major")
    attributes = dict(sizes=[rows], column=False, fill_out_of_bounds=False, windows=[1])
    return [x, index], [op("rows_gather", [x, index], y, **attributes)]


def conv2d(height: int, width: int, channels: int):
    x = tensor("x", (1, 1, height * width, channels), layout="row_major")
    weight = Value(
        "w", TensorType((channels, channels, 3, 3), "bf16", "row_major", "system", (channels**2 * 3, 3))
    )
    y = tensor("y", (1, 1, (height - 2) * (width - 2), channels))
    attributes = dict(
        batch_size=1, in_channels=channels, out_channels=channels, input_height=height, input_width=width,
        groups=1, kernel_size=[3, 3], stride=[1, 1], padding=[0, 0, 0, 0], dilation=[1, 1],
        conv2d_config={"enable_kernel_stride_folding": False, "config_tensors_in_dram": True},
    )  # fmt: skip
    return [x, weight], [Op("ttnn.conv2d", (x, weight, Value("d", None)), (y,), attributes | COARSE, "")]


def conv3d_in_blocks(channels: int, block: tuple[int, int, int], c_out_block: int = 32):
    x = torch.zeros(1, 3, 32, 32, channels)
    made, values = conv3d(nn.Conv3d(channels, channels, 3, padding=(0, 1, 1)), x, block, c_out_block)
    return [argument.value for argument in made.arguments], list(made.main.ops)


CASES = {
    "add": lambda: elementwise("add", **NO_ACTIVATIONS),
    "multiply": lambda: elementwise("multiply", **NO_ACTIVATIONS),
    "silu": lambda: elementwise("silu", 1),
    "typecast": lambda: one("typecast", (4, 256, 256), (4, 256, 256), to="f32"),
    "mean of rows": lambda: one("mean", (12, 320, 256), (12, 256), dim_arg=[1], keep_dim=False),
    "sum of rows": lambda: one("sum", (12, 320, 256), (12, 256), dim_arg=[1], keep_dim=False),
    "to rows": lambda: one("to_layout", (1024, 256), (1024, 256), layouts=("tile", "row_major")),
    "to tiles": lambda: one("to_layout", (1024, 256), (1024, 256), layouts=("row_major", "tile")),
    "to tiles, 1000 rows": lambda: one("to_layout", (1000, 256), (1000, 256), layouts=("row_major", "tile")),
    "slice of tiles": lambda: slice_rows(256, 768),
    "slice within tiles": lambda: slice_rows(5, 505),
    "slice of rows": lambda: slice_rows(5, 505, "row_major"),
    "concat of tiles": lambda: concat(512),
    "concat within tiles": lambda: concat(500),
    "pad of rows": lambda: one(
        "pad", (30, 40, 256), (32, 42, 256), layouts=("row_major",) * 2, padding=[1, 1, 1, 1, 0, 0], value=0.0
    ),
    "permute, last stays": lambda: one("permute", (8, 32, 64, 64), (32, 8, 64, 64), permutation=[1, 0, 2, 3]),
    "permute, rows and columns": lambda: one("permute", (8, 128, 256), (8, 256, 128), permutation=[0, 2, 1]),
    "reshape, columns change": lambda: one("reshape", (1024, 256), (2048, 128), shape=[2048, 128]),
    "reshape, rows are padded": lambda: one("reshape", (20, 40, 256), (800, 256), shape=[800, 256]),
    "rows_gather": lambda: rows_gather(1024, 256, 1100),
    "linear 1024x256 by 256": lambda: product(1024, 256, 256),
    "linear 4096x128 by 64": lambda: product(4096, 128, 64),
    "product with itself, 6400x128": lambda: gram(1, 6400, 128),
    "product with itself, 3 of 256x128": lambda: gram(3, 256, 128),
    "conv2d 34x34x64": lambda: conv2d(34, 34, 64),
    "conv2d 66x66x128": lambda: conv2d(66, 66, 128),
    "conv3d 32, blocks 1x1x1": lambda: conv3d_in_blocks(32, (1, 1, 1)),
    "conv3d 32, blocks 1x8x8": lambda: conv3d_in_blocks(32, (1, 8, 8)),
    "conv3d 64, blocks 1x1x1": lambda: conv3d_in_blocks(64, (1, 1, 1)),
    "conv3d 64, blocks 1x8x8": lambda: conv3d_in_blocks(64, (1, 8, 8)),
    "conv3d 64, blocks 1x8x8 by 64": lambda: conv3d_in_blocks(64, (1, 8, 8), 64),
    # At full size.
    "conv2d 62x108x768": lambda: conv2d(62, 108, 768),
    "conv2d 122x214x512": lambda: conv2d(122, 214, 512),
    "conv2d 242x426x256": lambda: conv2d(242, 426, 256),
    "conv2d 482x850x256": lambda: conv2d(482, 850, 256),
}
MADE_WITH = ("ttnn", "ttsim")
KEYS = [
    ("rows", {"board": board} | case)
    for board in ("p150", "n150")
    for case in [*({"case": name} for name in CASES), {"steps": "native"}]
]


def unused(key) -> set[str]:
    return other_families("AutoencoderKLMochi")


def native_steps(chip: Chip) -> list[dict]:
    """Every op of a native decoder's first step, and of one that goes on: `exact` are those with all bytes as
    estimated."""
    decoder, board, found = NativeDecoder(load_vae("demo")), chip.target.board, defaultdict(list)
    for begins in (True, False):
        made = decoder.step(NATIVE, begins, board.name)
        shapes = {} if begins else decoder.state_shapes(1, *NATIVE[1:])
        state = {name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}
        inputs = decoder.inputs(
            torch.zeros(1, decoder.latent_channels, *NATIVE, dtype=torch.bfloat16), state, begins
        )
        counted, ops = dram_counts.write(made.program)
        ran = chip.run(counted, made.weights | inputs, shared="native")
        for one, transfers in zip(ops, dram_counts.moved(ran.outputs), strict=True):
            found[one.name].append((one, transfers, op_cost(one, board.chip)))
    rows = []
    for kind, seen in found.items():
        read, written = (sum(transfers[place] for _, transfers, _ in seen) for place in (0, 1))
        estimate = sum(cost.moved for *_, cost in seen)
        exact = sum(tuple(transfers) == (cost.read, cost.written) for _, transfers, cost in seen)
        row = {"case": f"native: {kind.removeprefix('ttnn.').removeprefix('generic_op.')}"}
        rows.append(row | against(read, written, sum(once(one) for one, *_ in seen), estimate))
        rows[-1] |= {"ops": len(seen), "exact": exact}
    return rows


def against(read: int, written: int, at_least: int, estimate: int) -> dict:
    return {
        "once": at_least, "read": read, "written": written, "estimate": estimate,
        "seen_over_once": round((read + written) / at_least, 3),
        "seen_over_estimate": round((read + written) / estimate, 3),
    }  # fmt: skip


def measure(name: str, chip: Chip) -> dict:
    values, ops = CASES[name]()
    made = program(values, ops)
    dtypes = {"si32": torch.int32}
    arguments = {
        a.name: torch.zeros(a.type.shape, dtype=dtypes.get(a.type.dtype, torch.bfloat16))
        for a in made.arguments
    }
    cost = op_cost(ops[0], chip.target.board.chip)
    try:
        outputs = chip.run(dram_counts.write(made)[0], arguments, name=name).outputs
    except Broke as broke:
        return {"error": str(broke)[:200]}
    ((read, written),) = dram_counts.moved(outputs)
    host = sum(
        v.type.logical_bytes for v in ops[0].operands if v.type and v.type.memory == "system"
    )  # no kernel's
    return against(read, written, once(ops[0]), cost.read + cost.written - host)


def make(keys):
    for board, of in groupby(keys, lambda key: key[-1]["board"]):
        with Chip(resolve(f"{board}-ttsim"), counting=True) as chip:
            for key in of:
                yield key, native_steps(chip) if "steps" in key[-1] else measure(key[-1]["case"], chip)
