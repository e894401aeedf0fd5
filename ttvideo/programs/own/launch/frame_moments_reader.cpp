// Rows of a frame into chunks of 1,024 elements, each what a tile holds, with those that are to be added to
// them; what a chunk lacks is zero. Or rows that come as the channels (st, sh, sw, C) of others: then they go to
// where a clip of them is written, too.
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
constexpr auto x_args = TensorAccessorArgs<11>();
constexpr auto rest_args = TensorAccessorArgs<x_args.next_compile_time_args_offset()>();

constexpr uint32_t cb_x = summed ? 8 : 0, cb_ones = 1, cb_rest = 9, cb_clip = 10;

// Where a pixel is among the channels of others.
template <typename Rows>
struct Spread {
    const Rows& x;

    uint64_t get_noc_addr(uint32_t pixel) const {
        if constexpr (st * sh * sw == 1) {
            return x.get_noc_addr(pixel);
        }
        const uint32_t frame = pixel / rows_a_frame, line = pixel % rows_a_frame / (width * sw);
        const uint32_t column = pixel % (width * sw);
        const uint32_t from = (frame / st * height + line / sh) * width + column / sw;
        return x.get_noc_addr(from, ((frame % st * sh + line % sh) * sw + column % sw) * row_bytes);
    }
};

void kernel_main() {
    const auto x = TensorAccessor(x_args, get_arg_val<uint32_t>(0), st * sh * sw * row_bytes);
    const auto rest = TensorAccessor(rest_args, get_arg_val<uint32_t>(1), row_bytes);
    const uint32_t first = get_arg_val<uint32_t>(2), end = get_arg_val<uint32_t>(3);
    const Spread<decltype(x)> pixels{x};

    push_ones(cb_ones);
    for (uint32_t item = first; item < end; item++) {
        const uint32_t frame = item / parts;
        chunks_of(item % parts, parts, rows_a_frame, rows_a_chunk, [&](uint32_t row, uint32_t rows) {
            const uint32_t at = get_write_ptr(cb_x);
            push_rows<true>(cb_x, pixels, frame * rows_a_frame + row, rows, row_bytes);
            if (summed) {
                push_rows<true>(cb_rest, rest, frame * rows_a_frame + row, rows, row_bytes);
            } else if (given) {
                push_copy(cb_clip, at);
            }
        });
    }
}
