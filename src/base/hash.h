// Hashes and checksums: XXH3 (Y. Collet, xxHash 0.8) from libxxhash. A checksum is seeded with what
// the bytes are and where they belong, so that right bytes in a wrong place are wrong.
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/slice.h"

// The one hash of a user key per operation: filters, memtables and prefetches all use its bits.
uint64_t hash_key(struct slice key);

// Mixes parts of an identity (file number, offset, incarnation ...) into a checksum's seed.
static inline uint64_t checksum_seed(uint64_t a, uint64_t b)
{
    uint64_t x = a * 0x9e3779b97f4a7c15u + (b ^ (b >> 29)) * 0xbf58476d1ce4e5b9u;
    return x ^ (x >> 32);
}

uint64_t checksum64(uint64_t seed, const void *data, size_t bytes);

static inline uint32_t checksum32(uint64_t seed, const void *data, size_t bytes)
{
    return (uint32_t)checksum64(seed, data, bytes);
}

// One checksum over two pieces, for a header and its payload; where the first ends counts too.
uint64_t checksum64_two(uint64_t seed, struct slice first, struct slice second);

#endif
