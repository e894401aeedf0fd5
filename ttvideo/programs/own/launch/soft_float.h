// float32 by its bits, as much as a norm's statistics ask for. The data movement cores have no floats; the
// compiler's own are in a support library that, of Wormhole's, isn't in the packages that simulated chips'
// kernels are built with.
#pragma once
#include <cstdint>

constexpr uint32_t SIGN = 0x80000000, ONE_HALF = 0x3F000000, THREE_HALVES = 0x3FC00000;

inline int32_t exponent(uint32_t a) { return (a >> 23) & 0xFF; }

inline uint32_t mantissa(uint32_t a) { return (a & 0x7FFFFF) | 0x800000; }

// Rounded to the nearest; what is too small for a normal number is 0.
inline uint32_t product(uint32_t a, uint32_t b) {
    int32_t e = exponent(a) + exponent(b) - 127;
    if (exponent(a) == 0 || exponent(b) == 0 || e <= 0) {
        return 0;
    }
    uint64_t m = static_cast<uint64_t>(mantissa(a)) * mantissa(b);  // 2^46 to 2^48
    if (m >> 47) {
        m = (m >> 1) | (m & 1);
        e++;
    }
    uint32_t rounded = static_cast<uint32_t>((m + (1 << 22)) >> 23);
    if (rounded >> 24) {
        rounded >>= 1;
        e++;
    }
    return ((a ^ b) & SIGN) | static_cast<uint32_t>(e) << 23 | (rounded & 0x7FFFFF);
}

inline uint32_t sum(uint32_t a, uint32_t b) {
    if ((a & ~SIGN) < (b & ~SIGN)) {
        const uint32_t larger = b;
        b = a;
        a = larger;
    }
    const int32_t apart = exponent(a) - exponent(b);
    if (exponent(b) == 0 || apart > 29) {
        return a;
    }
    int32_t e = exponent(a);
    const uint32_t one = mantissa(a) << 6, other = (mantissa(b) << 6) >> apart;
    uint32_t m = (a ^ b) & SIGN ? one - other : one + other;
    if (m == 0) {
        return 0;
    }
    if (m >> 30) {
        m = (m >> 1) | (m & 1);
        e++;
    }
    while (!(m >> 29)) {
        m <<= 1;
        e--;
    }
    m += 1 << 5;
    if (m >> 30) {
        m >>= 1;
        e++;
    }
    return e <= 0 ? 0 : (a & SIGN) | static_cast<uint32_t>(e) << 23 | ((m >> 6) & 0x7FFFFF);
}

inline uint32_t less(uint32_t a, uint32_t b) { return sum(a, b ^ SIGN); }

// 1 / sqrt(a), a > 0: Newton's steps, of which four give float32, from a guess by the exponent.
inline uint32_t rsqrt(uint32_t a) {
    uint32_t y = 0x5F3759DF - (a >> 1);
    const uint32_t half = product(a, ONE_HALF);
    for (int i = 0; i < 4; i++) {
        y = product(y, less(THREE_HALVES, product(half, product(y, y))));
    }
    return y;
}

// To bf16, half a step away from zero, as the packer does.
inline uint16_t rounded(uint32_t a) { return static_cast<uint16_t>((a + 0x8000) >> 16); }

inline uint32_t widened(uint16_t half) { return static_cast<uint32_t>(half) << 16; }
