// A table file is
//
//   blocks | index | filter? | range deletes? | properties | footer
//
// without gaps, each but the footer framed as in table/section.h. There is no index when there are
// no blocks. The footer, the last 128 bytes:
//
//    0  u64  checksum of bytes 8 and up, seeded with checksum_seed(file number, footer's offset)
//    8  4 * { u64 offset, u64 bytes } of the images of index, filter, range deletes, properties;
//            zeros for one that is not there
//   72  u8   zeros up to 116
//  116  u32  format version, 0
//  120  u64  magic, "strataT0" backwards
// Every version keeps version and magic in their places at the end.
//
// Properties are a list of: tag varint | value prefixed (a varint length and that many bytes), tags
// ascending. An even tag must be understood by a reader, an odd one may be passed over. A number is
// a varint. Reserved, for what is to come: 40 value files that are referenced, 43 properties of the
// user over blocks, 44 the nonce of an encryption.
#include "table/footer.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/reader.h"
#include "kv/entry.h"

#define FOOTER_MAGIC UINT64_C(0x3054617461727473)
#define FOOTER_HANDLES 4

void footer_encode(uint8_t to[FOOTER_BYTES], const struct footer *f, uint64_t file, uint64_t offset)
{
    const struct section_handle handles[FOOTER_HANDLES] = {f->index, f->filter, f->ranges,
                                                           f->properties};
    memset(to, 0, FOOTER_BYTES);
    for (size_t i = 0; i < FOOTER_HANDLES; i++) {
        store_u64(to + 8 + i * 16, handles[i].offset);
        store_u64(to + 16 + i * 16, handles[i].bytes);
    }
    store_u32(to + 116, TABLE_FORMAT_VERSION);
    store_u64(to + 120, FOOTER_MAGIC);
    store_u64(to, checksum64(checksum_seed(file, offset), to + 8, FOOTER_BYTES - 8));
}

// The sections must follow each other up to the footer.
static strata_rc check_handles(const struct section_handle *handles,
                               const struct section_place *place)
{
    uint64_t at = handles[0].bytes != 0 ? handles[0].offset : 0;
    if (at > place->offset) {
        return fail(STRATA_CORRUPT, "%s: index at offset %llu of a file of %llu bytes", place->name,
                    (unsigned long long)at, (unsigned long long)(place->offset + FOOTER_BYTES));
    }
    for (size_t i = 0; i < FOOTER_HANDLES; i++) {
        struct section_handle h = handles[i];
        if (h.bytes == 0 ? h.offset != 0 : h.offset != at || h.bytes > place->offset - at) {
            return fail(STRATA_CORRUPT, "%s: section %zu has %llu bytes at %llu, expected at %llu",
                        place->name, i, (unsigned long long)h.bytes, (unsigned long long)h.offset,
                        (unsigned long long)at);
        }
        at += h.bytes;
    }
    if (at != place->offset || handles[FOOTER_HANDLES - 1].bytes == 0) {
        return fail(STRATA_CORRUPT, "%s: sections end at %llu, the footer begins at %llu",
                    place->name, (unsigned long long)at, (unsigned long long)place->offset);
    }
    return STRATA_OK;
}

strata_rc footer_decode(const uint8_t from[FOOTER_BYTES], const struct section_place *place,
                        struct footer *f)
{
    if (load_u64(from + 120) != FOOTER_MAGIC) {
        return fail(STRATA_CORRUPT, "%s, offset %llu: no table ends here: magic 0x%llx",
                    place->name, (unsigned long long)place->offset,
                    (unsigned long long)load_u64(from + 120));
    }
    if (load_u32(from + 116) != TABLE_FORMAT_VERSION) {
        return fail(STRATA_VERSION, "%s: format %u, this build reads %u", place->name,
                    load_u32(from + 116), TABLE_FORMAT_VERSION);
    }
    uint64_t seed = checksum_seed(place->file, place->offset);
    uint64_t sum = checksum64(seed, from + 8, FOOTER_BYTES - 8);
    if (load_u64(from) != sum) {
        return fail(STRATA_CORRUPT, "%s, offset %llu: checksum of the footer is 0x%llx, not 0x%llx",
                    place->name, (unsigned long long)place->offset,
                    (unsigned long long)load_u64(from), (unsigned long long)sum);
    }
    struct section_handle handles[FOOTER_HANDLES];
    for (size_t i = 0; i < FOOTER_HANDLES; i++) {
        handles[i].offset = load_u64(from + 8 + i * 16);
        handles[i].bytes = load_u64(from + 16 + i * 16);
    }
    strata_rc rc = check_handles(handles, place);
    if (rc == STRATA_OK) {
        *f = (struct footer){handles[0], handles[1], handles[2], handles[3]};
    }
    return rc;
}

// ---- properties

// Even: must be understood. The numbers are in files: never reuse one.
enum property_tag {
    PROPERTY_KEYSPACE = 2,
    PROPERTY_KEYSPACE_NAME = 3,
    PROPERTY_HISTORY = 4,
    PROPERTY_LEVEL = 5,
    PROPERTY_INCARNATION = 7,
    PROPERTY_LOWER = 8,
    PROPERTY_UPPER = 10,
    PROPERTY_ENTRIES = 12,
    PROPERTY_DELETES = 14,
    PROPERTY_KEYS = 16,
    PROPERTY_RANGE_FRAGMENTS = 18,
    PROPERTY_COMMIT_LEAST = 20,
    PROPERTY_COMMIT_GREATEST = 22,
    PROPERTY_END_GREATEST = 24,
    PROPERTY_RAW_BYTES = 25,
};

