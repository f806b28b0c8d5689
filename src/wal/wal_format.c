#include "wal/wal_format.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/mutant.h"
#include "base/reader.h"

// "strata.L" as a number.
#define WAL_MAGIC 0x4c2e617461727473u

#define WAL_CHECKED_BYTES (WAL_SEGMENT_HEADER_BYTES - 8)

// ---- segment headers

static uint64_t wal_segment_header_check(const uint8_t *bytes)
{
    return checksum64(WAL_MAGIC, bytes + 8, WAL_CHECKED_BYTES);
}

void wal_segment_header_encode(uint8_t to[WAL_SEGMENT_HEADER_BYTES],
                               const struct wal_segment_header *h)
{
    memset(to, 0, WAL_SEGMENT_HEADER_BYTES);
    store_u64(to + 8, WAL_MAGIC);
    store_u32(to + 16, WAL_FORMAT);
    store_u32(to + 20, h->stream);
    store_u64(to + 24, h->incarnation);
    store_u64(to + 32, h->segment);
    store_u64(to + 40, h->chain);
    store_u64(to + 48, h->predecessor);
    store_u64(to + 56, h->predecessor_end);
    store_u64(to + 64, h->commit);
    store_u64(to + 72, h->synced_commit);
    store_u64(to + 80, h->edits);
    store_u64(to + 88, h->segment_bytes);
    store_u64(to, wal_segment_header_check(to));
}

strata_rc wal_segment_header_decode(const uint8_t from[WAL_SEGMENT_HEADER_BYTES],
                                    struct wal_segment_header *h_out)
{
    struct reader r = reader_of(slice_of(from, WAL_SEGMENT_HEADER_BYTES));
    uint64_t check = reader_u64(&r);
    uint64_t magic = reader_u64(&r);
    uint32_t format = reader_u32(&r);
    h_out->stream = reader_u32(&r);
    h_out->incarnation = reader_u64(&r);
    h_out->segment = reader_u64(&r);
    h_out->chain = reader_u64(&r);
    h_out->predecessor = reader_u64(&r);
    h_out->predecessor_end = reader_u64(&r);
    h_out->commit = reader_u64(&r);
    h_out->synced_commit = reader_u64(&r);
    h_out->edits = reader_u64(&r);
    h_out->segment_bytes = reader_u64(&r);
    ASSERT(!r.bad);
    if (magic != WAL_MAGIC || check != wal_segment_header_check(from)) {
        return STRATA_CORRUPT;
    }
    return format == WAL_FORMAT ? STRATA_OK : STRATA_VERSION;
}

// ---- pages

uint64_t wal_segment_seed(uint64_t incarnation, uint64_t segment)
{
    return checksum_seed(incarnation, segment);
}

static uint32_t wal_page_header_check(const uint8_t *header, uint64_t seed, uint64_t offset)
{
    return checksum32(checksum_seed(seed, offset), header + 4, WAL_PAGE_HEADER_BYTES - 4);
}

void wal_page_header_encode(uint8_t to[WAL_PAGE_HEADER_BYTES], uint64_t seed, uint64_t offset,
                            uint64_t incarnation, uint32_t first)
{
    ASSERT(offset % WAL_PAGE_BYTES == 0 && first < WAL_PAGE_BYTES);
    store_u32(to + 4, first);
    store_u64(to + 8, incarnation);
    store_u32(to, wal_page_header_check(to, seed, offset));
}

bool wal_page_header_decode(const uint8_t from[WAL_PAGE_HEADER_BYTES], uint64_t seed,
                            uint64_t offset, uint32_t *first_out)
{
    uint32_t first = load_u32(from + 4);
    bool possible = first == 0 || (first >= WAL_PAGE_HEADER_BYTES &&
                                   first <= WAL_PAGE_BYTES - WAL_RECORD_HEADER_BYTES);
    *first_out = first;
    return possible && load_u32(from) == wal_page_header_check(from, seed, offset);
}

// ---- records

static uint32_t wal_record_check(const uint8_t *header, uint64_t seed, uint64_t offset,
                                 struct slice payload)
{
    struct slice checked = slice_of(header + 4, WAL_RECORD_HEADER_BYTES - 4);
    return (uint32_t)checksum64_two(checksum_seed(seed, offset), checked, payload);
}

void wal_record_header_encode(uint8_t to[WAL_RECORD_HEADER_BYTES], uint64_t seed, uint64_t offset,
                              const struct wal_record_header *h, struct slice payload)
{
    ASSERT(h->payload_bytes == payload.bytes && payload.bytes <= WAL_PAYLOAD_BYTES_MAX);
    store_u32(to + 4, h->count);
    store_u64(to + 8, h->payload_bytes | (uint64_t)h->kind << 48);
    store_u64(to + 16, h->commit);
    store_u64(to + 24, (uint64_t)h->time_us);
    store_u32(to, wal_record_check(to, seed, offset, payload));
}

void wal_record_header_decode(const uint8_t from[WAL_RECORD_HEADER_BYTES],
                              struct wal_record_header *h_out)
{
    uint64_t bytes_and_kind = load_u64(from + 8);
    h_out->check = load_u32(from);
    h_out->count = load_u32(from + 4);
    h_out->payload_bytes = bytes_and_kind & (((uint64_t)1 << 48) - 1);
    h_out->kind = (uint8_t)(bytes_and_kind >> 48);
    h_out->commit = load_u64(from + 16);
    h_out->time_us = (int64_t)load_u64(from + 24);
}

bool wal_record_is_good(const uint8_t header[WAL_RECORD_HEADER_BYTES], uint64_t seed,
                        uint64_t offset, struct slice payload)
{
    return load_u32(header) == wal_record_check(header, seed, offset, payload) || MUTANT(36);
}

void wal_mark_encode(uint8_t to[WAL_MARK_BYTES], const struct wal_mark *mark)
{
    store_u64(to, mark->synced_commit);
    store_u64(to + 8, mark->edits);
}

void wal_mark_decode(const uint8_t from[WAL_MARK_BYTES], struct wal_mark *mark_out)
{
    mark_out->synced_commit = load_u64(from);
    mark_out->edits = load_u64(from + 8);
}
