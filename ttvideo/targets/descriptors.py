"""Write what stands in for a card: a system descriptor (for compiling) and a cluster descriptor (for the
mock).

Schemas: tt-mlir `include/ttmlir/Target/Common/{system_desc,types}.fbs` and
tt-umd `docs/yaml_schemas/cluster_descriptor.yaml`.
"""

import flatbuffers
import yaml

from ttvideo.targets.boards import Board, Chip

FILE_IDENTIFIER = b"TTSY"
ARCHITECTURES = {"wormhole_b0": 0, "blackhole": 1}
DATA_TYPES = range(13)  # Float32 … Int32 of the schema's enum: all that the chips support
TILE_SIZES_YX = ((4, 16), (16, 16), (32, 16), (4, 32), (16, 32), (32, 32))
HOST_MMIO = 1

# Cards ship with some of their parts switched off: an n150 or n300 with 1 of 10 Tensix rows a chip, a p150
# with 2 of 14 Tensix columns, 2 of 14 Ethernet cores and 1 of 2 PCIe tiles.
HARVESTED = {
    "wormhole_b0": {"harvest_mask": 0b1, "eth_harvesting_mask": 0, "pcie_harvesting_mask": 0},
    "blackhole": {
        "harvest_mask": 0b1100_0000,
        "eth_harvesting_mask": 0b1_0010_0000,
        "pcie_harvesting_mask": 0b10,
    },
}
PRODUCT_CODES = {
    "n150": 0x18,
    "n300": 0x14,
    "p150": 0x40,
}  # bits 36 and up of a board id, by which UMD knows the board


def system_descriptor(board: Board, schema_hash: str) -> bytes:
    """The `.ttsys` flatbuffer (size-prefixed, identifier TTSY) that describes `board` to the compiler.

    `schema_hash` is the 64-digit hash that the plugin was built with (`Plugin.schema_hash`).
    """
    b = flatbuffers.Builder(2048)
    hash_, git, product = b.CreateString(schema_hash), b.CreateString("unknown"), b.CreateString(board.name)
    cpus = _table_vector(b, [_cpu(b)])
    chips = _table_vector(b, [_chip(b, board.chip) for _ in range(board.chips)])
    indices = _u32_vector(b, range(board.chips))
    # Only the first chip of a board hangs on the host's PCIe bus; the others are reached over Ethernet.
    capabilities = _u32_vector(b, [HOST_MMIO] + [0] * (board.chips - 1))
    coordinates = _struct_vector(b, [(0, 0, 0, 0)] * board.chips)
    links = _struct_vector(b, [(0, 9, 0, 1, 1, 0)] * (board.chips - 1))

    b.StartObject(6)
    for slot, offset in enumerate((cpus, chips, indices, capabilities, coordinates, links)):
        b.PrependUOffsetTRelativeSlot(slot, offset, 0)
    description = b.EndObject()

    b.StartObject(5)
    b.PrependStructSlot(0, _version(b), 0)
    for slot, offset in enumerate((hash_, git, product, description), start=1):
        b.PrependUOffsetTRelativeSlot(slot, offset, 0)
    b.FinishSizePrefixed(b.EndObject(), FILE_IDENTIFIER)
    return bytes(b.Output())


def cluster_descriptor(board: Board) -> str:
    """The YAML from which a runtime mocks a machine with one `board`, whose first chip alone hangs on the
    PCIe bus."""
    chips, arch = range(board.chips), board.chip.arch
    wormhole = arch == "wormhole_b0"
    harvested = {
        "noc_translation": True,
        **HARVESTED[arch],
        "dram_harvesting_mask": 0,
        "l2cpu_harvesting_mask": 0,
    }
    links = (
        [[{"chip": 0, "chan": 8 + i}, {"chip": 1, "chan": i}] for i in range(2)] if board.chips > 1 else []
    )
    return yaml.safe_dump(
        {
            "arch": dict.fromkeys(chips, arch),
            "chips": {chip: [chip, 0, 0, 0] for chip in chips} if wormhole else {},
            "chip_unique_ids": {chip: 1 + chip for chip in chips},
            "ethernet_connections": links,
            "ethernet_connections_to_remote_devices": [],
            "chips_with_mmio": [{0: 0}],
            "io_device_type": "PCIe",
            "harvesting": {chip: dict(harvested) for chip in chips},
            "chip_to_bus_id": {0: "0x01"},
            "boards": [
                [
                    {"board_id": PRODUCT_CODES[board.name] << 36},
                    {"board_type": board.name},
                    {"chips": list(chips)},
                ]
            ],
            "asic_locations": {chip: chip for chip in chips},
            "chip_pci_bdfs": {0: "0000:01:00.0"},
        },
        sort_keys=False,
    )


