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
// An edit is a list of fields: varint tag, prefixed body. The tag is number * 2, plus 1 when a
// reader that does not know the field must refuse the file; other unknown fields are skipped. A
// body that is longer than its field is damage: later versions use new fields. Fields 1 to 8 stand
// at most once.
//
//    1 flushed_commit, 2 log_first_segment, 3 next_file, 4 next_run, 5 next_keyspace,
//    6 incarnation, 7 edits: a varint each
//    8 end of the snapshot: empty
//    9 keyspace created: number, commit (varints), name (prefixed), options (prefixed, see
//      keyspace_options.c)
//   10 keyspace dropped: number, commit (varints)
//   11 table removed: keyspace, history (0 or 1), file (varints)
//   12 table added: keyspace, history, level, run, file, bytes, entries, deletes, range_fragments,
//      commit_least, commit_greatest - commit_least, end_greatest, raw_bytes (varints),
//      time_least_us, time_greatest_us (zigzags), lower, upper (prefixed)
//   13 seconds: count (varint), then for each: first_commit less that of the one before (varint; 0
//      before the first), first_time_us less that of the one before (zigzag), last_time_us -
//      first_time_us (varint)
//
// A manifest begins with a snapshot: one or more edits, the last of which has fields 7 and 8.
#include "manifest/manifest_format.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/reader.h"

#include <inttypes.h>

enum edit_field {
    FIELD_FLUSHED_COMMIT = 1,
    FIELD_LOG_FIRST_SEGMENT = 2,
    FIELD_NEXT_FILE = 3,
    FIELD_NEXT_RUN = 4,
    FIELD_NEXT_KEYSPACE = 5,
    FIELD_INCARNATION = 6,
    FIELD_EDITS = 7,
    FIELD_SNAPSHOT_END = 8,
    FIELD_SPACE_CREATED = 9,
    FIELD_SPACE_DROPPED = 10,
    FIELD_TABLE_REMOVED = 11,
    FIELD_TABLE_ADDED = 12,
    FIELD_SECONDS = 13,
};

#define NUMBER_FIELDS (FIELD_EDITS + 1)

static uint64_t zigzag_of(int64_t n)
{
    return ((uint64_t)n << 1) ^ (n < 0 ? UINT64_MAX : 0);
}

static int64_t zigzag_back(uint64_t v)
{
    uint64_t n = (v >> 1) ^ (0 - (v & 1));
    int64_t back;
    memcpy(&back, &n, sizeof back);
    return back;
}

// ---- header and records

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

// ---- edits to bytes

// Appends a field whose body is in `body`, and empties `body`.
static strata_rc put_field(struct buffer *to, enum edit_field field, struct buffer *body)
{
    strata_rc rc = buffer_append_varint(to, (uint64_t)field * 2 + 1);
    if (rc == STRATA_OK) {
        rc = buffer_append_prefixed(to, buffer_slice(body));
    }
    buffer_clear(body);
    return rc;
}

static strata_rc put_varints(struct buffer *body, const uint64_t *values, size_t count)
{
    strata_rc rc = STRATA_OK;
    for (size_t i = 0; rc == STRATA_OK && i < count; i++) {
        rc = buffer_append_varint(body, values[i]);
    }
    return rc;
}

static strata_rc put_numbers(const struct edit *e, struct buffer *to, struct buffer *body)
{
    const uint64_t numbers[NUMBER_FIELDS] = {
        [FIELD_FLUSHED_COMMIT] = e->flushed_commit,
        [FIELD_LOG_FIRST_SEGMENT] = e->log_first_segment,
        [FIELD_NEXT_FILE] = e->next_file,
        [FIELD_NEXT_RUN] = e->next_run,
        [FIELD_NEXT_KEYSPACE] = e->next_keyspace,
        [FIELD_INCARNATION] = e->incarnation,
        [FIELD_EDITS] = e->edits,
    };
    strata_rc rc = STRATA_OK;
    for (int field = 1; rc == STRATA_OK && field < NUMBER_FIELDS; field++) {
        if (numbers[field] == 0) {
            continue;
        }
        rc = put_varints(body, &numbers[field], 1);
        if (rc == STRATA_OK) {
            rc = put_field(to, (enum edit_field)field, body);
        }
    }
    if (rc == STRATA_OK && e->snapshot_end) {
        rc = put_field(to, FIELD_SNAPSHOT_END, body);
    }
    return rc;
}

