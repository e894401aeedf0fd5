// A norm's scale and shift, each repeated to fill a tile; a frame's rows in chunks, with the rows of the
// latents' maps that belong to them, each read once for a chunk and copied from there; last the past's rows,
// as they are.
#include "chunks.h"

constexpr uint32_t rows_a_frame = get_compile_time_arg_val(0);
constexpr uint32_t rows_a_chunk = get_compile_time_arg_val(1);
constexpr uint32_t row_bytes = get_compile_time_arg_val(2);
constexpr uint32_t parts = get_compile_time_arg_val(3);
constexpr uint32_t width = get_compile_time_arg_val(4);
constexpr uint32_t by = get_compile_time_arg_val(5);
constexpr uint32_t latent_width = get_compile_time_arg_val(6);
constexpr uint32_t latent_rows = get_compile_time_arg_val(7);
constexpr uint32_t latents = get_compile_time_arg_val(8);
constexpr uint32_t frames = get_compile_time_arg_val(9);
constexpr auto x_args = TensorAccessorArgs<10>();
constexpr auto affine_args = TensorAccessorArgs<x_args.next_compile_time_args_offset()>();
constexpr auto maps_args = TensorAccessorArgs<affine_args.next_compile_time_args_offset()>();
constexpr auto past_args = TensorAccessorArgs<maps_args.next_compile_time_args_offset()>();

constexpr uint32_t cb_x = 0, cb_affine = 1, cb_by = 2, cb_shift = 3, cb_past = 5;

inline uint32_t latent_of(uint32_t frame) {
    if (frames > 1 && frames % 2) {
        return frame == 0 ? 0 : 1 + (frame - 1) * (latents - 1) / (frames - 1);
    }
    return frame * latents / frames;
}

void kernel_main() {
    const auto x = TensorAccessor(x_args, get_arg_val<uint32_t>(0), row_bytes);
    const auto affine = TensorAccessor(affine_args, get_arg_val<uint32_t>(1), row_bytes);
    const auto maps = TensorAccessor(maps_args, get_arg_val<uint32_t>(2), 2 * row_bytes);
    const auto past = TensorAccessor(past_args, get_arg_val<uint32_t>(3), row_bytes);
    const uint32_t first = get_arg_val<uint32_t>(4), end = get_arg_val<uint32_t>(5);
    const uint32_t past_row = get_arg_val<uint32_t>(6), past_end = get_arg_val<uint32_t>(7);

    push_repeated(cb_affine, affine, 0, rows_a_chunk, row_bytes);
    push_repeated(cb_affine, affine, 1, rows_a_chunk, row_bytes);
    for (uint32_t item = first; item < end; item++) {
        const uint32_t frame = item / parts, above = latent_of(frame) * latent_rows;
        chunks_of(item % parts, parts, rows_a_frame, rows_a_chunk, [&](uint32_t row, uint32_t rows) {
            cb_reserve_back(cb_x, 1);
            cb_reserve_back(cb_by, 1);
            cb_reserve_back(cb_shift, 1);
            const uint32_t by_at = get_write_ptr(cb_by), shift_at = get_write_ptr(cb_shift);
            const auto latent = [&](uint32_t pixel) {
                return above + pixel / width / by * latent_width + pixel % width / by;
            };
            read_rows(x, frame * rows_a_frame + row, rows, row_bytes, get_write_ptr(cb_x));
            for (uint32_t r = 0; r < rows; r++) {
                const uint32_t of = latent(row + r);
                if (r == 0 || of != latent(row + r - 1)) {
                    noc_async_read(maps.get_noc_addr(of), by_at + r * row_bytes, row_bytes);
                    noc_async_read(maps.get_noc_addr(of, row_bytes), shift_at + r * row_bytes, row_bytes);
                }
            }
            noc_async_read_barrier();
            for (uint32_t r = 1, from = 0; r < rows; r++) {
                if (latent(row + r) != latent(row + r - 1)) {
                    from = r;
                    continue;
                }
                for (uint32_t k = 0; k < 2; k++) {
                    const uint32_t at = k ? shift_at : by_at;
                    noc_async_read(get_noc_addr(at + from * row_bytes), at + r * row_bytes, row_bytes);
                }
            }
            noc_async_read_barrier();
            cb_push_back(cb_x, 1);
            cb_push_back(cb_by, 1);
            cb_push_back(cb_shift, 1);
        });
    }
    chunks_between(past_row, past_end, rows_a_chunk, [&](uint32_t row, uint32_t rows) {
        push_rows(cb_past, past, row, rows, row_bytes);
    });
}
