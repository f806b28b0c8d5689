// The end of a table file, and its properties. The layouts are at the head of footer.c.
//
// Thread rule: pure functions.
#ifndef TABLE_FOOTER_H
#define TABLE_FOOTER_H

#include "base/buffer.h"
#include "base/reader.h"
#include "strata.h"
#include "table/section.h"
#include "table/table.h"

#define TABLE_FORMAT_VERSION 0
#define FOOTER_BYTES 128

// A section's image; bytes 0: there is none.
struct section_handle {
    uint64_t offset;
    uint64_t bytes;
};

struct footer {
    struct section_handle index, filter, ranges;
    struct section_handle ordinals; // all of them together
    struct section_handle properties;
};

void footer_encode(uint8_t to[FOOTER_BYTES], const struct footer *f, uint64_t file,
                   uint64_t offset);
// `place`: where the footer is. STRATA_CORRUPT; STRATA_VERSION for another format.
strata_rc footer_decode(const uint8_t from[FOOTER_BYTES], const struct section_place *place,
                        struct footer *f) STRATA_MUST_CHECK;

struct table_properties {
    uint64_t keyspace;
    struct slice keyspace_name;
    bool history;
    uint32_t level;
    uint64_t incarnation;
    struct slice lower, upper; // of everything in the file
    uint64_t entries, deletes, keys;
    uint64_t range_fragments;
    uint64_t commit_least, commit_greatest, end_greatest;
    uint64_t raw_bytes;
    uint64_t expiring;
    struct slice value_files; // encoded, see value_files_reader
};

strata_rc properties_encode(struct buffer *out, const struct table_properties *p) STRATA_MUST_CHECK;
// Slices point into `payload`. `value_files` is well-formed when this is STRATA_OK.
strata_rc properties_decode(struct slice payload, struct table_properties *p) STRATA_MUST_CHECK;

// A value file as the properties name it: what the table refers to in it, and the size of the image
// of its list of ordinals.
struct value_file_property {
    struct table_value_use use;
    uint64_t image_bytes;
};
// Appends it to the value of the property, behind the count and the files before, of which
// `before` is the last one's number (0: none).
strata_rc value_file_property_encode(struct buffer *out, const struct value_file_property *v,
                                     uint64_t before) STRATA_MUST_CHECK;
// Reads the property: how many there are, then each.
struct value_files_reader {
    struct reader r;
    uint64_t count;
    uint64_t before;
};
struct value_files_reader value_files_reader_of(struct slice value_files);
struct value_file_property value_files_next(struct value_files_reader *v);

#endif
