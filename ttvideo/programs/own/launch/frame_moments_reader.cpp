// Rows of a frame into chunks.
#include "made.h"

constexpr auto x_args = TensorAccessorArgs<next_arg>();
constexpr auto rest_args = TensorAccessorArgs<x_args.next_compile_time_args_offset()>();

constexpr uint32_t cb_ones = 1;

void kernel_main() {
    const auto x = TensorAccessor(x_args, get_arg_val<uint32_t>(0), page_bytes);
    const auto rest = TensorAccessor(rest_args, get_arg_val<uint32_t>(1), row_bytes);
    const uint32_t first = get_arg_val<uint32_t>(2), end = get_arg_val<uint32_t>(3);

    push_ones(cb_ones);
    for (uint32_t item = first; item < end; item++) {
        push_part(x, rest, item);
    }
}
