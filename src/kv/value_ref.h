// A reference to a separated value, as it stands in the place of the value in memtables and tables:
// which logical value file, which ordinal there, how many bytes (WiscKey: L. Lu et al., FAST 2016;
// but no physical offset, so that collecting garbage never writes a key).
//
//   reference := file varint | ordinal varint | bytes varint
//
// A value is stored in chunks of KV_VALUE_CHUNK_BYTES, the last one shorter; each chunk has an
// ordinal of its own, and those of one value follow each other.
#ifndef KV_VALUE_REF_H
#define KV_VALUE_REF_H

#include "base/slice.h"
#include "strata.h"

#define KV_VALUE_CHUNK_BYTES (1u << 20)
#define KV_VALUE_REF_BYTES_MAX 20

struct kv_value_ref {
    uint64_t file;    // number of the logical value file
    uint32_t ordinal; // of the first chunk
    uint32_t bytes;   // of the value; at least 1
};

// How many ordinals a value of `bytes` takes.
static inline uint32_t kv_value_chunks(uint64_t bytes)
{
    return (uint32_t)((bytes + KV_VALUE_CHUNK_BYTES - 1) / KV_VALUE_CHUNK_BYTES);
}

// Returns how many bytes were written, at most KV_VALUE_REF_BYTES_MAX.
uint32_t kv_value_ref_encode(const struct kv_value_ref *ref, uint8_t *to);
// STRATA_CORRUPT unless the slice is exactly one reference with at least one byte, and ordinals
// that fit.
strata_rc kv_value_ref_decode(struct slice from, struct kv_value_ref *ref_out) STRATA_MUST_CHECK;

#endif
