"""What one op asks of a chip, in terms that a time can be fitted to: `Work`.

Every term is physical. "products" and "dram" are the microseconds that they would take at the chip's peak,
the busiest core's tile products and all bytes of device memory; the other terms are counts on the busiest
core over its clock in MHz, so a fitted coefficient is in cycles. So another clock, other cores and another
memory give other times by the same coefficients.
"""

import math
from dataclasses import dataclass, field, replace

from ttvideo.programs.conv3d_blocks import Blocks, Size, op, shares
from ttvideo.programs.convolution import conv3d
from ttvideo.programs.program import ELEMENT_BYTES, TILE, Op
from ttvideo.targets.boards import PASS_CYCLES, PASSES, Chip

# Elementwise functions that the vector unit takes hundreds of cycles a tile for; the others move data as fast
# as it comes.
TRANSCENDENTAL = frozenset("exp silu sigmoid gelu erf tanh log sin cos softmax pow".split())
LONG = 8  # times as many rows as columns, or columns as rows, and a product goes along one side only
L1_BYTES_A_CYCLE = 32  # of a core's port to the network on the chip


@dataclass(frozen=True)
class Work:
    """`kind` names a form and its coefficients (`ttvideo.programs.seconds.model`); `floor_us` is the
    roofline's time."""

    kind: str
    arch: str
    floor_us: float
    terms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Machine:
    """A chip, or as many of its cores as were free for a measurement."""

    chip: Chip
    cores: int
    grid_xy: tuple[int, int]

    @property
    def mhz(self) -> float:
        return self.chip.clock_ghz * 1000

    @property
    def counted(self) -> Chip:
        """The chip as `ttvideo.programs.conv3d_blocks` shares work out on it."""
        return replace(self.chip, grid_yx=(1, self.cores))

    def dram_us(self, moved: float) -> float:
        return moved / self.chip.dram_gb_per_s / 1000

    def products_us(self, tile_products: float, fidelity: str) -> float:
        """Of one core."""
        return tile_products * PASS_CYCLES * PASSES[fidelity] / self.mhz

    def floor_us(self, flops: float, moved: float, fidelity: str) -> float:
        peak = (
            self.cores * self.mhz * 2 * TILE**3 / (PASS_CYCLES * PASSES[fidelity])
        )  # operations a microsecond
        return max(flops / peak, self.dram_us(moved))


def machine(chip: Chip, cores: int | None = None, grid_xy: tuple[int, int] | None = None) -> Machine:
    rows, columns = chip.grid_yx
    if grid_xy is None and cores not in (None, chip.cores):
        grid_xy = _rectangle(cores)
    grid_xy = grid_xy or (columns, rows)
    return Machine(chip, cores or math.prod(grid_xy), grid_xy)


