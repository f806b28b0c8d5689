// The filter of a table: which keys it may hold. A blocked Bloom filter (F. Putze, P. Sanders, J.
// Singler, "Cache-, hash- and space-efficient Bloom filters", 2007): the bits of a key all lie in
// one 64-byte line, so a test costs one cache miss. Made from and asked with hash_key(key): one
// hash of an operation serves the filters of all tables.
//
// Payload of the section:
//   0  u32  version, 0
//   4  u32  probes, 1 to 8
//   8  u64  lines, at least 1
//  16  u8   zeros up to 64
//  64  the lines, 64 bytes each
// A key's line is (hash >> 32) * lines >> 32 (D. Lemire, "Fast random integer generation in an
// interval", 2019); its bits in the line come from the low half of the hash (table/search.h), bit b
// being bit b % 8 of byte b / 8.
//
// Thread rule: immutable once built; any number of readers.
#ifndef TABLE_FILTER_H
#define TABLE_FILTER_H

#include "base/slice.h"
#include "strata.h"
#include "table/search.h"

#define FILTER_HEAD_BYTES 64
#define FILTER_LINE_BYTES 64

struct filter {
    const uint8_t *lines; // NULL: no filter, every key may be there
    uint64_t line_count;
    uint32_t probes;
};

// Bytes of the payload for `keys` keys at `bits` bits each.
size_t filter_payload_bytes(uint64_t keys, uint32_t bits);
// Fills a zeroed payload of filter_payload_bytes(count, bits) bytes from the keys' hashes.
void filter_build(uint8_t *payload, const uint64_t *hashes, uint64_t count, uint32_t bits);
// Reads a payload, which must be 64-byte aligned and outlive the filter. STRATA_CORRUPT,
// STRATA_VERSION.
strata_rc filter_open(struct filter *f, struct slice payload) STRATA_MUST_CHECK;

static inline const uint8_t *filter_line(const struct filter *f, uint64_t hash)
{
    return f->lines + (((hash >> 32) * f->line_count) >> 32) * FILTER_LINE_BYTES;
}

static inline bool filter_may_hold(const struct filter *f, uint64_t hash)
{
    return f->lines == NULL ||
           search_now()->line_test(filter_line(f, hash), (uint32_t)hash, f->probes);
}

#endif
