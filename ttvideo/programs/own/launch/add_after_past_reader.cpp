// A frame's rows in chunks, and those of what is added to it, `offset` frames further on; last the past's
// rows, as they are, or zeros.
#include "chunks.h"

constexpr uint32_t rows_a_frame = get_compile_time_arg_val(0);
constexpr uint32_t rows_a_chunk = get_compile_time_arg_val(1);
constexpr uint32_t row_bytes = get_compile_time_arg_val(2);
constexpr uint32_t parts = get_compile_time_arg_val(3);
constexpr uint32_t zeros = get_compile_time_arg_val(4);
constexpr uint32_t offset = get_compile_time_arg_val(5);
constexpr auto x_args = TensorAccessorArgs<6>();
constexpr auto rest_args = TensorAccessorArgs<x_args.next_compile_time_args_offset()>();
constexpr auto past_args = TensorAccessorArgs<rest_args.next_compile_time_args_offset()>();

constexpr uint32_t cb_x = 0, cb_rest = 1, cb_past = 5;

void kernel_main() {
    const auto x = TensorAccessor(x_args, get_arg_val<uint32_t>(0), row_bytes);
    const auto rest = TensorAccessor(rest_args, get_arg_val<uint32_t>(1), row_bytes);
    const auto past = TensorAccessor(past_args, get_arg_val<uint32_t>(2), row_bytes);
    const uint32_t first = get_arg_val<uint32_t>(3), end = get_arg_val<uint32_t>(4);
    const uint32_t past_row = get_arg_val<uint32_t>(5), past_end = get_arg_val<uint32_t>(6);

    for (uint32_t item = first; item < end; item++) {
        const uint32_t frame = item / parts;
        chunks_of(item % parts, parts, rows_a_frame, rows_a_chunk, [&](uint32_t row, uint32_t rows) {
            push_rows(cb_x, x, frame * rows_a_frame + row, rows, row_bytes);
            push_rows(cb_rest, rest, (frame + offset) * rows_a_frame + row, rows, row_bytes);
        });
    }
    chunks_between(past_row, past_end, rows_a_chunk, [&](uint32_t row, uint32_t rows) {
        push_past<zeros>(cb_past, past, row, rows, row_bytes);
    });
}
