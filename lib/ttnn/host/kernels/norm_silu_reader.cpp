// A frame's scale and shift, each repeated to fill a tile, then its rows in chunks; last the past's rows, as they are.
#include "api/dataflow/dataflow_api.h"

constexpr uint32_t rows_a_frame = get_compile_time_arg_val(0);
constexpr uint32_t rows_a_chunk = get_compile_time_arg_val(1);
constexpr uint32_t row_bytes = get_compile_time_arg_val(2);
constexpr uint32_t parts = get_compile_time_arg_val(3);
constexpr auto x_args = TensorAccessorArgs<4>();
constexpr auto affine_args = TensorAccessorArgs<x_args.next_compile_time_args_offset()>();
constexpr auto past_args = TensorAccessorArgs<affine_args.next_compile_time_args_offset()>();

constexpr uint32_t cb_x = 0, cb_scale = 1, cb_shift = 2, cb_ones = 3, cb_past = 5;
constexpr uint32_t chunk_bytes = 2048;
constexpr uint32_t chunks = (rows_a_frame + rows_a_chunk - 1) / rows_a_chunk;

void kernel_main() {
    const auto x = TensorAccessor(x_args, get_arg_val<uint32_t>(0), row_bytes);
    const auto affine = TensorAccessor(affine_args, get_arg_val<uint32_t>(1), row_bytes);
    const auto past = TensorAccessor(past_args, get_arg_val<uint32_t>(2), row_bytes);
    const uint32_t first = get_arg_val<uint32_t>(3), end = get_arg_val<uint32_t>(4);
    const uint32_t past_row = get_arg_val<uint32_t>(5), past_end = get_arg_val<uint32_t>(6);

    cb_reserve_back(cb_ones, 1);
    auto ones = reinterpret_cast<volatile tt_l1_ptr uint32_t*>(get_write_ptr(cb_ones));
    for (uint32_t i = 0; i < chunk_bytes / 4; i++) {
        ones[i] = 0x3F803F80;
    }
    cb_push_back(cb_ones, 1);

    for (uint32_t item = first; item < end; item++) {
        const uint32_t frame = item / parts, part = item % parts;
        for (uint32_t k = 0; k < 2; k++) {
            const uint32_t cb = k ? cb_shift : cb_scale;
            cb_reserve_back(cb, 1);
            for (uint32_t r = 0; r < rows_a_chunk; r++) {
                noc_async_read(affine.get_noc_addr(2 * frame + k), get_write_ptr(cb) + r * row_bytes, row_bytes);
            }
            noc_async_read_barrier();
            cb_push_back(cb, 1);
        }
        for (uint32_t chunk = part * chunks / parts; chunk < (part + 1) * chunks / parts; chunk++) {
            const uint32_t row = chunk * rows_a_chunk;
            const uint32_t rows = row + rows_a_chunk > rows_a_frame ? rows_a_frame - row : rows_a_chunk;
            cb_reserve_back(cb_x, 1);
            for (uint32_t r = 0; r < rows; r++) {
                noc_async_read(
                    x.get_noc_addr(frame * rows_a_frame + row + r), get_write_ptr(cb_x) + r * row_bytes, row_bytes);
            }
            noc_async_read_barrier();
            cb_push_back(cb_x, 1);
        }
    }
    for (uint32_t row = past_row; row < past_end; row += rows_a_chunk) {
        const uint32_t rows = row + rows_a_chunk > past_end ? past_end - row : rows_a_chunk;
        cb_reserve_back(cb_past, 1);
        for (uint32_t r = 0; r < rows; r++) {
            noc_async_read(past.get_noc_addr(row + r), get_write_ptr(cb_past) + r * row_bytes, row_bytes);
        }
        noc_async_read_barrier();
        cb_push_back(cb_past, 1);
    }
}
