// A frame's parts of sums -> what its norm multiplies each channel with, and adds; some whole groups an item.
#include "api/dataflow/dataflow_api.h"
#include "soft_float.h"

constexpr uint32_t rows_a_chunk = get_compile_time_arg_val(0);
constexpr uint32_t channels = get_compile_time_arg_val(1);
constexpr uint32_t groups = get_compile_time_arg_val(2);
constexpr uint32_t parts = get_compile_time_arg_val(3);
constexpr uint32_t pieces = get_compile_time_arg_val(4);  // of a frame's channels
constexpr uint32_t epsilon = get_compile_time_arg_val(5);  // and the next: float32, by their bits
constexpr uint32_t share = get_compile_time_arg_val(6);    // 1 by a group's elements
constexpr uint32_t real = get_compile_time_arg_val(7);     // channels that are in groups; others are zeros
constexpr auto sums_args = TensorAccessorArgs<8>();
constexpr auto affine_args = TensorAccessorArgs<sums_args.next_compile_time_args_offset()>();
constexpr auto out_args = TensorAccessorArgs<affine_args.next_compile_time_args_offset()>();

constexpr uint32_t cb_sums = 0, cb_affine = 1, cb_out = 2, cb_totals = 3;
constexpr uint32_t sums_bytes = 4096;
constexpr uint32_t width = channels / pieces, each = real / groups;

void kernel_main() {
    const auto sums = TensorAccessor(sums_args, get_arg_val<uint32_t>(0), sums_bytes);
    const auto affine = TensorAccessor(affine_args, get_arg_val<uint32_t>(1), channels * 2);
    const auto out = TensorAccessor(out_args, get_arg_val<uint32_t>(2), channels * 2);
    const uint32_t first = get_arg_val<uint32_t>(3), end = get_arg_val<uint32_t>(4);
    const uint32_t sums_at = get_write_ptr(cb_sums), affine_at = get_write_ptr(cb_affine);
    const uint32_t out_at = get_write_ptr(cb_out);
    const auto total = reinterpret_cast<volatile tt_l1_ptr uint32_t*>(get_write_ptr(cb_totals));
    const auto given = reinterpret_cast<volatile tt_l1_ptr uint16_t*>(affine_at);
    const auto made = reinterpret_cast<volatile tt_l1_ptr uint16_t*>(out_at);

    for (uint32_t k = 0; k < 2; k++) {
        noc_async_read(affine.get_noc_addr(k), affine_at + k * channels * 2, channels * 2);
    }
    noc_async_read_barrier();
    for (uint32_t item = first; item < end; item++) {
        const uint32_t frame = item / pieces, channel = (item % pieces) * width;
        for (uint32_t i = 0; i < 2 * width; i++) {
            total[i] = 0;
        }
        for (uint32_t row = 2 * frame * parts; row < 2 * (frame + 1) * parts; row++) {
            noc_async_read(sums.get_noc_addr(row), sums_at, sums_bytes);
            noc_async_read_barrier();
            const auto found = reinterpret_cast<volatile tt_l1_ptr uint32_t*>(sums_at);
            const uint32_t to = (row % 2) * width;
            for (uint32_t r = 0; r < rows_a_chunk; r++) {
                for (uint32_t c = 0; c < width; c++) {
                    total[to + c] = sum(total[to + c], found[r * channels + channel + c]);
                }
            }
        }
        for (uint32_t i = 0; i < 2 * width && real < channels; i++) {
            made[i] = 0;
        }
        for (uint32_t begin = 0; begin < width && channel + begin < real; begin += each) {
            uint32_t mean = 0, square = 0;
            for (uint32_t c = begin; c < begin + each; c++) {
                mean = sum(mean, total[c]);
                square = sum(square, total[width + c]);
            }
            mean = product(mean, share);
            uint32_t variance = less(product(square, share), product(mean, mean));
            variance = variance & SIGN ? 0 : variance;
            const uint32_t deviation = rsqrt(sum(variance, epsilon));
            for (uint32_t c = begin; c < begin + each; c++) {
                const uint32_t scale = product(deviation, widened(given[channel + c]));
                made[c] = rounded(scale);
                made[width + c] = rounded(less(widened(given[channels + channel + c]), product(mean, scale)));
            }
        }
        for (uint32_t k = 0; k < 2; k++) {
            noc_async_write(out_at + k * width * 2, out.get_noc_addr(2 * frame + k) + channel * 2, width * 2);
        }
        noc_async_write_barrier();
    }
}