static strata_rc put_space(const struct edit_space *s, struct buffer *to, struct buffer *body)
{
    struct buffer options = {0};
    const uint64_t numbers[] = {s->number, s->commit};
    strata_rc rc = put_varints(body, numbers, 2);
    if (rc == STRATA_OK && !s->drop) {
        rc = buffer_append_prefixed(body, slice_of(s->name, strlen(s->name)));
        if (rc == STRATA_OK) {
            rc = keyspace_options_encode(&s->options, &options);
        }
        if (rc == STRATA_OK) {
            rc = buffer_append_prefixed(body, buffer_slice(&options));
        }
    }
    if (rc == STRATA_OK) {
        rc = put_field(to, s->drop ? FIELD_SPACE_DROPPED : FIELD_SPACE_CREATED, body);
    }
    buffer_release(&options);
    return rc;
}

static strata_rc put_table(const struct edit_table *t, struct buffer *to, struct buffer *body)
{
    if (!t->add) {
        const uint64_t removed[] = {t->keyspace, t->history, t->file};
        strata_rc rc = put_varints(body, removed, 3);
        return rc == STRATA_OK ? put_field(to, FIELD_TABLE_REMOVED, body) : rc;
    }
    const struct table_meta *m = &t->meta;
    ASSERT(m->commit_least <= m->commit_greatest);
    const uint64_t added[] = {
        t->keyspace,
        t->history,
        t->level,
        t->run,
        m->file,
        m->bytes,
        m->entries,
        m->deletes,
        m->range_fragments,
        m->commit_least,
        m->commit_greatest - m->commit_least,
        m->end_greatest,
        m->raw_bytes,
        zigzag_of(m->time_least_us),
        zigzag_of(m->time_greatest_us),
    };
    strata_rc rc = put_varints(body, added, sizeof added / sizeof added[0]);
    if (rc == STRATA_OK) {
        rc = buffer_append_prefixed(body, m->lower);
    }
    if (rc == STRATA_OK) {
        rc = buffer_append_prefixed(body, m->upper);
    }
    return rc == STRATA_OK ? put_field(to, FIELD_TABLE_ADDED, body) : rc;
}

static strata_rc put_seconds(const struct edit *e, struct buffer *to, struct buffer *body)
{
    if (e->second_count == 0) {
        return STRATA_OK;
    }
    strata_rc rc = buffer_append_varint(body, e->second_count);
    struct commit_second before = {0};
    for (size_t i = 0; rc == STRATA_OK && i < e->second_count; i++) {
        const struct commit_second *s = &e->seconds[i];
        ASSERT(s->first_commit >= before.first_commit && s->last_time_us >= s->first_time_us);
        const uint64_t differences[] = {
            s->first_commit - before.first_commit,
            // Modulo 2^64, as the reader adds.
            zigzag_of((int64_t)((uint64_t)s->first_time_us - (uint64_t)before.first_time_us)),
            (uint64_t)s->last_time_us - (uint64_t)s->first_time_us,
        };
        rc = put_varints(body, differences, 3);
        before = *s;
    }
    return rc == STRATA_OK ? put_field(to, FIELD_SECONDS, body) : rc;
}

