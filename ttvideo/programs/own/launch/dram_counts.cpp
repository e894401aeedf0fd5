// A core's counts as a page of DRAM.
#include "api/dataflow/dataflow_api.h"

constexpr uint32_t page = get_compile_time_arg_val(0);  // of 32-bit integers
constexpr uint32_t counts = get_compile_time_arg_val(1);
constexpr auto out_args = TensorAccessorArgs<2>();

void kernel_main() {
    const auto out = TensorAccessor(out_args, get_arg_val<uint32_t>(0), page * 4);
    const uint32_t core = get_arg_val<uint32_t>(1), at = get_write_ptr(0);
    const auto line = reinterpret_cast<volatile tt_l1_ptr uint32_t*>(at);
    const auto counted = (volatile tt_l1_ptr uint32_t*)GET_MAILBOX_ADDRESS_DEV(watcher.debug_ring_buf);

    invalidate_l1_cache();
    for (uint32_t i = 0; i < page; i++) {
        line[i] = i < counts ? counted[i] : 0;
    }
    noc_async_write(at, out.get_noc_addr(core), page * 4);
    noc_async_write_barrier();
}