def conv3d_work(size: Size, blocks: Blocks, on: Machine, fidelity: str, made: Op | None = None) -> Work:
    """A `ttnn.conv3d`: matrix products beside a reader that gathers a block's input and copies it into
    patches.

    Rows: each output pixel's patch is kT·kH copies of kW pixels' channels. The multiplier also adds up the
    partial sums of the blocks of input channels. Then what doesn't overlap: waiting for those sums, the
    weights' way from memory, and into each core. `made` is the op itself, where there is one.
    """
    of = shares(size, blocks, on.counted)
    each = math.prod(-(-count // cores) for count, cores in of)
    pixels, taps = blocks.t * blocks.h * blocks.w, math.prod(size.kernel)
    m, k, n = (-(-count // TILE) for count in (pixels, taps * blocks.c_in, blocks.c_out))
    halo = math.prod(
        b + reach - 1 for b, reach in zip((blocks.t, blocks.h, blocks.w), size.kernel, strict=True)
    )
    made = made or op(size, blocks)
    passes = conv3d(made, on.counted)
    moved = passes.read + passes.written
    weights = made.operands[1].type.stored_bytes
    flops = 2 * math.prod(size.out) * taps * size.c_in * size.c_out
    splits = of[0][1] > 1
    return Work(
        "conv3d",
        on.chip.arch,
        on.floor_us(flops, moved, fidelity),
        {
            "products": on.products_us(each * m * k * n, fidelity),
            "rows": each * pixels * math.prod(size.kernel[:2]) / on.mhz,
            "halo": each * halo / on.mhz,
            "gathered": on.dram_us(passes.read - weights),
            "dram": on.dram_us(moved),
            "sums": each * m * n * (of[0][1] - 1) / on.mhz,
            "handshakes": each * splits / on.mhz,
            "weights": on.dram_us(weights),
            "own_weights": taps * blocks.c_in * blocks.c_out * 2 / L1_BYTES_A_CYCLE / on.mhz,
        },
    )


@dataclass(frozen=True)
class Product:
    """A product of [rows, inner] with [inner, columns] in elements, `batch` times; `block` is in tiles (rows,
    inner, columns).

    A block is what a core makes at a time; None where the program isn't stated: then all that is a core's,
    two tiles deep. `narrow` is TT-NN's default program and any other whose blocks are one tile deep. `l1`
    says that only the right-hand side is in device memory.
    """

    rows: int
    inner: int
    columns: int
    batch: int = 1
    block: tuple[int, int, int] | None = None
    narrow: bool = False
    l1: bool = False
    bytes_each: float = 2.0


def matmul_work(
    p: Product, on: Machine, fidelity: str, moved: int | None = None, kind: str = "matmul"
) -> Work:
    """A matrix product on a grid: columns of cores share the columns, rows of cores all rows of all batches.

    No product of a batch is among the rows that were fitted: of those, this is read off the others.
    """
    across, down = on.grid_xy
    m, k, n = p.batch * -(-p.rows // TILE), -(-p.inner // TILE), -(-p.columns // TILE)
    per_m, per_n = _split(m, n, across, down, p.block is not None)
    block_m, block_k, block_n = p.block or (per_m, 1 if p.narrow else 2, per_n)
    block_m, block_n = min(block_m, per_m), min(block_n, per_n)
    times_m, times_k, times_n = -(-per_m // block_m), -(-k // block_k), -(-per_n // block_n)
    made = times_m * block_m * times_n * block_n
    left, right, out = (
        p.batch * a * b * p.bytes_each
        for a, b in ((p.rows, p.inner), (p.inner, p.columns), (p.rows, p.columns))
    )
    right = right if p.batch > 1 and not p.l1 else right / p.batch
    once = right + (not p.l1) * (left + out)
    # A block reads the right-hand side of its own batch alone.
    again = min(times_m, -(-p.rows // (TILE * block_m))) * right + (not p.l1) * (times_n * left + out)
    moved = once if moved is None else moved
    flops = 2 * p.batch * p.rows * p.inner * p.columns
    return Work(
        "matmul_narrow" if p.narrow and kind == "matmul" else kind,
        on.chip.arch,
        on.floor_us(flops, moved, fidelity),
        {
            "products": on.products_us(made * times_k * block_k, fidelity),
            "partial": made * times_k / on.mhz,
            "dram": on.dram_us(max(again, moved)),
            "blocks": times_m * times_n * times_k / on.mhz,
        },
    )


@dataclass(frozen=True)
class Attention:
    """Scaled dot-product attention: queries [batch, heads, queries, width] on as many heads of keys or fewer,
    in chunks."""

    batch: int
    heads: int
    queries: int
    keys: int
    width: int
    kv_heads: int
    causal: bool = False
    chunks: tuple[int, int] | None = None
    bytes_each: float = 2.0


def attention_work(a: Attention, on: Machine, fidelity: str, moved: int | None = None) -> Work:
    """Each core takes chunks of queries; each walks the chunks of keys: two products, and exponents of the
    scores between."""
    chunk_q, chunk_k = a.chunks or (128, 128)
    items, walks = a.batch * a.heads * -(-a.queries // chunk_q), -(-a.keys // chunk_k)
    share = 0.5 * (1 + 1 / walks) if a.causal else 1.0  # of the chunks of keys that a query sees
    pairs = -(-items // on.cores) * walks * share
    tiles = -(-chunk_q // TILE) * -(-chunk_k // TILE)
    wide = -(-a.width // TILE)
    kv = 2 * a.batch * a.kv_heads * a.keys * a.width * a.bytes_each
    moved = 2 * a.batch * a.heads * a.queries * a.width * a.bytes_each + kv if moved is None else moved
    flops = 4 * a.batch * a.heads * a.queries * a.keys * a.width * (0.5 if a.causal else 1.0)
    return Work(
        "attention",
        on.chip.arch,
        on.floor_us(flops, moved, fidelity),
        {
            "products": on.products_us(pairs * tiles * 2 * wide, fidelity),
            "scores": pairs * tiles / on.mhz,
            "chunks": pairs / on.mhz,
            "fetched": pairs * 2 * chunk_k * a.width * a.bytes_each / L1_BYTES_A_CYCLE / on.mhz,
            "dram": on.dram_us(moved),
        },
    )


@dataclass(frozen=True)
class Moved:
    """What an op by bytes moves: `tiles` and `rows` that it asks memory for one by one, of all cores.

    Harder are `ragged` rows, which end within a tile that is made or cut; tiles of a `broadcast` operand, and
    those of a `hard` function (`TRANSCENDENTAL`). `floor` are the bytes by which the roofline goes, if
    others.
    """

    bytes: float
    tiles: int = 0
    rows: int = 0
    ragged: int = 0
    broadcast: int = 0
    hard: int = 0
    floor: float | None = None


def bytes_work(kind: str, moved: Moved, on: Machine) -> Work:
    """An op that is as long as its bytes take, or its busiest core; cores share whole tiles or rows of 32."""
    cores = min(on.cores, max(moved.tiles, -(-moved.rows // TILE), 1))

    def busiest(count: int) -> float:
        return -(-count // cores) / on.mhz

    return Work(
        kind,
        on.chip.arch,
        on.dram_us(moved.bytes if moved.floor is None else moved.floor),
        {
            "dram": on.dram_us(moved.bytes),
            "core": moved.bytes / cores / L1_BYTES_A_CYCLE / on.mhz,
            "tiles": busiest(moved.tiles),
            "rows": busiest(moved.rows),
            "ragged": busiest(moved.ragged),
            "broadcast": busiest(moved.broadcast),
            "hard": busiest(moved.hard),
        },
    )


def stored_bytes(shape: tuple[int, ...], dtype: str, layout: str) -> float:
    """With tile padding."""
    *outer, rows, columns = (1, 1, *shape)
    if layout == "tile":
        rows, columns = -(-rows // TILE) * TILE, -(-columns // TILE) * TILE
    return math.prod(outer) * rows * columns * ELEMENT_BYTES[dtype]


def pages_of(shape: tuple[int, ...], layout: str) -> int:
    """Tiles, or rows: what one request to memory can fetch."""
    *outer, rows, columns = (1, 1, *shape)
    return math.prod(outer) * (-(-rows // TILE) * -(-columns // TILE) if layout == "tile" else rows)


def _split(m: int, n: int, across: int, down: int, in_two: bool) -> tuple[int, int]:
    """Tiles of rows and columns of the busiest core: on the grid, or, as TT-NN does, all cores along a side 8
    times as long."""
    cores = across * down
    if not in_two and m >= LONG * n:
        return -(-m // cores), n
    if not in_two and n >= LONG * m:
        return m, -(-n // cores)
    return -(-m // down), -(-n // across)


def _rectangle(cores: int) -> tuple[int, int]:
    """The squarest grid of so many cores."""
    rows = next(n for n in range(math.isqrt(cores), 0, -1) if cores % n == 0)
    return cores // rows, rows
