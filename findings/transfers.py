"""How many bytes do TT-NN's kernels read from DRAM and write to it, beside what ttvideo.programs.cost says?

Each case is one op, executed by TT-NN on a simulated chip by kernels that count what they ask of DRAM
(`ttvideo.programs.own.dram_counts`); those of a 480×848 clip's sizes are "at full size". "each operand once"
is what was assumed of every op before these counts. With a row for each kind of op, "native" are two steps of
the demo decoder in TT-NN's ops, one latent frame of 4x4, and "compiled" is every distinct op that the
compiler writes for small decoders of three models, stock and for tiles, each alone.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import groupby

import torch
from torch import nn

from findings.inputs import place_of
from findings.unused import SECONDS, other_families
from ttvideo.basics.errors import Refused
from ttvideo.decoders.families import for_tiles
from ttvideo.decoders.native import NativeDecoder
from ttvideo.media.latents import channels_of
from ttvideo.media.models import load_vae
from ttvideo.media.small_autoencoders import SMALL
from ttvideo.media.video_models import ALL
from ttvideo.probing.counted import by_cost
from ttvideo.probing.probe import probe
from ttvideo.programs.cost import FREE, once
from ttvideo.programs.own import dram_counts
from ttvideo.programs.program import Op, TensorType, Value
from ttvideo.programs.reshape import is_view
from ttvideo.targets.target import resolve
from ttvideo.ttnn import Broke, Chip
from ttvideo.ttnn.handmade import EXACT, conv3d, op, program, tensor

SIZE = (1, 4, 4)  # latent frames, height and width
# Bytes and nothing else depend on it: a quarter of the simulator's work.
COARSE = {"compute_config": {"math_fidelity": "lofi", "fp32_dest_acc_en": True}}


def one(name: str, before, after, dtype="bf16", to=None, layouts=("tile", "tile"), **attributes):
    x = tensor("x", before, dtype, layouts[0])
    return [x], [op(name, [x], tensor("y", after, to or dtype, layouts[1]), **attributes)]


def gram(batch: int, rows: int, channels: int):
    x, y = tensor("x", (batch, rows, channels)), tensor("y", (batch, channels, channels))
    return [x], [op("matmul", [x, x], y, transpose_a=True, transpose_b=False, **EXACT)]


def slice_rows(begin: int, end: int, layout: str = "tile"):
    taken = dict(begins=[begin, 0], ends=[end, 256], step=[1, 1])
    return one("slice_static", (1024, 256), (end - begin, 256), layouts=(layout, layout), **taken)


def concat(rows: int):
    parts = [tensor("a", (rows, 256)), tensor("b", (rows, 256))]
    return parts, [op("concat", parts, tensor("y", (2 * rows, 256)), dim=0)]


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
NATIVE, COMPILED = "native", "compiled"
DECODERS = ("Mochi", "Wan 2.1", "CogVideoX")  # small ones; together they have most kinds of op
LARGEST = 3e6  # bytes that a convolution gives, of these: more take minutes to simulate
KEYS = [
    ("rows", {"board": board} | case)
    for board in ("p150", "n150")
    for case in [*({"case": name} for name in CASES), {"steps": NATIVE}, {"steps": COMPILED}]
]
Seen = tuple[Op, tuple[int, int]]  # an op, and the bytes that its kernels read and wrote


def unused(key) -> set[str]:
    if key[-1].get("steps") == COMPILED:
        return SECONDS
    return SECONDS | other_families("AutoencoderKLMochi") | {place_of(compiled_ops)}


def native_steps(chip: Chip) -> Iterator[Seen]:
    """Every op of a native decoder's first step, and of one that goes on."""
    decoder, board = NativeDecoder(load_vae("demo")), chip.target.board.name
    for begins in (True, False):
        made = decoder.step(SIZE, begins, board)
        shapes = {} if begins else decoder.state_shapes(1, *SIZE[1:])
        state = {name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}
        z = torch.zeros(1, decoder.latent_channels, *SIZE, dtype=torch.bfloat16)
        counted, ops = dram_counts.write(made.program)
        ran = chip.run(counted, made.weights | decoder.inputs(z, state, begins), shared=NATIVE)
        yield from zip(ops, dram_counts.moved(ran.outputs), strict=True)


