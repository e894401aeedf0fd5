// Rows of a clip into [past + frames] after its past: the frames given, its first frame again, or zeros; its
// last `past` frames also into what the next step takes for its past.
#include "chunks.h"

constexpr uint32_t rows_a_frame = get_compile_time_arg_val(0);
constexpr uint32_t rows_a_chunk = get_compile_time_arg_val(1);
constexpr uint32_t row_bytes = get_compile_time_arg_val(2);
constexpr uint32_t frames = get_compile_time_arg_val(3);
constexpr uint32_t past_frames = get_compile_time_arg_val(4);
constexpr uint32_t before = get_compile_time_arg_val(5);
constexpr auto x_args = TensorAccessorArgs<6>();
constexpr auto past_args = TensorAccessorArgs<x_args.next_compile_time_args_offset()>();
constexpr auto clip_args = TensorAccessorArgs<past_args.next_compile_time_args_offset()>();
constexpr auto kept_args = TensorAccessorArgs<clip_args.next_compile_time_args_offset()>();

constexpr uint32_t cb = 0, GIVEN = 0, FIRST_FRAME = 1, ZEROS = 2;

void kernel_main() {
    const auto x = TensorAccessor(x_args, get_arg_val<uint32_t>(0), row_bytes);
    const auto past = TensorAccessor(past_args, get_arg_val<uint32_t>(1), row_bytes);
    const auto clip = TensorAccessor(clip_args, get_arg_val<uint32_t>(2), row_bytes);
    const auto kept = TensorAccessor(kept_args, get_arg_val<uint32_t>(3), row_bytes);
    const uint32_t at = get_write_ptr(cb);
    const uint32_t first = get_arg_val<uint32_t>(4), end = get_arg_val<uint32_t>(5);
    chunks_between(first, end, rows_a_chunk, [&](uint32_t row, uint32_t rows) {
        for (uint32_t r = 0; r < rows; r++) {
            const uint32_t frame = (row + r) / rows_a_frame, to = at + r * row_bytes;
            if (frame >= past_frames) {
                noc_async_read(x.get_noc_addr(row + r - past_frames * rows_a_frame), to, row_bytes);
            } else if (before == GIVEN) {
                noc_async_read(past.get_noc_addr(row + r), to, row_bytes);
            } else if (before == FIRST_FRAME) {
                noc_async_read(x.get_noc_addr((row + r) % rows_a_frame), to, row_bytes);
            } else {
                clear(to, row_bytes);
            }
        }
        noc_async_read_barrier();
        for (uint32_t r = 0; r < rows; r++) {
            const uint32_t from = at + r * row_bytes;
            noc_async_write(from, clip.get_noc_addr(row + r), row_bytes);
            if (row + r >= frames * rows_a_frame) {
                noc_async_write(from, kept.get_noc_addr(row + r - frames * rows_a_frame), row_bytes);
            }
        }
        noc_async_write_barrier();
    });
}
