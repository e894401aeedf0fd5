// One tile of float32 from circular buffer 2 to DRAM.
#include "api/dataflow/dataflow_api.h"

constexpr auto out_args = TensorAccessorArgs<0>();

void kernel_main() {
    const auto out = TensorAccessor(out_args, get_arg_val<uint32_t>(0), 4096);
    cb_wait_front(2, 1);
    noc_async_write(get_read_ptr(2), out.get_noc_addr(0), 4096);
    noc_async_write_barrier();
    cb_pop_front(2, 1);
}
