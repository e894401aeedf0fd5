// A frame's parts of sums -> their sum, in float32: it adds up in L1, where the packer puts it.
#include "api/compute/common.h"
#include "api/compute/compute_kernel_hw_startup.h"
#include "api/compute/pack.h"
#include "api/compute/tile_move_copy.h"

constexpr uint32_t parts = get_compile_time_arg_val(0);
constexpr uint32_t cb_sums = 0, cb_totals = 3;

void kernel_main() {
    const uint32_t first = get_arg_val<uint32_t>(0), end = get_arg_val<uint32_t>(1);
    compute_kernel_hw_startup(cb_sums, cb_totals);
    copy_init(cb_sums);
    for (uint32_t item = first; item < end; item++) {
        cb_reserve_back(cb_totals, 2);
        for (uint32_t part = 0; part < parts; part++) {
            pack_reconfig_l1_acc(part > 0);
            cb_wait_front(cb_sums, 2);
            tile_regs_acquire();
            copy_tile(cb_sums, 0, 0);
            copy_tile(cb_sums, 1, 1);
            tile_regs_commit();
            cb_pop_front(cb_sums, 2);
            tile_regs_wait();
            pack_tile<true>(0, cb_totals, 0);
            pack_tile<true>(1, cb_totals, 1);
            tile_regs_release();
        }
        cb_push_back(cb_totals, 2);
    }
}
