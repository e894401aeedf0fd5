"""In TT-NN's environment: the grid, DRAM and L1 of the device that it opens."""

import os
import sys

import ttnn

device = ttnn.open_device(device_id=0, l1_small_size=32768)
grid = device.compute_with_storage_grid_size()
print(f"grid {grid.x} x {grid.y}")
for name in ("DRAM", "L1"):
    view = ttnn.get_memory_view(device, getattr(ttnn.BufferType, name))
    print(f"{name} {view.num_banks} x {view.total_bytes_per_bank}")
sys.stdout.flush()
os._exit(0)
