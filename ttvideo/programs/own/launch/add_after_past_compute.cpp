// x + rest, chunk by chunk, in float32, rounded once.
#include "api/compute/compute_kernel_api.h"
#include "api/compute/compute_kernel_hw_startup.h"
#include "api/compute/eltwise_binary.h"

constexpr uint32_t parts = get_compile_time_arg_val(0);
constexpr uint32_t chunks = get_compile_time_arg_val(1);
constexpr uint32_t cb_x = 0, cb_rest = 1, cb_y = 4;

void kernel_main() {
    const uint32_t first = get_arg_val<uint32_t>(0), end = get_arg_val<uint32_t>(1);
    compute_kernel_hw_startup(cb_x, cb_rest, cb_y);
    add_init(cb_x, cb_rest);
    for (uint32_t item = first; item < end; item++) {
        const uint32_t part = item % parts;
        for (uint32_t chunk = part * chunks / parts; chunk < (part + 1) * chunks / parts; chunk++) {
            cb_wait_front(cb_x, 1);
            cb_wait_front(cb_rest, 1);
            tile_regs_acquire();
            add_tiles(cb_x, cb_rest, 0, 0, 0);
            tile_regs_commit();
            cb_pop_front(cb_x, 1);
            cb_pop_front(cb_rest, 1);
            cb_reserve_back(cb_y, 1);
            tile_regs_wait();
            pack_tile(0, cb_y);
            tile_regs_release();
            cb_push_back(cb_y, 1);
        }
    }
}