// The properties that are numbers, in the order of their tags.
struct numbers {
    uint64_t keyspace, history, level, incarnation, entries, deletes, keys, range_fragments;
    uint64_t commit_least, commit_greatest, end_greatest, raw_bytes;
};

static uint64_t *number_of(struct numbers *n, uint64_t tag)
{
    switch (tag) {
    case PROPERTY_KEYSPACE:
        return &n->keyspace;
    case PROPERTY_HISTORY:
        return &n->history;
    case PROPERTY_LEVEL:
        return &n->level;
    case PROPERTY_INCARNATION:
        return &n->incarnation;
    case PROPERTY_ENTRIES:
        return &n->entries;
    case PROPERTY_DELETES:
        return &n->deletes;
    case PROPERTY_KEYS:
        return &n->keys;
    case PROPERTY_RANGE_FRAGMENTS:
        return &n->range_fragments;
    case PROPERTY_COMMIT_LEAST:
        return &n->commit_least;
    case PROPERTY_COMMIT_GREATEST:
        return &n->commit_greatest;
    case PROPERTY_END_GREATEST:
        return &n->end_greatest;
    case PROPERTY_RAW_BYTES:
        return &n->raw_bytes;
    default:
        return NULL;
    }
}

static struct slice *bytes_of(struct table_properties *p, uint64_t tag)
{
    switch (tag) {
    case PROPERTY_KEYSPACE_NAME:
        return &p->keyspace_name;
    case PROPERTY_LOWER:
        return &p->lower;
    case PROPERTY_UPPER:
        return &p->upper;
    default:
        return NULL;
    }
}

strata_rc properties_encode(struct buffer *out, const struct table_properties *p)
{
    struct table_properties copy = *p;
    struct numbers n = {p->keyspace,     p->history,         p->level,        p->incarnation,
                        p->entries,      p->deletes,         p->keys,         p->range_fragments,
                        p->commit_least, p->commit_greatest, p->end_greatest, p->raw_bytes};
    strata_rc rc = STRATA_OK;
    for (uint64_t tag = PROPERTY_KEYSPACE; tag <= PROPERTY_RAW_BYTES && rc == STRATA_OK; tag++) {
        const uint64_t *number = number_of(&n, tag);
        const struct slice *bytes = bytes_of(&copy, tag);
        uint8_t raw[VARINT_BYTES_MAX];
        struct slice value;
        if (number != NULL) {
            value = slice_of(raw, (size_t)(varint_encode(raw, *number) - raw));
        } else if (bytes != NULL) {
            value = *bytes;
        } else {
            continue;
        }
        rc = buffer_append_varint(out, tag);
        if (rc == STRATA_OK) {
            rc = buffer_append_prefixed(out, value);
        }
    }
    return rc;
}

strata_rc properties_decode(struct slice payload, struct table_properties *p)
{
    *p = (struct table_properties){0};
    struct numbers n = {0};
    struct reader r = reader_of(payload);
    uint64_t last_tag = 0;
    while (reader_left(&r) > 0 && !r.bad) {
        uint64_t tag = reader_varint(&r);
        struct slice value = reader_prefixed(&r);
        if (r.bad || tag <= last_tag) {
            return fail(STRATA_CORRUPT, "properties: tag %llu after %llu", (unsigned long long)tag,
                        (unsigned long long)last_tag);
        }
        last_tag = tag;
        uint64_t *number = number_of(&n, tag);
        struct slice *bytes = bytes_of(p, tag);
        if (number != NULL) {
            struct reader one = reader_of(value);
            *number = reader_varint(&one);
            if (one.bad || reader_left(&one) != 0) {
                return fail(STRATA_CORRUPT, "properties: tag %llu is no number",
                            (unsigned long long)tag);
            }
        } else if (bytes != NULL) {
            *bytes = value;
        } else if (tag % 2 == 0) {
            return fail(STRATA_VERSION, "properties: tag %llu must be understood and is not known",
                        (unsigned long long)tag);
        }
    }
    if (n.history > 1 || n.level > UINT32_MAX || n.deletes > n.entries || n.keys > n.entries ||
        n.commit_least > n.commit_greatest || slice_compare(p->lower, p->upper) >= 0) {
        return fail(STRATA_CORRUPT, "properties: they contradict each other");
    }
    p->keyspace = n.keyspace;
    p->history = n.history == 1;
    p->level = (uint32_t)n.level;
    p->incarnation = n.incarnation;
    p->entries = n.entries;
    p->deletes = n.deletes;
    p->keys = n.keys;
    p->range_fragments = n.range_fragments;
    p->commit_least = n.commit_least;
    p->commit_greatest = n.commit_greatest;
    p->end_greatest = n.end_greatest;
    p->raw_bytes = n.raw_bytes;
    return STRATA_OK;
}
