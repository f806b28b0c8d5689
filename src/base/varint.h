// Variable-length numbers: 7 bits a byte, least significant first, the high bit says "more follows"
// (LEB128). At most 10 bytes; only the shortest form of a number is accepted by the reader.
#ifndef BASE_VARINT_H
#define BASE_VARINT_H

#include <stddef.h>
#include <stdint.h>

#define VARINT_BYTES_MAX 10

// Writes v at `to` (room for VARINT_BYTES_MAX) and returns the byte after it.
static inline uint8_t *varint_encode(uint8_t *to, uint64_t v)
{
    while (v >= 0x80) {
        *to++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *to++ = (uint8_t)v;
    return to;
}

static inline size_t varint_bytes(uint64_t v)
{
    size_t n = 1;
    while (v >= 0x80) {
        v >>= 7;
        n++;
    }
    return n;
}

// Reads a number from [from, end); returns the byte after it, or NULL when it is cut short, longer
// than 10 bytes, over 64 bits or not in its shortest form.
const uint8_t *varint_decode_slow(const uint8_t *from, const uint8_t *end, uint64_t *v_out);

static inline const uint8_t *varint_decode(const uint8_t *from, const uint8_t *end, uint64_t *v_out)
{
    if (from < end && *from < 0x80) {
        *v_out = *from;
        return from + 1;
    }
    return varint_decode_slow(from, end, v_out);
}

#endif
