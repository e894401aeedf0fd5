// A part's two sums, 1,024 float32 each, to rows 2 * item and 2 * item + 1; before them its rows of a clip
// that is made on the way.
#include "chunks.h"

constexpr uint32_t rows_a_frame = get_compile_time_arg_val(0);
constexpr uint32_t rows_a_chunk = get_compile_time_arg_val(1);
constexpr uint32_t row_bytes = get_compile_time_arg_val(2);
constexpr uint32_t parts = get_compile_time_arg_val(3);
constexpr uint32_t given = get_compile_time_arg_val(4);
constexpr auto out_args = TensorAccessorArgs<5>();
constexpr auto clip_args = TensorAccessorArgs<out_args.next_compile_time_args_offset()>();
constexpr uint32_t cb_sums = 2, cb_clip = 10, sums_bytes = 4096;

void kernel_main() {
    const auto out = TensorAccessor(out_args, get_arg_val<uint32_t>(0), sums_bytes);
    const auto clip = TensorAccessor(clip_args, get_arg_val<uint32_t>(1), row_bytes);
    const uint32_t first = get_arg_val<uint32_t>(2), end = get_arg_val<uint32_t>(3);
    for (uint32_t item = first; item < end; item++) {
        if (given) {
            const uint32_t frame = item / parts;
            chunks_of(item % parts, parts, rows_a_frame, rows_a_chunk, [&](uint32_t row, uint32_t rows) {
                pop_rows(cb_clip, clip, frame * rows_a_frame + row, rows, row_bytes);
            });
        }
        cb_wait_front(cb_sums, 2);
        const uint32_t from = get_read_ptr(cb_sums);
        for (uint32_t k = 0; k < 2; k++) {
            noc_async_write(from + k * sums_bytes, out.get_noc_addr(2 * item + k), sums_bytes);
        }
        noc_async_write_barrier();
        cb_pop_front(cb_sums, 2);
    }
}
