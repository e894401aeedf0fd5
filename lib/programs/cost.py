"""What a compiled program costs: DRAM traffic, live DRAM and arithmetic, read off its text.

Exact here: shapes, padding, lifetimes. An estimate: that every op reads each operand once and writes
each result once. A convolution reads its halo again and a matmul may read an operand once per core
row, so a real run moves at least this much.
"""

import math
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from functools import lru_cache

from lib.programs.program import Function, Op, Program, Value
from lib.programs.reshape import is_view, map_bytes, map_key
from lib.targets.boards import Board

# Bookkeeping: no work on the chip.
FREE = {"ttnn.deallocate", "ttnn.get_device", "ttcore.load_cached"}

# Ops that compute nothing: the result's elements are the operand's, elsewhere or otherwise laid out.
DATA_MOVEMENT = {
    f"ttnn.{name}"
    for name in (
        "reshape permute transpose slice_static slice_dynamic concat pad repeat repeat_interleave embedding"
        " gather rows_gather assign to_layout to_memory_config to_device from_device prepare_conv2d_weights"
        " prepare_conv2d_bias prepare_conv3d_weights"
    ).split()
}


@dataclass(frozen=True)
class OpCost:
    """`read` and `written` in bytes of device memory (DRAM only), `flops` in multiplies and adds."""

    name: str
    location: str
    read: int
    written: int
    flops: int

    @property
    def moved(self) -> int:
        return self.read + self.written


@dataclass(frozen=True)
class Cost:
    """Costs of one run (`ops`, `live`) and of the one-time const-eval functions (`const_eval`).

    `live` holds the DRAM bytes allocated at the start and after each op of `main`, arguments and
    const-eval results included: those belong to the caller and to the runtime's cache, and outlive
    the run whatever the program deallocates (tt-mlir, runtime/lib/ttnn/operations/cache/load_cached.cpp).
    `peak_dram_bytes` is its peak, with each buffer rounded up to whole pages in every bank: what must fit.
    `const_eval_peak_bytes` is that while the one-time work runs, before the first run.
    Not in the text, hence not in these: what TT-NN allocates of itself. The largest part of it,
    `reshape_map_bytes`, stays in DRAM after the first run (an estimate, see `lib.programs.reshape`); the rest is
    each op's own scratch space. `first_run_buffer_bytes` is the peak of a first run, one-time work and maps
    included, without rounding to pages: what the allocator's own statistics count (`lib.programs.allocator`).
    """

    ops: tuple[OpCost, ...]
    const_eval: tuple[OpCost, ...]
    live: tuple[int, ...]
    peak_dram_bytes: int
    const_eval_peak_bytes: int
    reshape_map_bytes: int
    first_run_buffer_bytes: int
    largest_tensor_bytes: int
    weight_bytes: int

    @property
    def dram_bytes_moved(self) -> int:
        """Estimate: every operand read once, every result written once."""
        return sum(op.moved for op in self.ops)

    @property
    def const_eval_bytes_moved(self) -> int:
        """Estimate, as `dram_bytes_moved`, of the work done once per set of weights."""
        return sum(op.moved for op in self.const_eval)

    @property
    def data_movement_share(self) -> float:
        moved = self.dram_bytes_moved
        return sum(op.moved for op in self.ops if op.name in DATA_MOVEMENT) / moved if moved else 0.0

    @property
    def flops(self) -> int:
        return sum(op.flops for op in self.ops)

    def counts(self) -> Counter:
        return Counter(op.name for op in self.ops)

    def bytes_by_kind(self) -> dict[str, int]:
        total: dict[str, int] = defaultdict(int)
        for op in self.ops:
            total[op.name] += op.moved
        return dict(sorted(total.items(), key=lambda item: -item[1]))

    def record(self) -> dict:
        """The figures that go into a record; bytes, operations, and a share of 1."""
        return {
            "ops": len(self.ops),
            "dram_bytes_moved": self.dram_bytes_moved,
            "data_movement_share": self.data_movement_share,
            "largest_tensor_bytes": self.largest_tensor_bytes,
            "peak_dram_bytes": self.peak_dram_bytes,
            "const_eval_bytes_moved": self.const_eval_bytes_moved,
            "flops": self.flops,
        }


