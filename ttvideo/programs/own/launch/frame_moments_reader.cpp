// Rows of a frame into chunks of 1,024 elements, each what a tile holds, with those that are to be added to
// them; what a chunk lacks is zero.
#include "chunks.h"

constexpr uint32_t rows_a_frame = get_compile_time_arg_val(0);
constexpr uint32_t rows_a_chunk = get_compile_time_arg_val(1);
constexpr uint32_t row_bytes = get_compile_time_arg_val(2);
constexpr uint32_t parts = get_compile_time_arg_val(3);
constexpr uint32_t summed = get_compile_time_arg_val(4);
constexpr auto x_args = TensorAccessorArgs<5>();
constexpr auto rest_args = TensorAccessorArgs<x_args.next_compile_time_args_offset()>();

constexpr uint32_t cb_x = summed ? 8 : 0, cb_ones = 1, cb_rest = 9;

void kernel_main() {
    const auto x = TensorAccessor(x_args, get_arg_val<uint32_t>(0), row_bytes);
    const auto rest = TensorAccessor(rest_args, get_arg_val<uint32_t>(1), row_bytes);
    const uint32_t first = get_arg_val<uint32_t>(2), end = get_arg_val<uint32_t>(3);

    push_ones(cb_ones);
    for (uint32_t item = first; item < end; item++) {
        const uint32_t frame = item / parts;
        chunks_of(item % parts, parts, rows_a_frame, rows_a_chunk, [&](uint32_t row, uint32_t rows) {
            push_rows<true>(cb_x, x, frame * rows_a_frame + row, rows, row_bytes);
            if (summed) {
                push_rows<true>(cb_rest, rest, frame * rows_a_frame + row, rows, row_bytes);
            }
        });
    }
}
