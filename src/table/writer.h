// The inside of a table writer, shared by the files that add entries (table_writer.c), make blocks
// of them (writer_block.c) and take over blocks of other tables (writer_pass.c).
#ifndef TABLE_WRITER_H
#define TABLE_WRITER_H

#include "base/compress.h"
#include "kv/file_name.h"
#include "table/block.h"
#include "table/footer.h"
#include "table/index.h"
#include "table/table.h"
#include "table/value_list.h"

#define WRITER_OUT_BYTES ((size_t)512 << 10)

struct table_writer {
    struct os_dir *dir;
    struct os_file *file;
    uint64_t number;
    struct table_options options;
    char *keyspace_name;
    char name[FILE_NAME_BYTES];
    strata_rc rc; // the first error

    struct compressor *compressor;
    struct buffer image;  // a section being made
    struct buffer packed; // the same, compressed
    struct buffer keys;   // of a block of another table
    struct buffer out;    // for the file
    uint64_t written;     // bytes of the file before `out`

    // The block that is being gathered.
    struct kv_entry *entries;
    uint32_t count, capacity;
    struct buffer gathered; // their bytes; its capacity does not change
    size_t prefix_bytes;    // shared by all
    uint64_t key_bytes, value_bytes;
    struct buffer separator;
    uint64_t separator_commit;

    struct buffer last_key;
    uint64_t last_commit;
    struct index_builder index;
    struct buffer hashes;
    struct value_list values;
    struct buffer value_files; // the property
    struct buffer ranges;      // the payload behind the count
    struct buffer range_lower, range_upper;
    struct buffer lower;
    struct table_properties properties;
};

static inline uint64_t writer_offset(const struct table_writer *w)
{
    return w->written + w->out.bytes;
}

// ---- writer_block.c: bytes and blocks

strata_rc writer_flush(struct table_writer *w) STRATA_MUST_CHECK;
strata_rc writer_emit(struct table_writer *w, const uint8_t *bytes, size_t count) STRATA_MUST_CHECK;
// Makes room for a header in w->image; the payload is appended behind it.
strata_rc writer_begin_image(struct table_writer *w) STRATA_MUST_CHECK;
// Writes the image whose payload is complete; `pack`: compressed as the table's blocks are.
strata_rc writer_end_image(struct table_writer *w, enum section_kind kind, bool pack,
                           struct section_handle *handle_out) STRATA_MUST_CHECK;
// Puts an entry in order, whose key shares `shared` bytes with the last one, into a block.
strata_rc writer_place(struct table_writer *w, const struct kv_entry *e,
                       size_t shared) STRATA_MUST_CHECK;
// Writes the block in the making, if there is one.
strata_rc writer_finish_block(struct table_writer *w) STRATA_MUST_CHECK;
// Makes the separator before an entry that begins a block.
strata_rc writer_begin_block(struct table_writer *w, const struct kv_entry *e,
                             size_t shared) STRATA_MUST_CHECK;
static inline void writer_count_in_block(struct index_block *b, const struct kv_entry *e)
{
    b->count++;
    b->deletes += e->kind == KV_DELETE;
    b->commit_least = e->commit < b->commit_least ? e->commit : b->commit_least;
    b->commit_greatest = e->commit > b->commit_greatest ? e->commit : b->commit_greatest;
}
// The block's image is in the file: its index entry, and no more memory than is needed.
strata_rc writer_end_block(struct table_writer *w, struct index_block *b,
                           const struct section_handle *handle) STRATA_MUST_CHECK;

// ---- table_writer.c: entries

// How many bytes the key shares with the last one.
size_t writer_shared(const struct table_writer *w, struct slice key);
// Is the entry in order (table_writer.c, invariant 1)? *new_key_out: its key is not the last one.
strata_rc writer_check(const struct table_writer *w, const struct kv_entry *e, size_t shared,
                       bool *new_key_out) STRATA_MUST_CHECK;
// Notes an entry that has its place in a block: what filter, bounds, properties and the lists of
// separated values need of it.
strata_rc writer_note(struct table_writer *w, const struct kv_entry *e, uint64_t hash,
                      size_t shared, bool new_key) STRATA_MUST_CHECK;

#endif
