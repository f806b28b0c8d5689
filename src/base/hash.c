#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t hash_key(struct slice key)
{
    return XXH3_64bits(key.data, key.bytes);
}

uint64_t checksum64(uint64_t seed, const void *data, size_t bytes)
{
    return XXH3_64bits_withSeed(data, bytes, seed);
}

uint64_t checksum64_two(uint64_t seed, struct slice first, struct slice second)
{
    return checksum64(checksum64(seed, first.data, first.bytes), second.data, second.bytes);
}
