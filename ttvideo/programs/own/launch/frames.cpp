// Lines of pixels, (patch, patch, 3) channels in each, to lines of a picture: bf16, or 8 bits,
// and then a byte that is 1 where a value that went into the line isn't finite.
#include "api/dataflow/dataflow_api.h"

constexpr uint32_t width = get_compile_time_arg_val(0);
constexpr uint32_t patch = get_compile_time_arg_val(1);
constexpr uint32_t row_bytes = get_compile_time_arg_val(2);
constexpr uint32_t line_bytes = get_compile_time_arg_val(3);
constexpr uint32_t eight_bits = get_compile_time_arg_val(4);
constexpr uint32_t clamped = get_compile_time_arg_val(5);
constexpr auto x_args = TensorAccessorArgs<6>();
constexpr auto y_args = TensorAccessorArgs<x_args.next_compile_time_args_offset()>();

constexpr uint32_t cb_x = 0, cb_y = 1, COLOURS = 3, SIGN = 0x8000, ONE = 0x3F80, INFINITE = 0x7F80;
constexpr uint32_t line_space = (line_bytes + 63) / 64 * 64;

inline uint16_t within(uint16_t x) {
    const uint32_t size = x & ~SIGN;
    return clamped && size > ONE && size <= INFINITE ? (x & SIGN) | ONE : x;
}

// (x / 2 + 1 / 2) * 255 to the nearest: with x times 2^30, of which what is smaller is cut off.
inline uint8_t byte_of(uint16_t x) {
    const uint32_t exponent = (x >> 7) & 0xFF, mantissa = (x & 0x7F) | 0x80;
    if (exponent >= 127) {
        return x & SIGN ? 0 : 255;
    }
    uint32_t size = 0;
    if (exponent >= 104) {
        size = mantissa << (exponent - 104);
    } else if (exponent > 96) {
        size = mantissa >> (104 - exponent);
    }
    const uint32_t from_black = x & SIGN ? (1u << 30) - size : (1u << 30) + size;
    return static_cast<uint8_t>((static_cast<uint64_t>(from_black) * 255 + (1u << 30)) >> 31);
}

void kernel_main() {
    const auto x = TensorAccessor(x_args, get_arg_val<uint32_t>(0), row_bytes);
    const auto y = TensorAccessor(y_args, get_arg_val<uint32_t>(1), line_bytes);
    const uint32_t first = get_arg_val<uint32_t>(2), end = get_arg_val<uint32_t>(3);
    const uint32_t from = get_write_ptr(cb_x), to = get_write_ptr(cb_y);
    for (uint32_t line = first; line < end; line++) {
        for (uint32_t w = 0; w < width; w++) {
            noc_async_read(x.get_noc_addr(line * width + w), from + w * row_bytes, row_bytes);
        }
        noc_async_read_barrier();
        bool lost = false;
        for (uint32_t w = 0; w < width; w++) {
            auto given = reinterpret_cast<volatile tt_l1_ptr uint16_t*>(from + w * row_bytes);
            for (uint32_t i = 0; i < patch; i++) {
                const uint32_t line_at = to + i * line_space, at = w * patch * COLOURS;
                const auto bytes = reinterpret_cast<volatile tt_l1_ptr uint8_t*>(line_at);
                const auto halves = reinterpret_cast<volatile tt_l1_ptr uint16_t*>(line_at);
                for (uint32_t n = 0; n < patch * COLOURS; n++) {
                    const uint16_t value = given[i * patch * COLOURS + n];
                    if (eight_bits) {
                        bytes[at + n] = byte_of(value);
                        lost = lost || (value & INFINITE) == INFINITE;
                    } else {
                        halves[at + n] = within(value);
                    }
                }
            }
        }
        for (uint32_t i = 0; i < patch; i++) {
            if (eight_bits) {
                reinterpret_cast<volatile tt_l1_ptr uint8_t*>(to + i * line_space)[line_bytes - 1] = lost;
            }
            noc_async_write(to + i * line_space, y.get_noc_addr(line * patch + i), line_bytes);
        }
        noc_async_write_barrier();
    }
}
