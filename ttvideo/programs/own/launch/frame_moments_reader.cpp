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
            cb_reserve_back(cb_x, 1);
            const uint32_t to = get_write_ptr(cb_x);
            read_rows(x, frame * rows_a_frame + row, rows, row_bytes, to);
            for (uint32_t byte = rows * row_bytes; byte < chunk_bytes; byte += 4) {
                *reinterpret_cast<volatile tt_l1_ptr uint32_t*>(to + byte) = 0;
            }
            noc_async_read_barrier();
            cb_push_back(cb_x, 1);
        });
    }
}
