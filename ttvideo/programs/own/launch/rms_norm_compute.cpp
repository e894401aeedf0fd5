// x / sqrt(mean(x * x) + epsilon) * gain + shift, and SiLU of it, for each pixel's channels in a chunk; where
// it is centred, x without its mean. In float32, rounded once, but for the sums, whose terms go through the
// matrix unit. x may itself be a sum of two clips, made on the way.
#include "api/compute/compute_kernel_api.h"
#include "api/compute/compute_kernel_hw_startup.h"
#include "api/compute/eltwise_binary.h"
#include "api/compute/eltwise_binary_sfpu.h"
#include "api/compute/eltwise_unary/binop_with_scalar.h"
#include "api/compute/eltwise_unary/relu.h"
#include "api/compute/eltwise_unary/rsqrt.h"
#include "api/compute/matmul.h"
#include "api/compute/pack.h"
#include "api/compute/reconfig_data_format.h"
#include "api/compute/tile_move_copy.h"
#include "summed.h"

constexpr uint32_t parts = get_compile_time_arg_val(0);
constexpr uint32_t chunks = get_compile_time_arg_val(1);
constexpr uint32_t share = get_compile_time_arg_val(2);  // 1 by the channels; this and epsilon by their bits
constexpr uint32_t epsilon = get_compile_time_arg_val(3);
constexpr uint32_t silu = get_compile_time_arg_val(4);
constexpr uint32_t centred = get_compile_time_arg_val(5);
constexpr uint32_t summed = get_compile_time_arg_val(6);  // 1, or 2 where the sum is a result
constexpr uint32_t cb_affine = 1, cb_masks = 2, cb_square = 3, cb_y = 4, cb_sums = 6, cb_means = 7;

inline void pack(uint32_t cb, uint32_t tiles) {
    tile_regs_commit();
    cb_reserve_back(cb, tiles);
    tile_regs_wait();
    for (uint32_t i = 0; i < tiles; i++) {
        pack_tile(i, cb);
    }
    tile_regs_release();
    cb_push_back(cb, tiles);
}

// A chunk from the right of the masks, see push_masks: sums of 16 elements.
inline void sum_rows(uint32_t cb, uint32_t cb_to) {
    reconfig_data_format(cb_masks, cb);
    pack_reconfig_data_format(cb_to);
    matmul_init(cb, cb_masks);
    tile_regs_acquire();
    for (uint32_t sides = 0; sides < 4; sides++) {
        matmul_tiles(cb, cb_masks, 0, sides, sides);
    }
    pack(cb_to, 4);
}

inline void sum_pixels(uint32_t cb, uint32_t dst) {
    cb_wait_front(cb, 4);
    for (uint32_t sides = 0; sides < 4; sides++) {
        matmul_tiles(cb_masks, cb, 4 + sides, sides, dst);
    }
    cb_pop_front(cb, 4);
}

// Into dst 0, for each element, the sum of squares of its pixel, which stays acquired; where centred, into
// dst 1 the sum.
inline void sums_of_pixels() {
    if (centred) {
        sum_rows(cb_x, cb_means);
    }
    reconfig_data_format(cb_x, cb_x);
    pack_reconfig_data_format(cb_square);
    mul_init(cb_x, cb_x);
    tile_regs_acquire();
    mul_tiles(cb_x, cb_x, 0, 0, 0);
    pack(cb_square, 1);

    cb_wait_front(cb_square, 1);
    sum_rows(cb_square, cb_sums);
    cb_pop_front(cb_square, 1);

    reconfig_data_format(cb_sums, cb_masks);
    matmul_init(cb_masks, cb_sums);
    tile_regs_acquire();
    sum_pixels(cb_sums, 0);
    if (centred) {
        sum_pixels(cb_means, 1);
    }
}

void kernel_main() {
    const uint32_t first = get_arg_val<uint32_t>(0), end = get_arg_val<uint32_t>(1);
    compute_kernel_hw_startup(cb_x, cb_x, cb_y);
    cb_wait_front(cb_masks, 8);
    cb_wait_front(cb_affine, 2);
    for (uint32_t item = first; item < end; item++) {
        const uint32_t part = item % parts;
        for (uint32_t chunk = part * chunks / parts; chunk < (part + 1) * chunks / parts; chunk++) {
            if (summed) {
                add_chunk<summed == 2>();
            }
            cb_wait_front(cb_x, 1);
            sums_of_pixels();
            binop_with_scalar_tile_init();
            mul_unary_tile(0, share);
            if (centred) {
                mul_unary_tile(1, share);
                mul_binary_tile_init();
                mul_binary_tile(1, 1, 2);
                sub_binary_tile_init();
                sub_binary_tile(0, 2, 0);
                relu_tile_init();
                relu_tile(0);
                binop_with_scalar_tile_init();
            }
            add_unary_tile(0, epsilon);
            rsqrt_tile_init();
            rsqrt_tile(0);
            reconfig_data_format(cb_x, cb_x);
            copy_init(cb_x);
            copy_tile(cb_x, 0, centred ? 2 : 1);
            if (centred) {
                sub_binary_tile_init();
                sub_binary_tile(2, 1, 1);
                copy_init(cb_x);
            }
            cb_pop_front(cb_x, 1);
            copy_tile(cb_affine, 0, 2);
            copy_tile(cb_affine, 1, 3);
            mul_binary_tile_init();
            mul_binary_tile(0, 1, 0);
            mul_binary_tile(0, 2, 0);
            add_binary_tile_init();
            add_binary_tile(0, 3, 0);
            if (silu) {
                silu_tile_init();
                silu_tile(0);
            }
            pack_reconfig_data_format(cb_y);
            pack(cb_y, 1);
        }
    }
}