@dataclass(frozen=True)
class Roofline:
    """Estimate: the least seconds one run can take on a board, were each resource used fully."""

    board: str
    arithmetic_seconds: float
    dram_seconds: float

    @property
    def binds(self) -> str:
        return "arithmetic" if self.arithmetic_seconds > self.dram_seconds else "DRAM"

    @property
    def seconds(self) -> float:
        return max(self.arithmetic_seconds, self.dram_seconds)

    def as_dict(self) -> dict:
        return asdict(self) | {"binds": self.binds}


@lru_cache(maxsize=4)
def cost(program: Program) -> Cost:
    """Cost a program as `lib.programs.program.read` gives it."""
    const_eval = [f for f in program.functions.values() if f.const_eval]
    rounded = Sizes(program.dram_banks, program.dram_alignment)
    live, largest = _live(program, rounded)
    return Cost(
        ops=_op_costs(program.main),
        const_eval=tuple(op for f in const_eval for op in _op_costs(f)),
        live=live,
        peak_dram_bytes=max(live),
        const_eval_peak_bytes=max(_const_eval(program, rounded)),
        reshape_map_bytes=sum(_maps(op for f in (*const_eval, program.main) for op in f.ops).values()),
        first_run_buffer_bytes=_first_run(program),
        largest_tensor_bytes=largest,
        weight_bytes=sum(a.type.logical_bytes for a in program.arguments if a.kind in ("parameter", "constant")),
    )


def roofline(cost: Cost, board: Board) -> Roofline:
    """Seconds of one run by bf16 arithmetic and by DRAM traffic on one chip of the board. An estimate."""
    chip = board.chip
    by_arithmetic = cost.flops / (chip.bf16_tflops * 1e12)
    by_dram = cost.dram_bytes_moved / (chip.dram_gb_per_s * 1e9)
    return Roofline(board.name, by_arithmetic, by_dram)


