// The bytes of the log. Numbers are little-endian.
//
//   segment     := header page | data page*            a file of a fixed size, written in full
//                                                      before its first use; NNNNNN.log
//   header page := check u64 | magic u64 | format u32 | stream u32 | incarnation u64 |
//                  segment u64 | chain u64 | predecessor u64 | predecessor end u64 |
//                  commit u64 | synced commit u64 | edits u64 | segment bytes u64 | not looked at
//   data page   := check u32 | first u16 | zero u16 | incarnation u64 | 4,080 bytes of records
//   record      := check u32 | count u32 | payload bytes u48 | kind u8 | zero u8 |
//                  commit u64 | time i64 | payload
//   payload     := the batch's encoding                   (WAL_BATCH)
//                | synced commit u64 | edits u64          (WAL_MARK; its commit is the last one's)
//
// Segments. `segment` is the number in the file's name. `chain` is the number of the first segment
// of this incarnation: segments of one incarnation form one log. `predecessor` is the segment
// before it, 0 for the first, and `predecessor end` where its last record ended: whatever stands
// behind that was cut. `commit` is the last commit before this segment; `synced commit` and `edits`
// are what was known to be on disk when the header was written, as in a mark. The first 16 bytes
// and the check's extent stay the same in every format.
//
// Pages. A page's header is written when the first record enters it. `first` is the offset in the
// page at which the first record that does not begin in an earlier page may begin; 0 when the page
// holds the middle of one record only. Nothing needs to begin there: after a sync the next record
// begins in a new page.
//
// Records flow over pages, but the 32 bytes of a record's header lie in one page: when fewer are
// left, the record begins in the next.
//
// Checks are XXH3. That of the header page covers the 104 bytes behind it; that of a data page the
// 12 bytes behind it; that of a record its header behind the check, then its payload. Pages and
// records are seeded with incarnation, segment and offset, so that what an earlier use of the file
// left in it is never taken for what belongs there.
#ifndef WAL_WAL_FORMAT_H
#define WAL_WAL_FORMAT_H

#include "base/slice.h"
#include "strata.h"

#define WAL_FORMAT 0u
#define WAL_PAGE_BYTES 4096u
#define WAL_PAGE_HEADER_BYTES 16u
#define WAL_RECORD_HEADER_BYTES 32u
#define WAL_SEGMENT_HEADER_BYTES 112u
#define WAL_MARK_BYTES 16u
#define WAL_PAYLOAD_BYTES_MAX ((uint64_t)1 << 40)

enum wal_kind { WAL_BATCH = 1, WAL_MARK = 2 };

struct wal_segment_header {
    uint64_t incarnation;
    uint64_t segment;
    uint64_t chain;
    uint64_t predecessor;
    uint64_t predecessor_end;
    uint64_t commit;
    uint64_t synced_commit;
    uint64_t edits;
    uint64_t segment_bytes;
    uint32_t stream; // room for several log streams with one commit order; 0
};

struct wal_record_header {
    uint32_t check;
    uint32_t count;
    uint64_t payload_bytes;
    uint64_t commit;
    int64_t time_us;
    uint8_t kind;
};

struct wal_mark {
    uint64_t synced_commit;
    uint64_t edits;
};

void wal_segment_header_encode(uint8_t to[WAL_SEGMENT_HEADER_BYTES],
                               const struct wal_segment_header *h);
// STRATA_CORRUPT when it is not a header, STRATA_VERSION when it is one of another format. Sets no
// error text: most files that fail here are merely unused.
strata_rc wal_segment_header_decode(const uint8_t from[WAL_SEGMENT_HEADER_BYTES],
                                    struct wal_segment_header *h_out) STRATA_MUST_CHECK;

// The seed of one segment's pages and records.
uint64_t wal_segment_seed(uint64_t incarnation, uint64_t segment);

// The page at `offset` of the segment.
void wal_page_header_encode(uint8_t to[WAL_PAGE_HEADER_BYTES], uint64_t seed, uint64_t offset,
                            uint64_t incarnation, uint32_t first);
// False when the check does not hold, or `first` cannot be.
bool wal_page_header_decode(const uint8_t from[WAL_PAGE_HEADER_BYTES], uint64_t seed,
                            uint64_t offset, uint32_t *first_out);

// Encodes h and its check over itself and the payload; h->check is not looked at.
void wal_record_header_encode(uint8_t to[WAL_RECORD_HEADER_BYTES], uint64_t seed, uint64_t offset,
                              const struct wal_record_header *h, struct slice payload);
void wal_record_header_decode(const uint8_t from[WAL_RECORD_HEADER_BYTES],
                              struct wal_record_header *h_out);
// Does the check of the encoded header hold, for a record at `offset`?
bool wal_record_is_good(const uint8_t header[WAL_RECORD_HEADER_BYTES], uint64_t seed,
                        uint64_t offset, struct slice payload);

void wal_mark_encode(uint8_t to[WAL_MARK_BYTES], const struct wal_mark *mark);
void wal_mark_decode(const uint8_t from[WAL_MARK_BYTES], struct wal_mark *mark_out);

// Where a record begins that follows on what ends at `at`.
static inline uint64_t wal_record_begin(uint64_t at)
{
    uint64_t in_page = at % WAL_PAGE_BYTES;
    uint64_t left = WAL_PAGE_BYTES - in_page;
    if (in_page != 0 && left >= WAL_RECORD_HEADER_BYTES) {
        return at;
    }
    return at + left % WAL_PAGE_BYTES + WAL_PAGE_HEADER_BYTES;
}

// Where `bytes` (> 0) that begin at `at` end, page headers in between counted.
static inline uint64_t wal_flow_end(uint64_t at, uint64_t bytes)
{
    uint64_t room = WAL_PAGE_BYTES - at % WAL_PAGE_BYTES;
    if (bytes <= room) {
        return at + bytes;
    }
    const uint64_t page_room = WAL_PAGE_BYTES - WAL_PAGE_HEADER_BYTES;
    uint64_t rest = bytes - room;
    uint64_t tail = rest % page_room;
    uint64_t full = at + room + rest / page_room * WAL_PAGE_BYTES;
    return tail == 0 ? full : full + WAL_PAGE_HEADER_BYTES + tail;
}

static inline uint64_t wal_page_up(uint64_t at)
{
    return (at + WAL_PAGE_BYTES - 1) / WAL_PAGE_BYTES * WAL_PAGE_BYTES;
}

#endif
