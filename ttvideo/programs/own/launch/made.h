// How a reader comes by the rows of a clip's frames, in chunks of 1,024 elements, as many as a tile has; what a
// chunk lacks is zero. They are there as they are; or as the channels (st, sh, sw, C) of others, and may be
// given, too; or come as two clips that summed.h adds up.
#pragma once
#include "chunks.h"

constexpr uint32_t rows_a_frame = get_compile_time_arg_val(0);
constexpr uint32_t rows_a_chunk = get_compile_time_arg_val(1);
constexpr uint32_t row_bytes = get_compile_time_arg_val(2);
constexpr uint32_t parts = get_compile_time_arg_val(3);
constexpr uint32_t given = get_compile_time_arg_val(4);
constexpr uint32_t summed = get_compile_time_arg_val(5);
constexpr uint32_t st = get_compile_time_arg_val(6);
constexpr uint32_t sh = get_compile_time_arg_val(7);
constexpr uint32_t sw = get_compile_time_arg_val(8);
constexpr uint32_t height = get_compile_time_arg_val(9);
constexpr uint32_t width = get_compile_time_arg_val(10);
constexpr uint32_t next_arg = 11, page_bytes = st * sh * sw * row_bytes;
constexpr uint32_t cb_x = summed ? 8 : 0, cb_rest = 9, cb_clip = 10;

template <typename Rows>
struct Spread {
    const Rows& x;

    uint64_t get_noc_addr(uint32_t pixel) const {
        if constexpr (page_bytes == row_bytes) {
            return x.get_noc_addr(pixel);
        }
        const uint32_t frame = pixel / rows_a_frame, line = pixel % rows_a_frame / (width * sw);
        const uint32_t column = pixel % (width * sw);
        const uint32_t from = (frame / st * height + line / sh) * width + column / sw;
        return x.get_noc_addr(from, ((frame % st * sh + line % sh) * sw + column % sw) * row_bytes);
    }
};

// The chunks of a frame's part.
template <typename Rows, typename Rest>
inline void push_part(const Rows& x, const Rest& rest, uint32_t item) {
    const uint32_t frame = item / parts;
    chunks_of(item % parts, parts, rows_a_frame, rows_a_chunk, [&](uint32_t row, uint32_t rows) {
        const uint32_t at = get_write_ptr(cb_x);  // which stays there until this core pushes more
        push_rows<true>(cb_x, Spread<Rows>{x}, frame * rows_a_frame + row, rows, row_bytes);
        if (summed) {
            push_rows<true>(cb_rest, rest, frame * rows_a_frame + row, rows, row_bytes);
        } else if (given) {
            cb_reserve_back(cb_clip, 1);
            noc_async_read(get_noc_addr(at), get_write_ptr(cb_clip), chunk_bytes);
            noc_async_read_barrier();
            cb_push_back(cb_clip, 1);
        }
    });
}