@dataclass(frozen=True)
class Sizes:
    """How large a tensor's DRAM buffer is: with the defaults just its pages.

    An interleaved buffer goes to the banks page by page, a page being one tile or one row. Each page is
    rounded up to the alignment, and every bank sets aside as many as the fullest one
    (tt-metal, tt_metal/impl/allocator/allocator.cpp, `SizeBytesPerBank`).
    """

    banks: int = 1
    alignment: int = 1

    def of(self, value: Value) -> int:
        """Bytes; 0 for a tensor in L1 or on the host, and for what is no tensor."""
        kind = value.type
        if kind is None or kind.memory != "dram":
            return 0
        pages = math.prod(kind.buffer if kind.layout == "tile" else kind.buffer[:-1])
        page = kind.stored_bytes // pages
        return -(-pages // self.banks) * self.banks * (-(-page // self.alignment) * self.alignment)


def _op_costs(function: Function) -> tuple[OpCost, ...]:
    return tuple(_op_cost(op) for op in function.ops if op.name not in FREE)


def _op_cost(op: Op) -> OpCost:
    if is_view(op):
        return OpCost(op.name, op.location, 0, 0, 0)
    written = sum(_dram(v) for v in op.results)
    read = sum(_dram(v) for v in dict.fromkeys(op.operands)) + sum(_maps([op]).values())
    if op.name == "ttnn.conv2d":  # takes weights that the compiler left on the host through DRAM, in every run
        host = sum(v.type.logical_bytes for v in op.operands if v.type and v.type.memory == "system")
        read, written = read + host, written + host
    if op.name in ("ttnn.slice_static", "ttnn.embedding"):
        read = min(read, written)  # only what is taken is read
    return OpCost(op.name, op.location, read, written, flops(op))


def _maps(ops) -> dict[tuple, int]:
    """Bytes of each distinct map that the ops' reshapes follow."""
    keys = dict.fromkeys(key for op in ops if (key := map_key(op)) is not None)
    return {key: map_bytes(*key) for key in keys}


def _dram(value: Value) -> int:
    return value.type.stored_bytes if value.type and value.type.memory == "dram" else 0


def flops(op: Op) -> int:
    """Multiplies and adds of a convolution or matrix product; 0 for any other op."""
    if op.name in ("ttnn.conv2d", "ttnn.conv3d"):
        a = op.attributes
        taps = math.prod(a["kernel_size"]) * a["in_channels"] // a["groups"]
        return 2 * math.prod(op.results[0].type.shape) * taps
    if op.name in ("ttnn.matmul", "ttnn.linear"):
        left = op.operands[0].type.shape
        inner = left[-2] if op.attributes.get("transpose_a") else left[-1]
        return 2 * math.prod(op.results[0].type.shape) * inner
    return 0


class _Dram:
    """Buffers of DRAM, shared by the values that are views of one another."""

    def __init__(self, sizes: Sizes, maps: set | None = None):
        self.sizes = sizes
        self.maps = maps  # those that exist already; None to leave maps out
        self.buffer: dict[Value, Value] = {}
        self.users: dict[Value, int] = {}
        self.bytes = 0
        self.largest = 0

    def allocate(self, value: Value, kept: bool = False) -> None:
        size = self.sizes.of(value)
        if size:
            self.buffer[value] = value
            self.users[value] = 2 if kept else 1  # a kept buffer has an owner outside the program
            self.bytes += size
            self.largest = max(self.largest, size)

    def share(self, value: Value, of: Value) -> None:
        if of in self.buffer:
            self.buffer[value] = self.buffer[of]
            self.users[self.buffer[of]] += 1

    def free(self, value: Value) -> None:
        buffer = self.buffer.pop(value, None)
        if buffer is not None:
            self.users[buffer] -= 1
            if not self.users[buffer]:
                self.bytes -= self.sizes.of(buffer)

    def run(self, function: Function):
        """Allocate and free as the function's ops do, yielding the bytes live after each."""
        for op in function.ops:
            if op.name == "ttnn.deallocate":
                self.free(op.operands[0])
            elif is_view(op):
                self.share(op.results[0], op.operands[0])
            elif op.name != "ttcore.load_cached":
                for result in op.results:
                    self.allocate(result)
                self.keep_map(op)
            yield self.bytes

    def keep_map(self, op: Op) -> None:
        key = map_key(op)
        if self.maps is not None and key is not None and key not in self.maps:
            self.maps.add(key)
            self.bytes += map_bytes(*key)


def _live(program: Program, sizes: Sizes, maps: set | None = None) -> tuple[tuple[int, ...], int]:
    """Bytes live at the start and after each op of `main`, and the largest buffer."""
    dram = _Dram(sizes, maps)
    for value in (*_arguments(program), *_cached(program)):
        dram.allocate(value, kept=True)
    return (dram.bytes, *dram.run(program.main)), dram.largest


def _arguments(program: Program) -> list[Value]:
    return [argument.value for argument in program.arguments]


def _cached(program: Program) -> list[Value]:
    return [result for op in program.main.ops if op.name == "ttcore.load_cached" for result in op.results]


def _const_eval(program: Program, sizes: Sizes, maps: set | None = None) -> list[int]:
    """Bytes live while the const-eval functions run, in their order, each result kept."""
    kept = sum(sizes.of(value) for value in _arguments(program))
    live = [kept]
    for op in program.main.ops:
        if op.name == "ttcore.load_cached":
            known = set(maps or ())
            live += [kept + inner for inner in _Dram(sizes, maps).run(program.functions[op.attributes["callee"]])]
            kept += sum(sizes.of(result) for result in op.results)
            kept += sum(map_bytes(*key) for key in set(maps or ()) - known)
    return live + [kept]


def _first_run(program: Program) -> int:
    before = max(_const_eval(program, Sizes(), maps := set()))
    return max(before, sum(map_bytes(*key) for key in maps) + max(_live(program, Sizes(), set(maps))[0]))
