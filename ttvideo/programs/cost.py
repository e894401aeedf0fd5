"""What a compiled program costs: DRAM traffic, live DRAM and arithmetic, read off its text.

Exact here: shapes, padding, lifetimes. Bytes moved are an estimate, by rules that were counted
(`ttvideo.programs.traffic`).
"""

import math
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from functools import lru_cache

from ttvideo.programs import own
from ttvideo.programs.convolution import geometry
from ttvideo.programs.fidelity import stated
from ttvideo.programs.program import Function, Op, Program, Value
from ttvideo.programs.reshape import is_view, map_bytes, map_key
from ttvideo.programs.traffic import traffic
from ttvideo.targets.boards import PASSES, Board, Chip

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
} | own.MOVES


@dataclass(frozen=True)
class OpCost:
    """`read` and `written` in bytes of device memory (DRAM only), `flops` in multiplies and adds.

    `launches` are the programs that the op starts on the chip: 0 for a view, several for a convolution;
    `passes` those of the multiplier, by the fidelity that the op asks for.
    """

    name: str
    location: str
    read: int
    written: int
    flops: int
    launches: int = 1
    passes: int = PASSES["hifi4"]

    @property
    def moved(self) -> int:
        return self.read + self.written


@dataclass(frozen=True)
class Cost:
    """Costs of one run (`ops`, `live`) and of the one-time const-eval functions (`const_eval`).

    `live` holds the DRAM bytes allocated at the start and after each op of `main`, arguments and const-eval
    results included: those belong to the caller and to the runtime's cache, and outlive the run whatever the
    program deallocates (tt-mlir, runtime/ttvideo/ttnn/operations/cache/load_cached.cpp). `peak_dram_bytes` is
    its peak, with each buffer rounded up to whole pages in every bank: what must fit. `const_eval_peak_bytes`
    is that while the one-time work runs, before the first run. Not in the text, hence not in these: what
    TT-NN allocates of itself. The largest part of it, `reshape_map_bytes`, stays in DRAM after the first run
    (an estimate, see `ttvideo.programs.reshape`); the rest is each op's own scratch space.
    `first_run_on_ttnn` has the maps in it, and `findings/peaks.py` how close that is.
    """

    ops: tuple[OpCost, ...]
    const_eval: tuple[OpCost, ...]
    live: tuple[int, ...]
    peak_dram_bytes: int
    const_eval_peak_bytes: int
    reshape_map_bytes: int
    largest_tensor_bytes: int
    weight_bytes: int

    @property
    def dram_bytes_moved(self) -> int:
        """Estimate: what kernels read and write."""
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

    @property
    def hifi4_flops(self) -> int:
        """The same at HiFi4's rate, in which an op of HiFi3 counts three quarters."""
        return sum(op.flops * op.passes for op in self.ops) // PASSES["hifi4"]

    @property
    def launches(self) -> int:
        """Programs started on the chip in one run."""
        return sum(op.launches for op in self.ops)

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
            "launches": self.launches,
            "dram_bytes_moved": self.dram_bytes_moved,
            "data_movement_share": self.data_movement_share,
            "largest_tensor_bytes": self.largest_tensor_bytes,
            "peak_dram_bytes": self.peak_dram_bytes,
            "const_eval_bytes_moved": self.const_eval_bytes_moved,
            "flops": self.flops,
            "hifi4_flops": self.hifi4_flops,
        }


def once(op: Op) -> int:
    """Bytes, were each distinct operand of an op read once and each result written once; of a slice, what it
    takes."""
    read = sum(value.type.stored_bytes for value in dict.fromkeys(op.operands) if value.type)
    written = sum(value.type.stored_bytes for value in op.results)
    return (min(read, written) if op.name == "ttnn.slice_static" else read) + written


# From one program to the next on the device: 2 to 22 µs were measured (tt-metal#11386). Without a trace the
# host adds to it: 455 of 1,164 ms in tt-metal#50772.
LAUNCH_SECONDS = (2e-6, 22e-6)


@dataclass(frozen=True)
class Roofline:
    """Estimate: the least seconds one run can take on a board, were each resource used fully.

    `launch_seconds` is a range: what starting each program takes at the least and at the most.
    """

    board: str
    arithmetic_seconds: float
    dram_seconds: float
    launch_seconds: tuple[float, float]

    @property
    def binds(self) -> str:
        """The resource that takes longest: "arithmetic", "DRAM", "launches"; "DRAM or launches" if either
        can."""
        name, seconds = max((self.arithmetic_seconds, "arithmetic"), (self.dram_seconds, "DRAM"))[::-1]
        least, most = self.launch_seconds
        if least > seconds:
            return "launches"
        return f"{name} or launches" if most > seconds else name

    @property
    def seconds(self) -> float:
        return max(self.arithmetic_seconds, self.dram_seconds, self.launch_seconds[0])

    def as_dict(self) -> dict:
        return asdict(self) | {"binds": self.binds}


@lru_cache(maxsize=4)
def cost(program: Program) -> Cost:
    """Cost a program as `ttvideo.programs.program.read` gives it."""
    const_eval = [f for f in program.functions.values() if f.const_eval]
    rounded = Sizes.of_chip(program.chip)
    live, largest, peak = _live(program, rounded)
    chip = program.chip
    return Cost(
        ops=_op_costs(program.main, chip),
        const_eval=tuple(op for f in const_eval for op in _op_costs(f, chip)),
        live=live,
        peak_dram_bytes=peak,
        const_eval_peak_bytes=max(_const_eval(program, rounded)),
        reshape_map_bytes=sum(
            _maps((op for f in (*const_eval, program.main) for op in f.ops), chip).values()
        ),
        largest_tensor_bytes=largest,
        weight_bytes=sum(
            a.type.logical_bytes for a in program.arguments if a.kind in ("parameter", "constant")
        ),
    )


