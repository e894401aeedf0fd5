// Which face rows of a tile belong to one pixel, a norm's gain and shift, each repeated to fill a tile, then
// a frame's rows in chunks; last the past's rows, as they are, or zeros.
#include "made.h"

constexpr uint32_t zeros = get_compile_time_arg_val(next_arg);
constexpr auto x_args = TensorAccessorArgs<next_arg + 1>();
constexpr auto affine_args = TensorAccessorArgs<x_args.next_compile_time_args_offset()>();
constexpr auto past_args = TensorAccessorArgs<affine_args.next_compile_time_args_offset()>();
constexpr auto rest_args = TensorAccessorArgs<past_args.next_compile_time_args_offset()>();

constexpr uint32_t cb_affine = 1, cb_masks = 2, cb_past = 5;
constexpr uint32_t FACE = 16, FACES = 4, SIDES = 2, ONE = 0x3F80;
constexpr uint32_t face_rows = row_bytes / (2 * FACE);  // of a pixel

// A tile lies in memory as four faces of 16 x 16, so 16 elements that follow each other are a face's row:
// those of side 0 or 1 of the tile's columns. For sides p and q, tile 2 p + q sums up, from the right, a
// row's 16 elements of side p into all of side q; tile 4 + 2 p + q adds, from the left, rows of side p to
// those of side q in the same pixel.
inline void push_masks() {
    cb_reserve_back(cb_masks, 8);
    const uint32_t at = get_write_ptr(cb_masks);
    clear(at, 8 * chunk_bytes);
    for (uint32_t p = 0; p < SIDES; p++) {
        for (uint32_t q = 0; q < SIDES; q++) {
            auto right = reinterpret_cast<volatile tt_l1_ptr uint16_t*>(at + (2 * p + q) * chunk_bytes);
            for (uint32_t i = 0; i < FACE * FACE; i++) {
                right[(2 * p + q) * FACE * FACE + i] = ONE;
            }
            auto left = reinterpret_cast<volatile tt_l1_ptr uint16_t*>(at + (4 + 2 * p + q) * chunk_bytes);
            for (uint32_t to = 0; to < SIDES * FACE; to++) {
                const uint32_t pixel = ((to / FACE * SIDES + q) * FACE + to % FACE) / face_rows;
                for (uint32_t from = 0; from < SIDES * FACE; from++) {
                    if (((from / FACE * SIDES + p) * FACE + from % FACE) / face_rows == pixel) {
                        const uint32_t face = to / FACE * SIDES + from / FACE;
                        left[face * FACE * FACE + to % FACE * FACE + from % FACE] = ONE;
                    }
                }
            }
        }
    }
    cb_push_back(cb_masks, 8);
}

void kernel_main() {
    const auto x = TensorAccessor(x_args, get_arg_val<uint32_t>(0), page_bytes);
    const auto affine = TensorAccessor(affine_args, get_arg_val<uint32_t>(1), row_bytes);
    const auto past = TensorAccessor(past_args, get_arg_val<uint32_t>(2), row_bytes);
    const auto rest = TensorAccessor(rest_args, get_arg_val<uint32_t>(3), row_bytes);
    const uint32_t first = get_arg_val<uint32_t>(4), end = get_arg_val<uint32_t>(5);
    const uint32_t past_row = get_arg_val<uint32_t>(6), past_end = get_arg_val<uint32_t>(7);

    push_masks();
    push_repeated(cb_affine, affine, 0, rows_a_chunk, row_bytes);
    push_repeated(cb_affine, affine, 1, rows_a_chunk, row_bytes);
    for (uint32_t item = first; item < end; item++) {
        push_part(x, rest, item);
    }
    chunks_between(past_row, past_end, rows_a_chunk, [&](uint32_t row, uint32_t rows) {
        push_past<zeros>(cb_past, past, row, rows, row_bytes);
    });
}
