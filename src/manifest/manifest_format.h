// Header and records of a manifest, between manifest.c and the bytes. The layout stands at the head
// of manifest_format.c.
#ifndef MANIFEST_MANIFEST_FORMAT_H
#define MANIFEST_MANIFEST_FORMAT_H

#include "base/endian.h"
#include "base/hash.h"
#include "manifest/manifest.h"

#define MANIFEST_VERSION 0
#define MANIFEST_PAGE_BYTES 4096u
#define MANIFEST_HEADER_BYTES 64u
#define MANIFEST_RECORD_BYTES 24u // before the payload

void manifest_header_encode(uint8_t to[MANIFEST_HEADER_BYTES], uint64_t number,
                            uint64_t incarnation);
// STRATA_CORRUPT for damage, STRATA_VERSION for an intact header of another version.
strata_rc manifest_header_decode(const uint8_t from[MANIFEST_HEADER_BYTES], uint64_t number,
                                 uint64_t *incarnation_out,
                                 uint64_t *checksum_out) STRATA_MUST_CHECK;

// Where the next record of the chain goes.
struct manifest_chain {
    uint64_t number;   // of the manifest
    uint64_t offset;   // of the record
    uint64_t checksum; // of the record before, or of the header
    uint32_t sequence; // of the record
};

struct manifest_record {
    uint32_t payload_bytes;
    uint32_t sequence;
    uint64_t before;   // checksum of the record before
    uint64_t checksum; // its own
};

// Fills the bytes before the payload; returns the record's checksum.
uint64_t manifest_record_seal(uint8_t head[MANIFEST_RECORD_BYTES], struct slice payload,
                              const struct manifest_chain *at);
struct manifest_record manifest_record_of(const uint8_t head[MANIFEST_RECORD_BYTES]);
// Does the record's own checksum hold, at this place of this manifest?
bool manifest_record_whole(const uint8_t head[MANIFEST_RECORD_BYTES], struct slice payload,
                           uint64_t number, uint64_t offset);

static inline uint64_t manifest_pages(uint64_t bytes)
{
    return (bytes + MANIFEST_PAGE_BYTES - 1) / MANIFEST_PAGE_BYTES * MANIFEST_PAGE_BYTES;
}

#endif
