// Table files: immutable, sorted, checksummed. Layout: docs in the heads of block.c (blocks),
// index.c, filter.h, value_list.c (ordinals) and footer.c (the order of the sections, properties).
//
// A live table holds at most one point per key, in key order; a history table holds intervals: key
// ascending, commit descending, each entry with its end; the intervals of a key do not overlap in
// one table. Only live tables hold range deletes in this format.
//
// Bounds are always [lower, upper): upper is exclusive, so the upper bound of a single key K is K
// followed by a zero byte. A tree may give a table narrower bounds than its file has (slices); a
// reader with narrower bounds shows nothing outside of them.
#ifndef TABLE_TABLE_H
#define TABLE_TABLE_H

#include "cache/cache.h"
#include "kv/cursor.h"
#include "kv/range_dels.h"
#include "os/file_cache.h"
#include "strata.h"

// What the manifest keeps of a table. Slices are owned by whoever owns the struct
// (table_meta_copy).
struct table_meta {
    uint64_t file;  // number in its name
    uint64_t bytes; // of the file
    uint64_t keyspace;
    bool history;
    struct slice lower, upper; // of this reference to the file; within the file's own bounds
    uint64_t entries;          // points in the file
    uint64_t deletes;          // of those, point deletes
    uint64_t range_fragments;
    uint64_t commit_least, commit_greatest;  // over points (begins) and range deletes
    uint64_t end_greatest;                   // history: greatest end; live: 0
    int64_t time_least_us, time_greatest_us; // of those commits
    uint64_t raw_bytes;                      // keys and values before compression
    uint64_t expiring;                       // entries with an expiry
    // Separated values: what the table refers to in each logical value file, ascending by file.
    struct table_value_use *uses;
    uint32_t use_count;
    uint64_t value_bytes; // of all of them together
};

// References into one logical value file. Which ordinals they are stands in the table itself.
struct table_value_use {
    uint64_t file;
    uint64_t records; // ordinals
    uint64_t bytes;   // of the values
};

strata_rc table_meta_copy(const struct table_meta *from,
                          struct table_meta *to_out) STRATA_MUST_CHECK;
void table_meta_release(struct table_meta *m);

// ---- writing

struct table_options {
    uint64_t keyspace;
    const char *keyspace_name; // for salvage
    bool history;
    uint32_t level; // at birth
    uint64_t incarnation;
    uint32_t block_bytes;
    strata_compression compression; // NONE, LZ4 or ZSTD
    uint32_t filter_bits;           // per key; 0: no filter
};

struct table_writer;

// Creates the file (it must not exist).
strata_rc table_writer_new(struct os_dir *dir, uint64_t file, const struct table_options *options,
                           struct table_writer **writer_out) STRATA_MUST_CHECK;
// Entries in order; STRATA_INTERNAL when they are not (or, in history, when the intervals of a key
// overlap; or for a KV_FLOOR in a live table or with a value), STRATA_CORRUPT for a malformed
// reference to a separated value. `hash` is hash_key(key). After an error every further call gives
// that error.
strata_rc table_writer_add(struct table_writer *w, const struct kv_entry *e,
                           uint64_t hash) STRATA_MUST_CHECK;
// Range fragments in order, any time before finish.
strata_rc table_writer_add_range(struct table_writer *w,
                                 const struct range_fragment *f) STRATA_MUST_CHECK;
struct table;

// A block of another live table, to be taken over whole.
struct table_raw_block {
    struct table *table; // that it is of
    uint32_t number;     // there
    bool cached;         // its decoded bytes were in the cache
    const char *name;    // of its file, for texts
    uint64_t file, offset, bytes;
    const uint8_t *image;   // the `bytes` bytes at `offset` of the file; NULL: not at hand
    const uint8_t *decoded; // checked; CACHE_PADDING bytes may be read behind it
    uint64_t decoded_bytes;
};

// Appends a block in the place of its entries, in order as for table_writer_add; the block in the
// making ends before it. The image is verified as what it was in the other file, STRATA_CORRUPT if
// it is not that, and its stored bytes are written under a checksum of their new place; they are
// compressed anew only when they are not compressed as this table's should be.
strata_rc table_writer_add_block(struct table_writer *w,
                                 const struct table_raw_block *b) STRATA_MUST_CHECK;
// Both count the separated values that the entries refer to (table_meta.uses) and note their
// ordinals for sections of the table: 8 bytes of memory for each chunk of a value until the end.

// Complete blocks; the next one has this number.
uint32_t table_writer_blocks(const struct table_writer *w);
// Bytes of keys and values in the block in the making.
uint64_t table_writer_block_bytes(const struct table_writer *w);
// Bytes written so far plus those buffered: to decide where to cut.
uint64_t table_writer_bytes(const struct table_writer *w);
uint64_t table_writer_entries(const struct table_writer *w);
// Completes the file, syncs and closes it and frees the writer, whatever is returned; on failure
// the file is removed. The name is durable only after a directory sync, which is the caller's.
// `meta_out` is owned by the caller; its times are the caller's to fill. A table without entries
// and ranges is STRATA_INVALID.
strata_rc table_writer_finish(struct table_writer *w,
                              struct table_meta *meta_out) STRATA_MUST_CHECK;
// Closes, removes the file, frees. NULL is ignored.
void table_writer_abandon(struct table_writer *w);

// ---- reading

struct table_env {
    struct os_dir *dir;
    struct cache *cache;
    struct os_memory *memory;
    struct os_file_cache *files; // of `dir`: a table has a descriptor only while it reads
};
// struct value_env (value/value.h) has the same members for value files.

