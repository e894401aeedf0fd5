// Rows of a clip into one after its past, the frames given, its first frame again, or zeros, and with its
// last frame again, where there is room; from frame `stays` on also into what the next step takes for its
// past. With an edge, frames get a pixel more on each side, reflected; their past has it.
#include "chunks.h"

constexpr uint32_t rows_a_frame = get_compile_time_arg_val(0);
constexpr uint32_t rows_a_chunk = get_compile_time_arg_val(1);
constexpr uint32_t row_bytes = get_compile_time_arg_val(2);
constexpr uint32_t frames = get_compile_time_arg_val(3);
constexpr uint32_t past_frames = get_compile_time_arg_val(4);
constexpr uint32_t before = get_compile_time_arg_val(5);
constexpr uint32_t stays = get_compile_time_arg_val(6);
constexpr uint32_t height = get_compile_time_arg_val(7);
constexpr uint32_t width = get_compile_time_arg_val(8);
constexpr uint32_t edge = get_compile_time_arg_val(9);  // 0 or 1
constexpr auto x_args = TensorAccessorArgs<10>();
constexpr auto past_args = TensorAccessorArgs<x_args.next_compile_time_args_offset()>();
constexpr auto clip_args = TensorAccessorArgs<past_args.next_compile_time_args_offset()>();
constexpr auto kept_args = TensorAccessorArgs<clip_args.next_compile_time_args_offset()>();

constexpr uint32_t cb = 0, GIVEN = 0, FIRST_FRAME = 1, ZEROS = 2;

constexpr uint32_t wide = width + 2 * edge;

inline uint32_t reflected(uint32_t at, uint32_t size) {
    return at == 0 ? 1 : at == size + 1 ? size - 2 : at - 1;
}

// Where in a frame of x that is which a frame of the clip has there.
inline uint32_t source(uint32_t row) {
    return edge ? reflected(row / wide, height) * width + reflected(row % wide, width) : row;
}

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
                const uint32_t of = frame == past_frames + frames ? frames - 1 : frame - past_frames;
                const uint32_t from = of * height * width + source((row + r) % rows_a_frame);
                noc_async_read(x.get_noc_addr(from), to, row_bytes);
            } else if (before == GIVEN) {
                noc_async_read(past.get_noc_addr(row + r), to, row_bytes);
            } else if (before == FIRST_FRAME) {
                noc_async_read(x.get_noc_addr(source((row + r) % rows_a_frame)), to, row_bytes);
            } else {
                clear(to, row_bytes);
            }
        }
        noc_async_read_barrier();
        for (uint32_t r = 0; r < rows; r++) {
            const uint32_t from = at + r * row_bytes;
            noc_async_write(from, clip.get_noc_addr(row + r), row_bytes);
            if (row + r >= stays * rows_a_frame) {
                noc_async_write(from, kept.get_noc_addr(row + r - stays * rows_a_frame), row_bytes);
            }
        }
        noc_async_write_barrier();
    });
}
