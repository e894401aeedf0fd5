// Into the clip [past + frames] after its past, which comes by itself or, where a clip begins so, is the
// first frame again; the clip's last `past` frames also into what the next step takes for its past.
#include "chunks.h"

constexpr uint32_t rows_a_frame = get_compile_time_arg_val(0);
constexpr uint32_t rows_a_chunk = get_compile_time_arg_val(1);
constexpr uint32_t row_bytes = get_compile_time_arg_val(2);
constexpr uint32_t parts = get_compile_time_arg_val(3);
constexpr uint32_t frames = get_compile_time_arg_val(4);
constexpr uint32_t begins = get_compile_time_arg_val(5);
constexpr uint32_t past = get_compile_time_arg_val(6);
constexpr auto clip_args = TensorAccessorArgs<7>();
constexpr auto kept_args = TensorAccessorArgs<clip_args.next_compile_time_args_offset()>();

constexpr uint32_t cb_y = 4, cb_past = 5;

template <typename Clip, typename Kept>
inline void write(
    const Clip& clip, const Kept& kept, uint32_t from, uint32_t frame, uint32_t row, uint32_t rows) {
    for (uint32_t r = row; r < row + rows; r++, from += row_bytes) {
        noc_async_write(from, clip.get_noc_addr(frame * rows_a_frame + r), row_bytes);
        if (frame >= frames) {
            noc_async_write(from, kept.get_noc_addr((frame - frames) * rows_a_frame + r), row_bytes);
        }
    }
}

void kernel_main() {
    const auto clip = TensorAccessor(clip_args, get_arg_val<uint32_t>(0), row_bytes);
    const auto kept = TensorAccessor(kept_args, get_arg_val<uint32_t>(1), row_bytes);
    const uint32_t first = get_arg_val<uint32_t>(2), end = get_arg_val<uint32_t>(3);
    const uint32_t past_row = get_arg_val<uint32_t>(4), past_end = get_arg_val<uint32_t>(5);
    for (uint32_t item = first; item < end; item++) {
        const uint32_t frame = item / parts;
        chunks_of(item % parts, parts, rows_a_frame, rows_a_chunk, [&](uint32_t row, uint32_t rows) {
            cb_wait_front(cb_y, 1);
            for (uint32_t to = begins && frame == 0 ? 0 : frame + past; to <= frame + past; to++) {
                write(clip, kept, get_read_ptr(cb_y), to, row, rows);
            }
            noc_async_write_barrier();
            cb_pop_front(cb_y, 1);
        });
    }
    chunks_between(past_row, past_end, rows_a_chunk, [&](uint32_t row, uint32_t rows) {
        cb_wait_front(cb_past, 1);
        for (uint32_t r = 0; r < rows; r++) {
            const uint32_t frame = (row + r) / rows_a_frame;
            write(clip, kept, get_read_ptr(cb_past) + r * row_bytes, frame, (row + r) % rows_a_frame, 1);
        }
        noc_async_write_barrier();
        cb_pop_front(cb_past, 1);
    });
}
