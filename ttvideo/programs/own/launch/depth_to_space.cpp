// Rows of several pixels' channels, (st, sh, sw, C) in each, to a row for each pixel, which stands `rt` x
// `rh` x `rw` times.
#include "api/dataflow/dataflow_api.h"

constexpr uint32_t height = get_compile_time_arg_val(0);
constexpr uint32_t width = get_compile_time_arg_val(1);
constexpr uint32_t st = get_compile_time_arg_val(2);
constexpr uint32_t sh = get_compile_time_arg_val(3);
constexpr uint32_t sw = get_compile_time_arg_val(4);
constexpr uint32_t row_bytes = get_compile_time_arg_val(5);
constexpr uint32_t rt = get_compile_time_arg_val(6);
constexpr uint32_t rh = get_compile_time_arg_val(7);
constexpr uint32_t rw = get_compile_time_arg_val(8);
constexpr uint32_t skipped = get_compile_time_arg_val(9);  // of what the first frame becomes in time
constexpr auto x_args = TensorAccessorArgs<10>();
constexpr auto y_args = TensorAccessorArgs<x_args.next_compile_time_args_offset()>();
constexpr uint32_t cb = 0;

void kernel_main() {
    const auto x = TensorAccessor(x_args, get_arg_val<uint32_t>(0), st * sh * sw * row_bytes);
    const auto y = TensorAccessor(y_args, get_arg_val<uint32_t>(1), row_bytes);
    const uint32_t first = get_arg_val<uint32_t>(2), end = get_arg_val<uint32_t>(3);
    const uint32_t at = get_write_ptr(cb);
    for (uint32_t pixel = first; pixel < end; pixel++) {
        const uint32_t w = pixel % width, h = pixel / width % height, t = pixel / (width * height);
        noc_async_read(x.get_noc_addr(pixel), at, st * sh * sw * row_bytes);
        noc_async_read_barrier();
        uint32_t from = at;
        for (uint32_t a = 0; a < st; a++) {
            for (uint32_t b = 0; b < sh; b++) {
                for (uint32_t c = 0; c < sw; c++, from += row_bytes) {
                    for (uint32_t i = 0; i < rt * rh; i++) {
                        const uint32_t later = (t * st + a) * rt + i / rh;
                        if (later < skipped) {
                            continue;
                        }
                        const uint32_t frame = later - skipped;
                        const uint32_t high = (h * sh + b) * rh + i % rh;
                        const uint32_t line = (frame * height * sh * rh + high) * width * sw * rw;
                        for (uint32_t j = 0; j < rw; j++) {
                            noc_async_write(from, y.get_noc_addr(line + (w * sw + c) * rw + j), row_bytes);
                        }
                    }
                }
            }
        }
        noc_async_write_barrier();
    }
}
