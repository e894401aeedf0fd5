// What kernels on rows of channels share: a frame's rows go in chunks of 1,024 elements, as many as a tile
// holds.
#pragma once
#include "api/dataflow/dataflow_api.h"

constexpr uint32_t chunk_bytes = 2048;

// A chunk of bf16 ones, for good: to multiply with where a tile is to be added.
inline void push_ones(uint32_t cb) {
    cb_reserve_back(cb, 1);
    auto ones = reinterpret_cast<volatile tt_l1_ptr uint32_t*>(get_write_ptr(cb));
    for (uint32_t i = 0; i < chunk_bytes / 4; i++) {
        ones[i] = 0x3F803F80;
    }
    cb_push_back(cb, 1);
}

inline void clear(uint32_t at, uint32_t bytes) {
    for (uint32_t byte = 0; byte < bytes; byte += 4) {
        *reinterpret_cast<volatile tt_l1_ptr uint32_t*>(at + byte) = 0;
    }
}

template <typename Rows>
inline void read_rows(const Rows& x, uint32_t row, uint32_t rows, uint32_t row_bytes, uint32_t to) {
    for (uint32_t r = 0; r < rows; r++) {
        noc_async_read(x.get_noc_addr(row + r), to + r * row_bytes, row_bytes);
    }
}

// Rows as a chunk; `filled` with zeros where it is summed up, for what is there by chance may be infinite.
template <bool filled = false, typename Rows>
inline void push_rows(uint32_t cb, const Rows& x, uint32_t row, uint32_t rows, uint32_t row_bytes) {
    cb_reserve_back(cb, 1);
    const uint32_t to = get_write_ptr(cb);
    read_rows(x, row, rows, row_bytes, to);
    if constexpr (filled) {
        clear(to + rows * row_bytes, chunk_bytes - rows * row_bytes);
    }
    noc_async_read_barrier();
    cb_push_back(cb, 1);
}

// A chunk of rows as pushed, into their place.
template <typename Rows>
inline void pop_rows(uint32_t cb, const Rows& y, uint32_t row, uint32_t rows, uint32_t row_bytes) {
    cb_wait_front(cb, 1);
    for (uint32_t r = 0; r < rows; r++) {
        noc_async_write(get_read_ptr(cb) + r * row_bytes, y.get_noc_addr(row + r), row_bytes);
    }
    noc_async_write_barrier();
    cb_pop_front(cb, 1);
}

// The past's rows as a chunk, as they are, or `zeros`.
template <bool zeros, typename Rows>
inline void push_past(uint32_t cb, const Rows& past, uint32_t row, uint32_t rows, uint32_t row_bytes) {
    if constexpr (zeros) {
        cb_reserve_back(cb, 1);
        clear(get_write_ptr(cb), rows * row_bytes);
        cb_push_back(cb, 1);
    } else {
        push_rows(cb, past, row, rows, row_bytes);
    }
}

// One row as often as a chunk has rows, to go with each of them.
template <typename Rows>
inline void push_repeated(uint32_t cb, const Rows& x, uint32_t row, uint32_t times, uint32_t row_bytes) {
    cb_reserve_back(cb, 1);
    const uint32_t to = get_write_ptr(cb);
    for (uint32_t r = 0; r < times; r++) {
        noc_async_read(x.get_noc_addr(row), to + r * row_bytes, row_bytes);
    }
    clear(to + times * row_bytes, chunk_bytes - times * row_bytes);
    noc_async_read_barrier();
    cb_push_back(cb, 1);
}

// Calls each(row, rows) for the chunks of one of a frame's parts.
template <typename Each>
inline void chunks_of(
    uint32_t part, uint32_t parts, uint32_t rows_a_frame, uint32_t rows_a_chunk, Each each) {
    const uint32_t chunks = (rows_a_frame + rows_a_chunk - 1) / rows_a_chunk;
    for (uint32_t chunk = part * chunks / parts; chunk < (part + 1) * chunks / parts; chunk++) {
        const uint32_t row = chunk * rows_a_chunk;
        each(row, row + rows_a_chunk > rows_a_frame ? rows_a_frame - row : rows_a_chunk);
    }
}

// The same for rows `row` to `end` of frames that lie one after another.
template <typename Each>
inline void chunks_between(uint32_t row, uint32_t end, uint32_t rows_a_chunk, Each each) {
    for (; row < end; row += rows_a_chunk) {
        each(row, row + rows_a_chunk > end ? end - row : rows_a_chunk);
    }
}