def _version(b: flatbuffers.Builder) -> int:
    b.Prep(4, 8)
    b.PrependUint32(0)
    b.PrependUint16(0)
    b.PrependUint16(0)
    return b.Offset()


def _cpu(b: flatbuffers.Builder) -> int:
    triple = b.CreateString("x86_64-pc-linux")
    b.StartObject(2)
    b.PrependUint8Slot(0, 0, 0)  # role: host
    b.PrependUOffsetTRelativeSlot(1, triple, 0)
    return b.EndObject()


def _chip(b: flatbuffers.Builder, chip: Chip) -> int:
    data_types = _vector(b, 2, DATA_TYPES, b.PrependUint16)
    tiles = _struct_vector(b, TILE_SIZES_YX)
    bank_workers = _struct_vector(b, chip.dram_bank_workers_yx)
    b.StartObject(22)
    b.PrependUint32Slot(0, ARCHITECTURES[chip.arch], 0)
    _dim2d(b, 1, chip.grid_yx)
    _dim2d(b, 2, chip.coordinate_offset_yx)
    b.PrependUint64Slot(3, chip.l1_bytes, 0)
    b.PrependUint32Slot(4, chip.dram_channels, 0)
    b.PrependUint64Slot(5, chip.dram_channel_bytes, 0)
    b.PrependUint32Slot(6, 16, 0)  # NoC alignment in L1
    b.PrependUint32Slot(7, chip.pcie_align_bytes, 0)
    b.PrependUint32Slot(8, chip.noc_dram_align_bytes, 0)
    b.PrependUint32Slot(9, chip.l1_unreserved_base, 0)
    b.PrependUint32Slot(10, chip.erisc_l1_unreserved_base, 0)
    b.PrependUint32Slot(11, chip.dram_reserved_below, 0)
    b.PrependUint32Slot(12, chip.dram_channel_bytes - chip.dram_reserved_above, 0)
    b.PrependUOffsetTRelativeSlot(13, data_types, 0)
    b.PrependUOffsetTRelativeSlot(14, tiles, 0)
    b.PrependUint32Slot(15, 16, 0)  # tiles that the destination registers hold
    b.PrependUint32Slot(16, 64, 0)  # circular buffers
    b.PrependUint32Slot(17, 1, 0)  # compute threads
    b.PrependUint32Slot(18, 2, 0)  # data movement threads
    _dim2d(b, 19, (1, chip.dram_channels))
    b.PrependUOffsetTRelativeSlot(20, bank_workers, 0)
    b.PrependUOffsetTRelativeSlot(21, bank_workers, 0)
    return b.EndObject()


def _dim2d(b: flatbuffers.Builder, slot: int, yx: tuple[int, int]) -> None:
    b.Prep(4, 8)
    b.PrependInt32(yx[1])
    b.PrependInt32(yx[0])
    b.PrependStructSlot(slot, b.Offset(), 0)


def _vector(b: flatbuffers.Builder, width: int, values, prepend) -> int:
    values = list(values)
    b.StartVector(width, len(values), width)
    for value in reversed(values):
        prepend(value)
    return b.EndVector()


def _u32_vector(b: flatbuffers.Builder, values) -> int:
    return _vector(b, 4, values, b.PrependUint32)


def _table_vector(b: flatbuffers.Builder, offsets: list[int]) -> int:
    return _vector(b, 4, offsets, b.PrependUOffsetTRelative)


def _struct_vector(b: flatbuffers.Builder, rows) -> int:
    """A vector of structs whose fields are all 32-bit integers."""
    rows = list(rows)
    b.StartVector(4 * len(rows[0]) if rows else 4, len(rows), 4)
    for row in reversed(rows):
        for field in reversed(row):
            b.PrependInt32(field)
    return b.EndVector()