def roofline(cost: Cost, board: Board) -> Roofline:
    """Seconds of a run by bf16 arithmetic, DRAM traffic and launches on a chip of the board: an estimate."""
    return roofline_of(cost.hifi4_flops, cost.dram_bytes_moved, cost.launches, board)


def roofline_of(hifi4_flops: float, dram_bytes: float, launches: int, board: Board) -> Roofline:
    """The same of figures that are stored."""
    chip = board.chip
    by_arithmetic, by_dram = hifi4_flops / (chip.bf16_tflops * 1e12), dram_bytes / (chip.dram_gb_per_s * 1e9)
    return Roofline(board.name, by_arithmetic, by_dram, tuple(launches * each for each in LAUNCH_SECONDS))


def in_turn(cost: Cost, board: Board) -> float:
    """Estimate: the least seconds of one run whose ops don't overlap, each by what binds it, arithmetic or
    DRAM."""
    chip = board.chip
    rate = chip.bf16_tflops * 1e12 * PASSES["hifi4"]
    return sum(max(op.flops * op.passes / rate, op.moved / (chip.dram_gb_per_s * 1e9)) for op in cost.ops)


@dataclass(frozen=True)
class Sizes:
    """How large a tensor's DRAM buffer is: with the defaults just its pages.

    An interleaved buffer goes to the banks page by page, a page being one tile or one row. Each page is
    rounded up to the alignment, and every bank sets aside as many as the fullest one
    (tt-metal, tt_metal/impl/allocator/allocator.cpp, `SizeBytesPerBank`).
    """

    banks: int = 1
    alignment: int = 1

    @classmethod
    def of_chip(cls, chip: Chip) -> "Sizes":
        return cls(chip.dram_channels, chip.noc_dram_align_bytes)

    def of(self, value: Value) -> int:
        """Bytes; 0 for a tensor in L1 or on the host, and for what is no tensor."""
        kind = value.type
        if kind is None or kind.memory != "dram":
            return 0
        pages = math.prod(kind.buffer if kind.layout == "tile" else kind.buffer[:-1])
        page = kind.stored_bytes // pages
        return -(-pages // self.banks) * self.banks * (-(-page // self.alignment) * self.alignment)


def _op_costs(function: Function, chip: Chip) -> tuple[OpCost, ...]:
    return tuple(op_cost(op, chip) for op in function.ops if op.name not in FREE)


def op_cost(op: Op, chip: Chip) -> OpCost:
    moved = traffic(op, chip)
    return OpCost(
        op.name, op.location, moved.read, moved.written, flops(op), moved.launches, PASSES[stated(op)]
    )


def _maps(ops, chip: Chip) -> dict[tuple, int]:
    """Bytes of each distinct map that the ops' reshapes follow, those at the end of a conv2d too."""
    keys = dict.fromkeys(key for op in ops if (key := _map_of(op, chip)) is not None)
    return {key: map_bytes(*key) for key in keys}


def _map_of(op: Op, chip: Chip) -> tuple | None:
    return geometry(op, chip).reshaped if op.name == "ttnn.conv2d" else map_key(op)


ATTENTION = "ttnn.scaled_dot_product_attention"


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
    if op.name == ATTENTION:
        return 4 * math.prod(op.operands[0].type.shape) * op.operands[1].type.shape[-2]
    return 0


class _Dram:
    """Buffers of DRAM, shared by the values that are views of one another."""

    def __init__(self, sizes: Sizes, chip: Chip, maps: set | None = None):
        self.sizes, self.chip = sizes, chip
        self.maps = maps  # those that exist already; None to leave maps out
        self.buffer: dict[Value, Value] = {}
        self.users: dict[Value, int] = {}
        self.bytes = 0
        self.largest = 0
        self.peak = 0  # with what a convolution holds while it runs

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
                if op.name not in FREE:
                    self.peak = max(self.peak, self.bytes + traffic(op, self.chip).scratch)
            self.peak = max(self.peak, self.bytes)
            yield self.bytes

    def keep_map(self, op: Op) -> None:
        key = _map_of(op, self.chip) if self.maps is not None else None
        if self.maps is not None and key is not None and key not in self.maps:
            self.maps.add(key)
            self.bytes += map_bytes(*key)


def first_run_on_ttnn(program: Program, inputs_stay: bool = True) -> int:
    """The most bytes live after an op of a first run by `ttvideo.ttnn`, maps made on the way; a stream gives
    up its inputs as they are used up, a probe's stay."""
    sizes, maps = Sizes.of_chip(program.chip), set()
    for _ in _const_eval(program, sizes, maps):
        pass
    made = sum(map_bytes(*key) for key in maps)
    return made + max(_live(program, sizes, maps, inputs_stay)[0])


def _live(
    program: Program, sizes: Sizes, maps: set | None = None, inputs_stay: bool = True
) -> tuple[tuple[int, ...], int, int]:
    """Bytes live at the start and after each op of `main`; the largest buffer; the peak, within ops too."""
    dram = _Dram(sizes, program.chip, maps)
    for argument in program.arguments:
        dram.allocate(argument.value, kept=inputs_stay or argument.kind in ("parameter", "constant"))
    for value in _cached(program):
        dram.allocate(value, kept=True)
    dram.peak = dram.bytes
    return (dram.bytes, *dram.run(program.main)), dram.largest, dram.peak


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
            dram = _Dram(sizes, program.chip, maps)
            live += [kept + inner for inner in dram.run(program.functions[op.attributes["callee"]])]
            kept += sum(sizes.of(result) for result in op.results)
            kept += sum(map_bytes(*key) for key in set(maps or ()) - known)
    return live + [kept]
