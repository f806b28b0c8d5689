// The bytes of a manifest (numbers little-endian; "varint" as in base/varint.h, "prefixed": a
// varint length, then the bytes; "zigzag": a signed number n as the varint (n << 1) ^ (n >> 63)).
//
// Header, in the first page (4096 bytes, the rest zero). These 64 bytes mean the same in every
// version of the format:
//
//    0  8  "strataMF"
//    8  4  format version: 0
//   12  4  bytes of the header: 64
//   16  8  number of the manifest, as in its name
//   24  8  incarnation of the open that wrote it
//   32 24  zero
//   56  8  checksum64(checksum_seed(number, 0), bytes 0 to 55)
//
// Records follow, each from the start of a page, padded with zeros to a whole page: bytes that were
// synced never share a page with bytes being written.
//
//    0  4  bytes of the payload
//    4  4  sequence: 1 for the first record, and so on
//    8  8  checksum of the record before (of the header, for the first)
//   16  8  checksum64_two(checksum_seed(number, offset of the record), bytes 0 to 15, payload)
//   24  .  payload: an edit
//
// A record is whole when its own checksum holds, and it belongs to the chain when sequence and
// checksum of the record before are right. Where the chain stops, everything behind is left out as
// torn, unless a whole record with that sequence or a later one stands anywhere behind: then the
// chain is damaged in the middle.
//
// The payload's fields are described at the head of edit_format.c. A manifest begins with a
// snapshot: one or more edits, the last of which has fields 7 and 8.
#include "manifest/manifest_format.h"

#include "base/assert.h"
#include "base/fail.h"

#include <inttypes.h>

void manifest_header_encode(uint8_t to[MANIFEST_HEADER_BYTES], uint64_t number,
                            uint64_t incarnation)
{
    memset(to, 0, MANIFEST_HEADER_BYTES);
    memcpy(to, "strataMF", 8);
    store_u32(to + 8, MANIFEST_VERSION);
    store_u32(to + 12, MANIFEST_HEADER_BYTES);
    store_u64(to + 16, number);
    store_u64(to + 24, incarnation);
    store_u64(to + 56, checksum64(checksum_seed(number, 0), to, 56));
}

strata_rc manifest_header_decode(const uint8_t from[MANIFEST_HEADER_BYTES], uint64_t number,
                                 uint64_t *incarnation_out, uint64_t *checksum_out)
{
    *checksum_out = load_u64(from + 56);
    *incarnation_out = load_u64(from + 24);
    if (memcmp(from, "strataMF", 8) != 0) {
        return fail(STRATA_CORRUPT, "offset 0: not the header of a manifest");
    }
    uint64_t expected = checksum64(checksum_seed(load_u64(from + 16), 0), from, 56);
    if (*checksum_out != expected) {
        return fail(STRATA_CORRUPT,
                    "offset 0: header has checksum %016" PRIx64 ", expected %016" PRIx64,
                    *checksum_out, expected);
    }
    if (load_u32(from + 8) != MANIFEST_VERSION) {
        return fail(STRATA_VERSION, "format version %" PRIu32 ", this release reads version %d",
                    load_u32(from + 8), MANIFEST_VERSION);
    }
    if (load_u64(from + 16) != number || load_u32(from + 12) != MANIFEST_HEADER_BYTES) {
        return fail(STRATA_CORRUPT, "offset 0: header of manifest %" PRIu64 ", expected %" PRIu64,
                    load_u64(from + 16), number);
    }
    return STRATA_OK;
}

static uint64_t record_checksum(uint64_t number, uint64_t offset, const uint8_t *head,
                                struct slice payload)
{
    return checksum64_two(checksum_seed(number, offset), slice_of(head, 16), payload);
}

uint64_t manifest_record_seal(uint8_t head[MANIFEST_RECORD_BYTES], struct slice payload,
                              const struct manifest_chain *at)
{
    ASSERT(payload.bytes <= UINT32_MAX);
    ASSERT(at->offset % MANIFEST_PAGE_BYTES == 0);
    store_u32(head, (uint32_t)payload.bytes);
    store_u32(head + 4, at->sequence);
    store_u64(head + 8, at->checksum);
    uint64_t checksum = record_checksum(at->number, at->offset, head, payload);
    store_u64(head + 16, checksum);
    return checksum;
}

struct manifest_record manifest_record_of(const uint8_t head[MANIFEST_RECORD_BYTES])
{
    return (struct manifest_record){
        .payload_bytes = load_u32(head),
        .sequence = load_u32(head + 4),
        .before = load_u64(head + 8),
        .checksum = load_u64(head + 16),
    };
}

bool manifest_record_whole(const uint8_t head[MANIFEST_RECORD_BYTES], struct slice payload,
                           uint64_t number, uint64_t offset)
{
    return load_u32(head) == payload.bytes &&
           load_u64(head + 16) == record_checksum(number, offset, head, payload);
}
