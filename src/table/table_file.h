// The inside of an open table, shared by the reader, the cursor and the verification.
#ifndef TABLE_TABLE_FILE_H
#define TABLE_TABLE_FILE_H

#include "kv/file_name.h"
#include "table/block.h"
#include "table/filter.h"
#include "table/footer.h"
#include "table/index.h"
#include "table/table.h"

// An open file. Shared by all tables that show a part of it; immutable but for the slots, the
// descriptor and what counts toward the return of the filter.
struct table_file {
    struct index index;
    struct filter filter;      // its shape; the lines are where table_filter says
    cache_slot filter_slot;    // its payload
    cache_slot *slots;         // one a block
    struct range_dels *ranges; // NULL: none
    struct table_env env;
    uint64_t number;
    uint64_t bytes;
    char name[FILE_NAME_BYTES];
    struct footer footer;
    struct table_properties properties; // slices into properties_memory
    uint8_t *properties_memory;
    size_t charged;                // to OS_MEMORY_INDEXES
    _Atomic uint64_t missed_bytes; // of blocks, loaded for lookups without the filter
    struct os_cached_file descriptor;
    _Atomic uint32_t refs;
    atomic_bool delete_at_close;
};

struct table {
    struct table_file *file;
    struct table_meta meta;
    uint64_t lower_head, upper_head; // of the bounds
    bool narrow_lower, narrow_upper; // the file holds points outside of that bound
    _Atomic uint32_t refs;
};

// Fetches what a search in a cached block looks at first. Only the address is used.
static inline void table_prefetch_block(struct cache_block *b)
{
    __builtin_prefetch(b);
    const uint8_t *data = cache_block_data(b);
    __builtin_prefetch(data);
    __builtin_prefetch(data + 64);
    __builtin_prefetch(data + 128);
    __builtin_prefetch(data + 192);
}

// The filter over its cached payload, of which only the address is used: any key may be there when
// `b` is NULL.
static inline struct filter table_filter(const struct table_file *tf, struct cache_block *b)
{
    struct filter f = tf->filter;
    f.lines = b == NULL ? NULL : cache_block_data(b) + FILTER_HEAD_BYTES;
    return f;
}
// The payload of the filter, pinned, read when it is not in memory. The table must have a filter.
strata_rc table_load_filter(struct table_file *tf,
                            struct cache_block **block_out) STRATA_MUST_CHECK;
// A lookup is about to load a block. Without the filter some such loads are in vain, but to load it
// evicts others: so it returns when as many bytes of blocks were loaded as it has itself.
strata_rc table_regain_filter(struct table_file *tf, uint64_t block_bytes) STRATA_MUST_CHECK;
// Gives back a pinned block that is in no slot.
void table_discard(struct table_file *tf, struct cache_block *b);
// Where a block's image is.
struct section_place table_block_place(const struct table_file *tf, uint32_t block);
// The block's cached block, pinned, or NULL. Not inside an epoch.
struct cache_block *table_pin(struct table_file *tf, uint32_t block);
// Checks and decodes the block's image; the result is pinned and, with `keep`, in the cache.
strata_rc table_decode(struct table_file *tf, uint32_t block, const uint8_t *image, bool keep,
                       struct cache_block **block_out) STRATA_MUST_CHECK;
// Reads `bytes` bytes of the file. Outside of epochs.
strata_rc table_file_read(struct table_file *tf, uint64_t offset, void *to,
                          size_t bytes) STRATA_MUST_CHECK;
// As table_load.
strata_rc table_file_load(struct table_file *tf, uint32_t block, bool keep,
                          struct cache_block **block_out) STRATA_MUST_CHECK;
// Reads the section, which must be there.
strata_rc table_read_section(struct table_file *tf, struct section_handle handle,
                             enum section_kind kind, uint8_t **payload_out,
                             size_t *bytes_out) STRATA_MUST_CHECK;

// The list of ordinals in one logical value file; empty when the table refers to none of it. The
// caller frees `memory`, also after an error.
struct table_ordinals {
    struct slice list;
    uint64_t records;
    uint8_t *memory;
};
strata_rc table_read_ordinals(struct table_file *tf, uint64_t file,
                              struct table_ordinals *o_out) STRATA_MUST_CHECK;

#endif
