// Into the clip after its past, which comes by itself or, where a clip begins so, is the first frame again,
// and with its last frame `tail` times again; what is in it from frame `stays` on also into what the next
// step takes for its past. With an edge, frames get a pixel more on each side, reflected; their past has it.
// What is made on the way goes into a clip of its own.
#include "chunks.h"

constexpr uint32_t rows_a_frame = get_compile_time_arg_val(0);
constexpr uint32_t rows_a_chunk = get_compile_time_arg_val(1);
constexpr uint32_t row_bytes = get_compile_time_arg_val(2);
constexpr uint32_t parts = get_compile_time_arg_val(3);
constexpr uint32_t frames = get_compile_time_arg_val(4);
constexpr uint32_t begins = get_compile_time_arg_val(5);
constexpr uint32_t past = get_compile_time_arg_val(6);
constexpr uint32_t tail = get_compile_time_arg_val(7);
constexpr uint32_t stays = get_compile_time_arg_val(8);
constexpr uint32_t height = get_compile_time_arg_val(9);
constexpr uint32_t width = get_compile_time_arg_val(10);
constexpr uint32_t edge = get_compile_time_arg_val(11);  // 0 or 1
constexpr uint32_t given = get_compile_time_arg_val(12);
constexpr auto clip_args = TensorAccessorArgs<13>();
constexpr auto kept_args = TensorAccessorArgs<clip_args.next_compile_time_args_offset()>();
constexpr auto made_args = TensorAccessorArgs<kept_args.next_compile_time_args_offset()>();

constexpr uint32_t cb_y = 4, cb_past = 5, cb_made = 10;

constexpr uint32_t wide = width + 2 * edge, rows_written = (height + 2 * edge) * wide;

// A row of the clip as it is written.
template <typename Clip, typename Kept>
inline void write_row(const Clip& clip, const Kept& kept, uint32_t from, uint32_t frame, uint32_t row) {
    noc_async_write(from, clip.get_noc_addr(frame * rows_written + row), row_bytes);
    if (frame >= stays) {
        noc_async_write(from, kept.get_noc_addr((frame - stays) * rows_written + row), row_bytes);
    }
}

// Calls each(i) for where a line or column is in a frame with its edge: there, and where it is reflected.
template <typename Each>
inline void places(uint32_t at, uint32_t size, Each each) {
    each(at + edge);
    if (edge && at == 1) {
        each(0);
    }
    if (edge && at + 2 == size) {
        each(size + 1);
    }
}

template <typename Clip, typename Kept>
inline void write(
    const Clip& clip, const Kept& kept, uint32_t from, uint32_t frame, uint32_t row, uint32_t rows) {
    for (uint32_t r = row; r < row + rows; r++, from += row_bytes) {
        if constexpr (edge == 0) {
            write_row(clip, kept, from, frame, r);
        } else {
            places(r / width, height, [&](uint32_t y) {
                places(r % width, width, [&](uint32_t x) {
                    write_row(clip, kept, from, frame, y * wide + x);
                });
            });
        }
    }
}

void kernel_main() {
    const auto clip = TensorAccessor(clip_args, get_arg_val<uint32_t>(0), row_bytes);
    const auto kept = TensorAccessor(kept_args, get_arg_val<uint32_t>(1), row_bytes);
    const auto made = TensorAccessor(made_args, get_arg_val<uint32_t>(2), row_bytes);
    const uint32_t first = get_arg_val<uint32_t>(3), end = get_arg_val<uint32_t>(4);
    const uint32_t past_row = get_arg_val<uint32_t>(5), past_end = get_arg_val<uint32_t>(6);
    for (uint32_t item = first; item < end; item++) {
        const uint32_t frame = item / parts;
        chunks_of(item % parts, parts, rows_a_frame, rows_a_chunk, [&](uint32_t row, uint32_t rows) {
            if (given) {
                pop_rows(cb_made, made, frame * rows_a_frame + row, rows, row_bytes);
            }
            cb_wait_front(cb_y, 1);
            const uint32_t last = frame + past + (frame + 1 == frames ? tail : 0);
            for (uint32_t to = begins && frame == 0 ? 0 : frame + past; to <= last; to++) {
                write(clip, kept, get_read_ptr(cb_y), to, row, rows);
            }
            noc_async_write_barrier();
            cb_pop_front(cb_y, 1);
        });
    }
    chunks_between(past_row, past_end, rows_a_chunk, [&](uint32_t row, uint32_t rows) {
        cb_wait_front(cb_past, 1);
        for (uint32_t r = 0; r < rows; r++) {
            const uint32_t frame = (row + r) / rows_written, from = get_read_ptr(cb_past) + r * row_bytes;
            write_row(clip, kept, from, frame, (row + r) % rows_written);
        }
        noc_async_write_barrier();
        cb_pop_front(cb_past, 1);
    });
}
