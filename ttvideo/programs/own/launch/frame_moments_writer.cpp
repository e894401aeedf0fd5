// A part's two sums, 1,024 float32 each, to rows 2 * item and 2 * item + 1.
#include "api/dataflow/dataflow_api.h"

constexpr auto out_args = TensorAccessorArgs<0>();
constexpr uint32_t cb_sums = 2, sums_bytes = 4096;

void kernel_main() {
    const auto out = TensorAccessor(out_args, get_arg_val<uint32_t>(0), sums_bytes);
    const uint32_t first = get_arg_val<uint32_t>(1), end = get_arg_val<uint32_t>(2);
    for (uint32_t item = first; item < end; item++) {
        cb_wait_front(cb_sums, 2);
        const uint32_t from = get_read_ptr(cb_sums);
        for (uint32_t k = 0; k < 2; k++) {
            noc_async_write(from + k * sums_bytes, out.get_noc_addr(2 * item + k), sums_bytes);
        }
        noc_async_write_barrier();
        cb_pop_front(cb_sums, 2);
    }
}
