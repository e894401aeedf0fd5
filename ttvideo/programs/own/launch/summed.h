// The sum of two clips, made on the way of an op that reads it.
#pragma once
#include "api/compute/eltwise_binary.h"
#include "api/compute/pack.h"
#include "api/compute/reconfig_data_format.h"

constexpr uint32_t cb_x = 0, cb_first = 8, cb_rest = 9, cb_added = 10;

// A chunk, rounded once, as ttnn.add does it: into cb_x, out of which it is read again, and where the sum is
// given, into cb_added.
template <bool given>
inline void add_chunk() {
    cb_wait_front(cb_first, 1);
    cb_wait_front(cb_rest, 1);
    reconfig_data_format(cb_first, cb_rest);
    pack_reconfig_data_format(cb_x);
    add_init(cb_first, cb_rest);
    tile_regs_acquire();
    add_tiles(cb_first, cb_rest, 0, 0, 0);
    tile_regs_commit();
    cb_pop_front(cb_first, 1);
    cb_pop_front(cb_rest, 1);
    tile_regs_wait();
    for (uint32_t i = 0; i < 1 + given; i++) {
        const uint32_t cb = i ? cb_added : cb_x;
        cb_reserve_back(cb, 1);
        pack_tile(0, cb);
        cb_push_back(cb, 1);
    }
    tile_regs_release();
}
