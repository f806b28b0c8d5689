// A borrowed run of bytes, and the one key order of the engine: bytewise, a prefix before what it
// is a prefix of.
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *data;
    size_t bytes;
};

static inline struct slice slice_of(const void *data, size_t bytes)
{
    return (struct slice){(const uint8_t *)data, bytes};
}

static inline int slice_compare(struct slice a, struct slice b)
{
    size_t shared = a.bytes < b.bytes ? a.bytes : b.bytes;
    int order = shared == 0 ? 0 : memcmp(a.data, b.data, shared);
    if (order != 0) {
        return order;
    }
    return a.bytes < b.bytes ? -1 : a.bytes > b.bytes;
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

// How many leading bytes a and b share.
static inline size_t slice_shared(struct slice a, struct slice b)
{
    size_t limit = a.bytes < b.bytes ? a.bytes : b.bytes;
    size_t n = 0;
    while (n < limit && a.data[n] == b.data[n]) {
        n++;
    }
    return n;
}

// The 8 bytes that follow the first `skip` bytes of a key as a big-endian number, short keys padded
// with zeros. For keys that share their first `skip` bytes: head(a) < head(b) implies a < b, and
// equal heads decide nothing.
static inline uint64_t slice_head(struct slice key, size_t skip)
{
    uint64_t word = 0;
    if (key.bytes >= skip + 8) {
        memcpy(&word, key.data + skip, 8);
    } else if (key.bytes > skip) {
        memcpy(&word, key.data + skip, key.bytes - skip);
    }
    return __builtin_bswap64(word); // the engine is little-endian only, refused at configure time
}

#endif