// Opens the file, reads and checks footer, properties, index, filter and range deletes. The bounds
// are those of `meta`. STRATA_CORRUPT for damage or for a file that is not what the meta says.
strata_rc table_open(const struct table_env *env, const struct table_meta *meta,
                     struct table **table_out) STRATA_MUST_CHECK;
// The same file under other bounds (a slice): shares index, filter and slots.
strata_rc table_narrow(struct table *t, struct slice lower, struct slice upper,
                       struct table **table_out) STRATA_MUST_CHECK;
// References count the trees and jobs that hold the table. At the last unref it is closed, its
// blocks are evicted, and, when table_delete_at_close was called, the file is unlinked. Until then
// nobody may remove the file: it is opened again by its name.
void table_ref(struct table *t);
void table_unref(struct table *t); // NULL is ignored; not inside an epoch
void table_delete_at_close(struct table *t);
const struct table_meta *table_meta(const struct table *t);
const struct range_dels *table_range_dels(const struct table *t); // NULL: none. Not clipped: check
                                                                  // the bounds of the meta too

// About which share of the table's entries lies in [lower, upper), by its index; 0 to 1.
double table_share(const struct table *t, struct slice lower, struct slice upper);

// One lookup, without any I/O. In an epoch.
enum table_answer {
    TABLE_ABSENT, // nothing for the key at or before lookup->at (skipped may have been set)
    TABLE_FOUND,  // lookup->entry is filled
    TABLE_COLD    // a block must be loaded: table_load, then table_get_in
};
struct table_stats_delta { // what a lookup did, for the caller to count
    uint32_t filter_negative, filter_positive, block_hits;
};
enum table_answer table_get(struct table *t, struct kv_lookup *lookup, uint32_t *cold_block_out,
                            struct table_stats_delta *delta);
void table_prefetch(struct table *t, uint64_t hash); // the filter's line
// Loads the block from disk, pinned. Outside of epochs; the caller keeps the table alive.
strata_rc table_load(struct table *t, uint32_t block, bool keep,
                     struct cache_block **block_out) STRATA_MUST_CHECK;
// Block `to_block` of a table that nobody else has yet was taken over from block `from_block` of
// `from`: if that one is in the cache, this one will be, too. Not inside an epoch.
strata_rc table_hand_over(struct table *from, uint32_t from_block, struct table *to,
                          uint32_t to_block, bool *handed_out) STRATA_MUST_CHECK;
enum table_answer table_get_in(struct table *t, const struct cache_block *b,
                               struct kv_lookup *lookup);
// History tables: finds the entry of the key with the greatest commit <= at whose interval
// [commit, end) contains lookup->at. Otherwise as table_get and table_get_in.
enum table_answer table_get_interval(struct table *t, struct kv_lookup *lookup,
                                     uint32_t *cold_block_out, struct table_stats_delta *delta);
enum table_answer table_get_interval_in(struct table *t, const struct cache_block *b,
                                        struct kv_lookup *lookup);

// Calls visit for the ordinals of separated values that the table refers to in logical file `file`,
// ascending, until it returns an error: a first ordinal and how many follow each other
// (neighbouring values come together). A table with narrower bounds than its file says what the
// file refers to. Reads a section of the file. For rewrites and checks only.
strata_rc table_value_ordinals(struct table *t, uint64_t file,
                               strata_rc (*visit)(void *ctx, uint32_t ordinal, uint32_t chunks),
                               void *ctx) STRATA_MUST_CHECK;

// A cursor over the points of a run: tables in key order whose bounds do not overlap. The tables
// must outlive the cursor; but those that a cursor which only moves forward has left may go.
// `keep`: loaded blocks stay in the cache. `readahead_bytes`: loads of following blocks are joined
// up to this many bytes (0: one block at a time); merges use 256 KiB.
strata_rc run_cursor_open(struct cache *cache, struct table *const *tables, size_t count, bool keep,
                          uint32_t readahead_bytes,
                          struct kv_cursor **cursor_out) STRATA_MUST_CHECK;

// While a cursor over a run, moving forward, stands at its block_first, the block behind it can be
// taken as a whole. No entry of it lies outside of its table's bounds.
struct run_block {
    struct slice last_key; // of the last entry; valid until the cursor moves
    uint64_t bytes;        // decoded
    uint32_t entries;
    bool puts_only; // else it may hold deletes; separated puts are puts
    bool expiring;  // an entry has an expiry
};
strata_rc run_cursor_block(struct kv_cursor *cursor, struct run_block *block_out) STRATA_MUST_CHECK;
// How many blocks of the table, from this one on, surely lie before `key` (data NULL: all).
uint32_t run_cursor_blocks_before(const struct kv_cursor *cursor, struct slice key);
// The block itself, valid until the cursor moves; read again when only its decoded bytes were
// there.
strata_rc run_cursor_raw_block(struct kv_cursor *cursor,
                               struct table_raw_block *raw_out) STRATA_MUST_CHECK;
// The next step leads to the entry behind the block.
void run_cursor_skip_block(struct kv_cursor *cursor);

// Reads and checks every byte of the file: checksums, order, bounds, counts, filter (every key must
// pass). The text of each fault goes to `fault`; STRATA_CORRUPT when there was any.
strata_rc table_verify(struct table *t, void (*fault)(void *ctx, const char *text), void *ctx,
                       uint64_t *blocks_out) STRATA_MUST_CHECK;

#endif
