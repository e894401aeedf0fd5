// Rows of a frame into chunks of 1,024 elements, each what a tile holds; what a chunk lacks is zero.
#include "chunks.h"

constexpr uint32_t rows_a_frame = get_compile_time_arg_val(0);
constexpr uint32_t rows_a_chunk = get_compile_time_arg_val(1);
constexpr uint32_t row_bytes = get_compile_time_arg_val(2);
constexpr uint32_t parts = get_compile_time_arg_val(3);
constexpr auto x_args = TensorAccessorArgs<4>();

constexpr uint32_t cb_x = 0, cb_ones = 1;

void kernel_main() {
    const auto x = TensorAccessor(x_args, get_arg_val<uint32_t>(0), row_bytes);
    const uint32_t first = get_arg_val<uint32_t>(1), end = get_arg_val<uint32_t>(2);

    push_ones(cb_ones);
    for (uint32_t item = first; item < end; item++) {
        const uint32_t frame = item / parts;
        chunks_of(item % parts, parts, rows_a_frame, rows_a_chunk, [&](uint32_t row, uint32_t rows) {
            push_rows<true>(cb_x, x, frame * rows_a_frame + row, rows, row_bytes);
        });
    }
}
