// What a table refers to in value files: noted reference by reference, in any order, while the
// table is written or verified; then sorted, and encoded as one list of ordinals for each logical
// file. The layout of a list is at the head of value_list.c.
//
// In memory are 8 bytes for each chunk of a value that was noted, as for the filter's hashes, and
// twice that while they are sorted.
//
// Thread rule: one thread at a time.
#ifndef TABLE_VALUE_LIST_H
#define TABLE_VALUE_LIST_H

#include "base/buffer.h"
#include "table/table.h"

struct value_list_file {
    struct table_value_use use; // records: after value_list_sort
    uint32_t slot;              // in the order in which files were met first
};

struct value_list {                // zero-initialised: empty
    struct value_list_file *files; // ascending
    uint32_t file_count, file_capacity;
    uint32_t last;      // the file that was noted last
    uint64_t *ordinals; // slot << 32 | ordinal
    size_t count, capacity;
    size_t *starts; // after value_list_sort: of each slot's ordinals, and their end
};

// Notes a reference as it stands in the place of a value. STRATA_CORRUPT when it is malformed.
strata_rc value_list_note(struct value_list *l, struct slice reference) STRATA_MUST_CHECK;
// Nothing is noted any more.
strata_rc value_list_sort(struct value_list *l) STRATA_MUST_CHECK;
// Appends the list of files[index].
strata_rc value_list_encode(const struct value_list *l, uint32_t index,
                            struct buffer *to) STRATA_MUST_CHECK;
void value_list_release(struct value_list *l);

// Calls visit for each run of ordinals of an encoded list with `records` ordinals, until it returns
// an error. STRATA_CORRUPT when it is no such list; what was visited before stands.
strata_rc value_list_decode(struct slice list, uint64_t records,
                            strata_rc (*visit)(void *ctx, uint32_t ordinal, uint32_t chunks),
                            void *ctx) STRATA_MUST_CHECK;

#endif
