// Sums of x and of x * x over chunks, element by element, in float32: products add up where they are made. A
// clip that is a sum made on the way is added up in turns with that, some chunks at a time.
#include "api/compute/compute_kernel_hw_startup.h"
#include "api/compute/eltwise_binary.h"
#include "summed.h"

constexpr uint32_t parts = get_compile_time_arg_val(0);
constexpr uint32_t chunks = get_compile_time_arg_val(1);
constexpr uint32_t summed = get_compile_time_arg_val(2);
constexpr uint32_t cb_ones = 1, cb_sums = 2, together = 4;  // as many chunks as buffers hold

// Those of so many chunks, added to what cb_sums has, where there is something.
inline void add_moments(uint32_t count, bool more) {
    reconfig_data_format(cb_x, cb_ones);
    pack_reconfig_data_format(cb_sums);
    pack_reconfig_l1_acc(more);
    mul_init(cb_x, cb_ones);
    tile_regs_acquire();
    for (uint32_t i = 0; i < count; i++) {
        cb_wait_front(cb_x, 1);
        mul_tiles(cb_x, cb_ones, 0, 0, 0);
        mul_tiles(cb_x, cb_x, 0, 0, 1);
        cb_pop_front(cb_x, 1);
    }
    tile_regs_commit();
    tile_regs_wait();
    pack_tile<true>(0, cb_sums, 0);
    pack_tile<true>(1, cb_sums, 1);
    tile_regs_release();
    pack_reconfig_l1_acc(false);
}

void kernel_main() {
    const uint32_t first = get_arg_val<uint32_t>(0), end = get_arg_val<uint32_t>(1);
    compute_kernel_hw_startup(cb_x, cb_ones, cb_sums);
    cb_wait_front(cb_ones, 1);
    for (uint32_t item = first; item < end; item++) {
        const uint32_t part = item % parts;
        const uint32_t all = (part + 1) * chunks / parts - part * chunks / parts;
        cb_reserve_back(cb_sums, 2);
        for (uint32_t done = 0, count; done < all; done += count) {
            count = summed && all - done > together ? together : all - done;
            for (uint32_t i = 0; summed && i < count; i++) {
                add_chunk<true>();
            }
            add_moments(count, done > 0);
        }
        cb_push_back(cb_sums, 2);
    }
}