strata_rc edit_encode(const struct edit *e, struct buffer *to)
{
    size_t bytes_before = to->bytes;
    struct buffer body = {0};
    strata_rc rc = put_numbers(e, to, &body);
    for (size_t i = 0; rc == STRATA_OK && i < e->space_count; i++) {
        rc = put_space(&e->spaces[i], to, &body);
    }
    for (size_t i = 0; rc == STRATA_OK && i < e->table_count; i++) {
        rc = put_table(&e->tables[i], to, &body);
    }
    if (rc == STRATA_OK) {
        rc = put_seconds(e, to, &body);
    }
    if (rc != STRATA_OK) {
        to->bytes = bytes_before;
    }
    buffer_release(&body);
    return rc;
}

// ---- bytes to edits

static strata_rc take_space_created(struct reader *r, struct edit *e)
{
    uint64_t number = reader_varint(r);
    uint64_t commit = reader_varint(r);
    struct slice name = reader_prefixed(r);
    struct slice options_bytes = reader_prefixed(r);
    if (r->bad || name.bytes == 0 || name.bytes > STRATA_KEYSPACE_NAME_BYTES_MAX ||
        memchr(name.data, 0, name.bytes) != NULL || number == UINT64_MAX) {
        return fail(STRATA_CORRUPT, "a created keyspace has a bad number or name");
    }
    char text[STRATA_KEYSPACE_NAME_BYTES_MAX + 1];
    memcpy(text, name.data, name.bytes);
    text[name.bytes] = '\0';
    strata_keyspace_options options;
    strata_rc rc = keyspace_options_decode(options_bytes, &options);
    if (rc != STRATA_OK) {
        return fail_in(rc, "keyspace '%s'", text);
    }
    return edit_create_space(e, number, text, &options, commit);
}

static strata_rc take_space_dropped(struct reader *r, struct edit *e)
{
    uint64_t number = reader_varint(r);
    uint64_t commit = reader_varint(r);
    if (r->bad || number == UINT64_MAX) {
        return fail(STRATA_CORRUPT, "a dropped keyspace has a bad number");
    }
    return edit_drop_space(e, number, commit);
}

static strata_rc take_table_removed(struct reader *r, struct edit *e)
{
    uint64_t keyspace = reader_varint(r);
    uint64_t history = reader_varint(r);
    uint64_t file = reader_varint(r);
    if (r->bad || history > 1) {
        return fail(STRATA_CORRUPT, "a removed table is malformed");
    }
    return edit_remove_table(e, keyspace, history != 0, file);
}

static strata_rc take_table_added(struct reader *r, struct edit *e)
{
    struct table_meta m = {0};
    m.keyspace = reader_varint(r);
    uint64_t history = reader_varint(r);
    uint64_t level = reader_varint(r);
    uint64_t run = reader_varint(r);
    m.file = reader_varint(r);
    m.bytes = reader_varint(r);
    m.entries = reader_varint(r);
    m.deletes = reader_varint(r);
    m.range_fragments = reader_varint(r);
    m.commit_least = reader_varint(r);
    uint64_t commit_span = reader_varint(r);
    m.end_greatest = reader_varint(r);
    m.raw_bytes = reader_varint(r);
    m.time_least_us = zigzag_back(reader_varint(r));
    m.time_greatest_us = zigzag_back(reader_varint(r));
    m.lower = reader_prefixed(r);
    m.upper = reader_prefixed(r);
    m.history = history != 0;
    if (r->bad || history > 1 || level >= TREE_LEVELS_MAX || run == UINT64_MAX ||
        m.file == UINT64_MAX ||
        __builtin_add_overflow(m.commit_least, commit_span, &m.commit_greatest)) {
        return fail(STRATA_CORRUPT, "added table %" PRIu64 " is malformed", m.file);
    }
    if (slice_compare(m.lower, m.upper) >= 0) {
        return fail(STRATA_CORRUPT, "added table %" PRIu64 " has bounds that hold no key", m.file);
    }
    return edit_add_table(e, m.keyspace, m.history, (uint32_t)level, run, &m, NULL);
}

