// A frame's parts of sums, two chunks each, for every piece of its channels.
#include "api/dataflow/dataflow_api.h"

constexpr uint32_t parts = get_compile_time_arg_val(0);
constexpr uint32_t pieces = get_compile_time_arg_val(1);
constexpr auto sums_args = TensorAccessorArgs<2>();
constexpr uint32_t cb_sums = 0, sums_bytes = 4096;

void kernel_main() {
    const auto sums = TensorAccessor(sums_args, get_arg_val<uint32_t>(0), sums_bytes);
    const uint32_t first = get_arg_val<uint32_t>(1), end = get_arg_val<uint32_t>(2);
    for (uint32_t item = first; item < end; item++) {
        const uint32_t frame = item / pieces;
        for (uint32_t row = 2 * frame * parts; row < 2 * (frame + 1) * parts; row += 2) {
            cb_reserve_back(cb_sums, 2);
            const uint32_t to = get_write_ptr(cb_sums);
            for (uint32_t k = 0; k < 2; k++) {
                noc_async_read(sums.get_noc_addr(row + k), to + k * sums_bytes, sums_bytes);
            }
            noc_async_read_barrier();
            cb_push_back(cb_sums, 2);
        }
    }
}
