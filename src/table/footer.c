// A table file is
//
//   blocks | index | filter? | range deletes? | ordinals* | properties | footer
//
// without gaps, each but the footer framed as in table/section.h. There is no index when there are
// no blocks. Ordinals: for each logical value file that the table refers to a list (value_list.c)
// in an image of its own, in the order in which property 40 names the files. The footer, the last
// 128 bytes:
//
//    0  u64  checksum of bytes 8 and up, seeded with checksum_seed(file number, footer's offset)
//    8  5 * { u64 offset, u64 bytes } of the images of index, filter, range deletes, properties,
//            and all the ordinals together; zeros for what is not there
//   88  u8   zeros up to 116
//  116  u32  format version, 0
//  120  u64  magic, "strataT0" backwards
// Every version keeps version and magic in their places at the end.
//
// Properties are a list of: tag varint | value prefixed (a varint length and that many bytes), tags
// ascending. An even tag must be understood by a reader, an odd one may be passed over. A number is
// a varint. 40 names the value files that are referenced, and is not there when there are none: how
// many, and for each, ascending, number of the logical file less that of the one before, ordinals,
// bytes of the values, bytes of the image of its ordinals (all varints). Reserved, for what is to
// come: 43 properties of the user over blocks, 44 the nonce of an encryption.
#include "table/footer.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/reader.h"
#include "kv/entry.h"

#define FOOTER_MAGIC UINT64_C(0x3054617461727473)
#define FOOTER_HANDLES 5

void footer_encode(uint8_t to[FOOTER_BYTES], const struct footer *f, uint64_t file, uint64_t offset)
{
    const struct section_handle handles[FOOTER_HANDLES] = {f->index, f->filter, f->ranges,
                                                           f->properties, f->ordinals};
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
static strata_rc check_handles(const struct footer *f, const struct section_place *place)
{
    const struct section_handle handles[FOOTER_HANDLES] = {f->index, f->filter, f->ranges,
                                                           f->ordinals, f->properties};
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
    *f = (struct footer){.index = handles[0],
                         .filter = handles[1],
                         .ranges = handles[2],
                         .properties = handles[3],
                         .ordinals = handles[4]};
    return check_handles(f, place);
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
    PROPERTY_EXPIRING = 27,    // only when there are any
    PROPERTY_VALUE_FILES = 40, // only when there are any
};

// The properties that are numbers, in the order of their tags.
struct numbers {
    uint64_t keyspace, history, level, incarnation, entries, deletes, keys, range_fragments;
    uint64_t commit_least, commit_greatest, end_greatest, raw_bytes, expiring;
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
    case PROPERTY_EXPIRING:
        return &n->expiring;
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
    case PROPERTY_VALUE_FILES:
        return &p->value_files;
    default:
        return NULL;
    }
}

strata_rc properties_encode(struct buffer *out, const struct table_properties *p)
{
    struct table_properties copy = *p;
    struct numbers n = {p->keyspace,     p->history,         p->level,        p->incarnation,
                        p->entries,      p->deletes,         p->keys,         p->range_fragments,
                        p->commit_least, p->commit_greatest, p->end_greatest, p->raw_bytes,
                        p->expiring};
    strata_rc rc = STRATA_OK;
    for (uint64_t tag = PROPERTY_KEYSPACE; tag <= PROPERTY_VALUE_FILES && rc == STRATA_OK; tag++) {
        const uint64_t *number = number_of(&n, tag);
        const struct slice *bytes = bytes_of(&copy, tag);
        uint8_t raw[VARINT_BYTES_MAX];
        struct slice value;
        bool left_out = (tag == PROPERTY_EXPIRING && p->expiring == 0) ||
                        (tag == PROPERTY_VALUE_FILES && p->value_files.bytes == 0);
        if (left_out) {
            continue;
        }
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

strata_rc value_file_property_encode(struct buffer *out, const struct value_file_property *v,
                                     uint64_t before)
{
    ASSERT(v->use.file > before);
    const uint64_t numbers[] = {v->use.file - before, v->use.records, v->use.bytes, v->image_bytes};
    strata_rc rc = STRATA_OK;
    for (size_t i = 0; rc == STRATA_OK && i < sizeof numbers / sizeof numbers[0]; i++) {
        rc = buffer_append_varint(out, numbers[i]);
    }
    return rc;
}

struct value_files_reader value_files_reader_of(struct slice value_files)
{
    struct value_files_reader v = {.r = reader_of(value_files)};
    v.count = value_files.bytes == 0 ? 0 : reader_varint(&v.r);
    return v;
}

struct value_file_property value_files_next(struct value_files_reader *v)
{
    struct value_file_property p;
    uint64_t more = reader_varint(&v->r);
    p.use.file = v->before + more;
    p.use.records = reader_varint(&v->r);
    p.use.bytes = reader_varint(&v->r);
    p.image_bytes = reader_varint(&v->r);
    v->r.bad = v->r.bad || p.use.file <= v->before || p.use.records == 0;
    v->before = p.use.file;
    return p;
}

static strata_rc check_value_files(struct slice value_files)
{
    struct value_files_reader v = value_files_reader_of(value_files);
    // Each takes 4 bytes at least: a count that lies ends soon.
    for (uint64_t i = 0; i < v.count && !v.r.bad; i++) {
        (void)value_files_next(&v);
    }
    bool good = !v.r.bad && reader_left(&v.r) == 0 && (v.count == 0) == (value_files.bytes == 0);
    return good ? STRATA_OK : fail(STRATA_CORRUPT, "properties: the value files are malformed");
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
        n.expiring > n.entries || n.commit_least > n.commit_greatest ||
        slice_compare(p->lower, p->upper) >= 0) {
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
    p->expiring = n.expiring;
    return check_value_files(p->value_files);
}