static strata_rc take_seconds(struct reader *r, struct edit *e)
{
    uint64_t count = reader_varint(r);
    struct commit_second s = {0};
    for (uint64_t i = 0; i < count; i++) {
        uint64_t commits = reader_varint(r);
        int64_t later = zigzag_back(reader_varint(r));
        uint64_t span = reader_varint(r);
        if (r->bad || __builtin_add_overflow(s.first_commit, commits, &s.first_commit) ||
            __builtin_add_overflow(s.first_time_us, later, &s.first_time_us) ||
            span > (uint64_t)INT64_MAX ||
            __builtin_add_overflow(s.first_time_us, (int64_t)span, &s.last_time_us)) {
            return fail(STRATA_CORRUPT, "the times of commits are malformed");
        }
        strata_rc rc = edit_add_second(e, &s);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    return STRATA_OK;
}

static strata_rc take_field(uint64_t tag, struct reader *r, struct edit *e,
                            uint64_t numbers[NUMBER_FIELDS])
{
    uint64_t field = tag / 2;
    switch (field) {
    case FIELD_FLUSHED_COMMIT:
    case FIELD_LOG_FIRST_SEGMENT:
    case FIELD_NEXT_FILE:
    case FIELD_NEXT_RUN:
    case FIELD_NEXT_KEYSPACE:
    case FIELD_INCARNATION:
    case FIELD_EDITS:
        if (numbers[field] != 0) {
            return fail(STRATA_CORRUPT, "field %" PRIu64 " stands twice", field);
        }
        numbers[field] = reader_varint(r);
        return STRATA_OK;
    case FIELD_SNAPSHOT_END:
        e->snapshot_end = true;
        return STRATA_OK;
    case FIELD_SPACE_CREATED:
        return take_space_created(r, e);
    case FIELD_SPACE_DROPPED:
        return take_space_dropped(r, e);
    case FIELD_TABLE_REMOVED:
        return take_table_removed(r, e);
    case FIELD_TABLE_ADDED:
        return take_table_added(r, e);
    case FIELD_SECONDS:
        if (e->second_count > 0) {
            return fail(STRATA_CORRUPT, "field %" PRIu64 " stands twice", field);
        }
        return take_seconds(r, e);
    default:
        if (tag % 2 == 1) {
            return fail(STRATA_VERSION, "field %" PRIu64 " is of a later version", field);
        }
        r->at = r->end;
        return STRATA_OK;
    }
}

strata_rc edit_decode(struct slice bytes, struct edit *edit_out)
{
    struct edit e = {0};
    uint64_t numbers[NUMBER_FIELDS] = {0};
    struct reader r = reader_of(bytes);
    strata_rc rc = STRATA_OK;
    while (rc == STRATA_OK && !r.bad && reader_left(&r) > 0) {
        size_t at = (size_t)(r.at - bytes.data);
        uint64_t tag = reader_varint(&r);
        struct reader body = reader_of(reader_prefixed(&r));
        if (r.bad) {
            break;
        }
        rc = take_field(tag, &body, &e, numbers);
        if (rc == STRATA_OK && (body.bad || reader_left(&body) > 0)) {
            rc = fail(STRATA_CORRUPT, "field %" PRIu64 " at byte %zu of an edit has a wrong length",
                      tag / 2, at);
        }
    }
    if (rc == STRATA_OK && r.bad) {
        rc = fail(STRATA_CORRUPT, "an edit of %zu bytes ends inside a field", bytes.bytes);
    }
    if (rc != STRATA_OK) {
        edit_release(&e);
        *edit_out = (struct edit){0};
        return rc;
    }
    e.flushed_commit = numbers[FIELD_FLUSHED_COMMIT];
    e.log_first_segment = numbers[FIELD_LOG_FIRST_SEGMENT];
    e.next_file = numbers[FIELD_NEXT_FILE];
    e.next_run = numbers[FIELD_NEXT_RUN];
    e.next_keyspace = numbers[FIELD_NEXT_KEYSPACE];
    e.incarnation = numbers[FIELD_INCARNATION];
    e.edits = numbers[FIELD_EDITS];
    *edit_out = e;
    return STRATA_OK;
}
