// silu((x * a + b) * y + s), chunk by chunk, in float32, rounded once.
#include "api/compute/compute_kernel_api.h"
#include "api/compute/compute_kernel_hw_startup.h"
#include "api/compute/eltwise_binary.h"
#include "api/compute/eltwise_binary_sfpu.h"
#include "api/compute/pack.h"
#include "api/compute/tile_move_copy.h"

constexpr uint32_t parts = get_compile_time_arg_val(0);
constexpr uint32_t chunks = get_compile_time_arg_val(1);
constexpr uint32_t cb_x = 0, cb_affine = 1, cb_by = 2, cb_shift = 3, cb_y = 4;

// dst 0 times one tile and plus another.
inline void scale_and_shift(uint32_t by, uint32_t by_tile, uint32_t shift, uint32_t shift_tile) {
    copy_tile(by, by_tile, 1);
    copy_tile(shift, shift_tile, 2);
    mul_binary_tile_init();
    mul_binary_tile(0, 1, 0);
    add_binary_tile_init();
    add_binary_tile(0, 2, 0);
}

void kernel_main() {
    const uint32_t first = get_arg_val<uint32_t>(0), end = get_arg_val<uint32_t>(1);
    compute_kernel_hw_startup(cb_x, cb_x, cb_y);
    copy_init(cb_x);
    cb_wait_front(cb_affine, 2);
    for (uint32_t item = first; item < end; item++) {
        const uint32_t part = item % parts;
        for (uint32_t chunk = part * chunks / parts; chunk < (part + 1) * chunks / parts; chunk++) {
            cb_wait_front(cb_x, 1);
            cb_wait_front(cb_by, 1);
            cb_wait_front(cb_shift, 1);
            tile_regs_acquire();
            copy_tile(cb_x, 0, 0);
            scale_and_shift(cb_affine, 0, cb_affine, 1);
            scale_and_shift(cb_by, 0, cb_shift, 0);
            silu_tile_init();
            silu_tile(0);
            tile_regs_commit();
            cb_pop_front(cb_x, 1);
            cb_pop_front(cb_by, 1);
            cb_pop_front(cb_shift, 1);
            cb_reserve_back(cb_y, 1);
            tile_regs_wait();
            pack_tile(0, cb_y);
            tile_regs_release();
            cb_push_back(cb_y, 1);
        }
    }
}
