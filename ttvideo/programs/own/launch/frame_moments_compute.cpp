// Sums of x and of x * x over chunks, element by element, in float32: products add up where they are made.
#include "api/compute/compute_kernel_hw_startup.h"
#include "api/compute/eltwise_binary.h"

constexpr uint32_t parts = get_compile_time_arg_val(0);
constexpr uint32_t chunks = get_compile_time_arg_val(1);
constexpr uint32_t cb_x = 0, cb_ones = 1, cb_sums = 2;

void kernel_main() {
    const uint32_t first = get_arg_val<uint32_t>(0), end = get_arg_val<uint32_t>(1);
    compute_kernel_hw_startup(cb_x, cb_ones, cb_sums);
    mul_init(cb_x, cb_ones);
    cb_wait_front(cb_ones, 1);
    for (uint32_t item = first; item < end; item++) {
        const uint32_t part = item % parts;
        tile_regs_acquire();
        for (uint32_t chunk = part * chunks / parts; chunk < (part + 1) * chunks / parts; chunk++) {
            cb_wait_front(cb_x, 1);
            mul_tiles(cb_x, cb_ones, 0, 0, 0);
            mul_tiles(cb_x, cb_x, 0, 0, 1);
            cb_pop_front(cb_x, 1);
        }
        tile_regs_commit();
        tile_regs_wait();
        cb_reserve_back(cb_sums, 2);
        pack_tile(0, cb_sums);
        pack_tile(1, cb_sums);
        cb_push_back(cb_sums, 2);
        tile_regs_release();
    }
}