def compiled_ops(chip: Chip) -> Iterator[Seen]:
    """Every distinct op of small decoders' programs, stock and for tiles, each alone."""
    found: dict[str, Op] = {}
    for name in DECODERS:
        vae = SMALL[name].make().bfloat16().requires_grad_(False)
        tiles, z = for_tiles(vae), torch.zeros(1, channels_of(vae), 2, 4, 4).bfloat16()
        for module, z, how in ((tiles, z, {"ends": True}), ALL[name].stock(vae, z)):
            for one in probe(module, (z,), chip.target.compiler.name, **how).program.main.ops:
                types = [value.type for value in (*one.operands, *one.results)]
                found.setdefault(f"{one.name} {types} {sorted(one.attributes.items())}", one)
    for one in found.values():
        convolves = one.name in ("ttnn.conv2d", "ttnn.conv3d")
        if one.name not in FREE and not is_view(one) and not (convolves and once(one) > LARGEST):
            values = list(dict.fromkeys(value for value in one.operands if value.type))
            try:
                yield one, alone(chip, values, one)
            except Refused:  # nothing was counted: a slice of all there is starts no kernel
                yield one, (0, 0)


def alone(chip: Chip, values: list[Value], *ops: Op) -> tuple[int, int]:
    """What one op reads and writes, of zeros."""
    made = program(values, list(ops), chip=chip.target.board.chip)
    dtypes = {"si32": torch.int32, "u32": torch.int32}
    zeros = {
        v.name: torch.zeros(v.type.shape, dtype=dtypes.get(v.type.dtype, torch.bfloat16)) for v in values
    }
    (moved,) = dram_counts.moved(chip.run(dram_counts.write(made)[0], zeros, name=ops[0].name).outputs)
    return moved


def by_kind(where: str, seen: Iterable[Seen], chip: Chip) -> list[dict]:
    """A row for each kind of op: `exact` are those with all bytes as estimated."""
    kinds, rows = defaultdict(list), []
    for one, moved in seen:
        kinds[one.name].append((one, moved, by_cost(one, chip.target.board.chip)))
    for kind, of in kinds.items():
        (read, written), estimate = (tuple(map(sum, zip(*(one[i] for one in of)))) for i in (1, 2))
        row = {"case": f"{where}: {kind.removeprefix('ttnn.').removeprefix('generic_op.')}"}
        rows.append(row | against(read, written, sum(once(one) for one, *_ in of), sum(estimate)))
        rows[-1] |= {"ops": len(of), "exact": sum(moved == cost for _, moved, cost in of)}
    return rows


def against(read: int, written: int, at_least: int, estimate: int) -> dict:
    return {
        "once": at_least, "read": read, "written": written, "estimate": estimate,
        "seen_over_once": round((read + written) / at_least, 3),
        "seen_over_estimate": round((read + written) / estimate, 3),
    }  # fmt: skip


def measure(name: str, chip: Chip) -> dict:
    values, ops = CASES[name]()
    try:
        read, written = alone(chip, values, *ops)
    except Broke as broke:
        return {"error": str(broke)[:200]}
    return against(read, written, once(ops[0]), sum(by_cost(ops[0], chip.target.board.chip)))


def make(keys):
    steps = {NATIVE: native_steps, COMPILED: compiled_ops}
    for board, of in groupby(keys, lambda key: key[-1]["board"]):
        with Chip(resolve(f"{board}-ttsim"), counting=True) as chip:
            for key in of:
                which = key[-1].get("steps")
                yield (
                    key,
                    by_kind(which, steps[which](chip), chip) if which else measure(key[-1]["case"], chip),
                )
