// Rows of a frame into chunks of 1,024 elements, each what a tile holds; what a chunk lacks is zero.
#include "api/dataflow/dataflow_api.h"

constexpr uint32_t rows_a_frame = get_compile_time_arg_val(0);
constexpr uint32_t rows_a_chunk = get_compile_time_arg_val(1);
constexpr uint32_t row_bytes = get_compile_time_arg_val(2);
constexpr uint32_t parts = get_compile_time_arg_val(3);
constexpr auto x_args = TensorAccessorArgs<4>();

constexpr uint32_t cb_x = 0, cb_ones = 1;
constexpr uint32_t chunk_bytes = 2048;
constexpr uint32_t chunks = (rows_a_frame + rows_a_chunk - 1) / rows_a_chunk;

void kernel_main() {
    const auto x = TensorAccessor(x_args, get_arg_val<uint32_t>(0), row_bytes);
    const uint32_t first = get_arg_val<uint32_t>(1), end = get_arg_val<uint32_t>(2);

    cb_reserve_back(cb_ones, 1);
    auto ones = reinterpret_cast<volatile tt_l1_ptr uint32_t*>(get_write_ptr(cb_ones));
    for (uint32_t i = 0; i < chunk_bytes / 4; i++) {
        ones[i] = 0x3F803F80;
    }
    cb_push_back(cb_ones, 1);

    for (uint32_t item = first; item < end; item++) {
        const uint32_t frame = item / parts, part = item % parts;
        for (uint32_t chunk = part * chunks / parts; chunk < (part + 1) * chunks / parts; chunk++) {
            const uint32_t row = chunk * rows_a_chunk;
            const uint32_t rows = row + rows_a_chunk > rows_a_frame ? rows_a_frame - row : rows_a_chunk;
            cb_reserve_back(cb_x, 1);
            const uint32_t to = get_write_ptr(cb_x);
            for (uint32_t r = 0; r < rows; r++) {
                noc_async_read(x.get_noc_addr(frame * rows_a_frame + row + r), to + r * row_bytes, row_bytes);
            }
            for (uint32_t byte = rows * row_bytes; byte < chunk_bytes; byte += 4) {
                *reinterpret_cast<volatile tt_l1_ptr uint32_t*>(to + byte) = 0;
            }
            noc_async_read_barrier();
            cb_push_back(cb_x, 1);
        }
    }
}
