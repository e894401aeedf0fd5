"""The boards' figures: one readable table, from which descriptors are written and costs are judged.

Sizes are in bytes. The chip figures are what the driver reports of real cards through
`SystemDesc` (tt-mlir, include/ttmlir/Target/Common/types.fbs).
"""

from dataclasses import dataclass

GRID_XY = tuple[tuple[int, int], ...]
# Math fidelity: in how many passes the matrix engine multiplies (tt-metal, tech_reports/matrix_engine).
PASSES = {"hifi4": 4, "hifi3": 3, "hifi2": 2, "lofi": 1}
FIDELITIES = tuple(PASSES)
PASS_CYCLES = (
    16  # of a core's matrix engine, for a product of two 32×32 tiles (tt-metal, tech_reports/GEMM_FLOPS)
)


@dataclass(frozen=True)
class Chip:
    arch: str  # "wormhole_b0" or "blackhole"
    grid_yx: tuple[int, int]  # Tensix workers left after harvesting
    coordinate_offset_yx: tuple[int, int]
    l1_bytes: int
    dram_channels: int
    dram_channel_bytes: int
    dram_reserved_below: int  # first address of a DRAM channel that programs may use
    dram_reserved_above: int  # bytes at the end of a DRAM channel kept by the runtime
    l1_unreserved_base: int
    erisc_l1_unreserved_base: int
    pcie_align_bytes: int
    noc_dram_align_bytes: int
    dram_bank_workers_yx: GRID_XY  # the worker nearest to each DRAM bank
    # For cost estimates. Clock and bandwidth of one chip:
    # docs.tenstorrent.com/aibs/wormhole/specifications.html and
    # docs.tenstorrent.com/aibs/blackhole/specifications.html.
    clock_ghz: float
    dram_gb_per_s: float

    @property
    def cores(self) -> int:
        """Workers that programs get."""
        rows, columns = self.grid_yx
        return rows * columns

    @property
    def bf16_tflops(self) -> float:
        """Peak of the workers that programs get, at HiFi4, which the compiler asks for."""
        return self.tflops("hifi4")

    def tflops(self, fidelity: str) -> float:
        """Peak of the workers that programs get, at "lofi", "hifi2", "hifi3" or "hifi4"."""
        return self.cores * self.clock_ghz * 2 * 32**3 / (PASS_CYCLES * PASSES[fidelity]) / 1000

    @property
    def dram_bytes(self) -> int:
        """What programs can allocate."""
        return self.dram_channels * (
            self.dram_channel_bytes - self.dram_reserved_below - self.dram_reserved_above
        )


@dataclass(frozen=True)
class Board:
    name: str
    chip: Chip
    chips: int = 1


WORMHOLE = Chip(
    arch="wormhole_b0",
    grid_yx=(8, 8),
    coordinate_offset_yx=(18, 18),
    l1_bytes=1_499_136,
    dram_channels=12,
    dram_channel_bytes=1 << 30,
    dram_reserved_below=2_968_640,
    dram_reserved_above=623_040,
    l1_unreserved_base=103_840,
    erisc_l1_unreserved_base=98_304,
    pcie_align_bytes=32,
    noc_dram_align_bytes=32,
    # Differs from card to card with the harvested rows; only DRAM-sharded matmuls look at it.
    dram_bank_workers_yx=(
        (7, 3), (0, 0), (4, 0), (5, 0), (0, 4), (3, 7), (1, 4), (7, 4), (6, 4), (2, 4), (4, 4), (5, 4),
    ),
    clock_ghz=1.0,
    dram_gb_per_s=288.0,
)  # fmt: skip

BLACKHOLE = Chip(
    arch="blackhole",
    grid_yx=(10, 11),
    coordinate_offset_yx=(2, 1),
    l1_bytes=1_572_864,
    dram_channels=8,
    dram_channel_bytes=4_278_190_080,
    dram_reserved_below=5_848_704,
    dram_reserved_above=1_666_560,
    l1_unreserved_base=111_104,
    erisc_l1_unreserved_base=87_872,
    pcie_align_bytes=64,
    noc_dram_align_bytes=64,
    dram_bank_workers_yx=((9, 0), (0, 0), (7, 0), (3, 0), (9, 6), (1, 6), (6, 6), (4, 6)),
    clock_ghz=1.35,
    dram_gb_per_s=512.0,
)

CHIPS = {chip.arch: chip for chip in (WORMHOLE, BLACKHOLE)}
BOARDS = {
    "n150": Board("n150", WORMHOLE),
    "n300": Board("n300", WORMHOLE, chips=2),
    "p150": Board("p150", BLACKHOLE),
}
