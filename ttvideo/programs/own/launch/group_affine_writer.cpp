// A frame's sums -> what its norm multiplies each channel with, and adds; some whole groups an item.
#include "api/dataflow/dataflow_api.h"
#include "soft_float.h"

constexpr uint32_t rows_a_chunk = get_compile_time_arg_val(0);
constexpr uint32_t channels = get_compile_time_arg_val(1);
constexpr uint32_t groups = get_compile_time_arg_val(2);
constexpr uint32_t pieces = get_compile_time_arg_val(3);  // of a frame's channels
constexpr uint32_t epsilon = get_compile_time_arg_val(4);  // and the next: float32, by their bits
constexpr uint32_t share = get_compile_time_arg_val(5);    // 1 by a group's elements
constexpr uint32_t real = get_compile_time_arg_val(6);     // channels that are in groups; others are zeros
constexpr auto affine_args = TensorAccessorArgs<7>();
constexpr auto out_args = TensorAccessorArgs<affine_args.next_compile_time_args_offset()>();

constexpr uint32_t cb_affine = 1, cb_out = 2, cb_totals = 3, chunk = 1024;
constexpr uint32_t width = channels / pieces, each = real / groups;

void kernel_main() {
    const auto affine = TensorAccessor(affine_args, get_arg_val<uint32_t>(0), channels * 2);
    const auto out = TensorAccessor(out_args, get_arg_val<uint32_t>(1), channels * 2);
    const uint32_t first = get_arg_val<uint32_t>(2), end = get_arg_val<uint32_t>(3);
    const uint32_t affine_at = get_write_ptr(cb_affine), out_at = get_write_ptr(cb_out);
    const auto given = reinterpret_cast<volatile tt_l1_ptr uint16_t*>(affine_at);
    const auto made = reinterpret_cast<volatile tt_l1_ptr uint16_t*>(out_at);

    for (uint32_t k = 0; k < 2; k++) {
        noc_async_read(affine.get_noc_addr(k), affine_at + k * channels * 2, channels * 2);
    }
    noc_async_read_barrier();
    for (uint32_t item = first; item < end; item++) {
        const uint32_t frame = item / pieces, channel = (item % pieces) * width;
        cb_wait_front(cb_totals, 2);
        const auto total = reinterpret_cast<volatile tt_l1_ptr uint32_t*>(get_read_ptr(cb_totals));
        // Of a group's elements in all of a chunk's rows.
        const auto summed = [&](uint32_t k, uint32_t begin) {
            uint32_t found = 0;
            for (uint32_t r = 0; r < rows_a_chunk; r++) {
                const uint32_t from = k * chunk + r * channels + begin;
                for (uint32_t i = from; i < from + each; i++) {
                    found = sum(found, total[i]);
                }
            }
            return found;
        };
        for (uint32_t i = 0; i < 2 * width && real < channels; i++) {
            made[i] = 0;
        }
        for (uint32_t begin = 0; begin < width && channel + begin < real; begin += each) {
            const uint32_t mean = product(summed(0, channel + begin), share);
            uint32_t variance = less(product(summed(1, channel + begin), share), product(mean, mean));
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
        cb_pop_front(cb_totals, 2);
    }
}
