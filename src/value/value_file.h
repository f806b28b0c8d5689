// The inside of a value file, shared by those who write, read, recover and verify it.
//
// A file that is being written (or recovered) has a descriptor and an array of offsets of its own,
// under the mutex; readers count themselves while they use the descriptor. Finishing publishes the
// meta and the cached descriptor, and gives the rest up. A finished file is immutable, but for the
// index that is loaded with the first read.
#ifndef VALUE_VALUE_FILE_H
#define VALUE_VALUE_FILE_H

#include "kv/file_name.h"
#include "os/thread.h"
#include "value/value.h"
#include "value/value_index.h"

#define VALUE_FILE_BYTES ((uint64_t)64 << 20)
// More chunks than this are not put into one file, to bound the array in memory.
#define VALUE_FILE_RECORDS_MAX (1u << 20)
// A file that is full may get some more, but never these.
#define VALUE_FILE_ORDINALS_MAX (1u << 22)
// Chunks up to this size are read and written through the stack, with one request.
#define VALUE_SMALL_BYTES (64u << 10)

struct value_file {
    struct value_env env;
    uint64_t number;
    uint64_t keyspace;
    uint64_t incarnation; // also the stamp of its own logical file
    char name[FILE_NAME_BYTES];
    _Atomic uint32_t refs;
    atomic_bool delete_at_close;
    _Atomic uint64_t bytes; // reserved; of the whole file once it is finished
    atomic_bool is_full;
    // Released by whoever finishes or opens the file, acquired by readers: then what follows is
    // there.
    atomic_bool finished;
    struct value_meta meta;
    struct os_cached_file descriptor;
    _Atomic(struct value_index *) index; // NULL: not read yet
    struct {
        struct os_mutex lock;
        struct os_cond changed; // tail, writing, syncing, users
        struct os_file *file;   // NULL: finished
        uint32_t users;         // readers of `file`
        bool recovered;         // and not written anew yet; `file` can only be read
        bool alone;             // recovered, finished by value_file_finish_alone
        bool referred;          // recovered, and the log refers to it
        // Appending.
        uint64_t end;      // where the next reservation may begin
        uint64_t reserved; // reservations so far
        uint32_t *offsets; // by ordinal, in units of VALUE_RECORD_ALIGN; 0: not written
        uint32_t count, capacity;
        uint64_t records, raw_bytes;
        bool tail_owned;     // an append is placing chunk behind chunk
        bool failed_append;  // there may be bytes behind what counts
        uint32_t writing[2]; // reservations not yet written, by generation
        uint32_t generation; // 0 or 1; changed by each sync
        // Syncing.
        uint64_t synced; // reservations that are on disk
        bool named;      // the directory was synced since the file came to be
        bool syncing;
        bool sync_failed;
    } mu;
};

// A new object with one reference, not finished.
strata_rc value_file_alloc(const struct value_env *env, uint64_t number,
                           struct value_file **file_out) STRATA_MUST_CHECK;
// Makes room for `count` ordinals; with the mutex held.
strata_rc value_file_grow_locked(struct value_file *f, uint32_t count) STRATA_MUST_CHECK;
// Publishes a finished file; `meta` becomes the file's own.
void value_file_publish(struct value_file *f, struct value_meta meta);
// The index of what counts in an unfinished file, to lie at `begin`.
strata_rc value_file_build_index(const struct value_file *f, uint64_t begin, bool alone,
                                 struct value_index_builder *b) STRATA_MUST_CHECK;
// Gives up what only an unfinished file has; after it was published.
void value_file_leave_writing(struct value_file *f);
// value_file_finish of a file that was recovered.
strata_rc value_file_finish_recovered(struct value_file *f) STRATA_MUST_CHECK;
// The meta that a directory says.
strata_rc value_meta_of_index(const struct value_file *f, const struct value_index *index,
                              uint64_t bytes, struct value_meta *meta_out) STRATA_MUST_CHECK;
// Does the directory say what the manifest recorded?
bool value_meta_is_of_index(const struct value_meta *meta, const struct value_index *index);
// Reads footer and directory of a file of `bytes` bytes.
strata_rc value_file_read_index(struct os_file *file, uint64_t number, uint64_t bytes,
                                struct value_footer *footer_out,
                                struct value_index **index_out) STRATA_MUST_CHECK;

// Where a chunk is, and a descriptor to read it by, until value_spot_release.
struct value_spot {
    struct os_file *file;
    uint64_t offset;
    uint64_t limit; // the record ends there or before
    uint64_t seed;
    bool cached; // `file` is leased from the cache
};
// STRATA_NOT_FOUND, without a text, when the file does not hold the chunk.
strata_rc value_spot_find(struct value_file *f, uint64_t logical, uint32_t ordinal,
                          struct value_spot *spot_out) STRATA_MUST_CHECK;
void value_spot_release(struct value_file *f, const struct value_spot *spot);

// The directory of a finished file, loaded when it is not.
strata_rc value_file_index(struct value_file *f, struct value_index **index_out) STRATA_MUST_CHECK;
// A checked block of it, pinned.
strata_rc value_file_block(struct value_file *f, struct value_index *index, uint32_t block,
                           struct cache_block **block_out) STRATA_MUST_CHECK;

// What is asked of a record: `bytes` bytes from `from` of its chunk to `to`; 0 bytes only verify.
struct value_want {
    uint64_t seed;
    uint32_t raw; // of the chunk
    uint32_t from, bytes;
    uint8_t *to;
};
// Reads the record at `offset`, which ends at `limit` or before, and verifies it. STRATA_NOT_FOUND,
// without a text, when there is no good record of that chunk.
strata_rc value_record_read(struct os_file *file, uint64_t offset, uint64_t limit,
                            const struct value_want *want,
                            struct value_record *record_out) STRATA_MUST_CHECK;
// The same of a record whose image, with up to `bytes` bytes, is in memory.
strata_rc value_record_open(const uint8_t *image, uint64_t bytes,
                            const struct value_want *want) STRATA_MUST_CHECK;
// The errors of a value whose chunk is not what was written, and of one that is not there.
strata_rc value_is_damaged(const struct value_file *f, const struct kv_value_ref *ref,
                           uint32_t ordinal, uint64_t offset) STRATA_MUST_CHECK;
strata_rc value_is_absent(const struct value_file *f, const struct kv_value_ref *ref,
                          uint32_t ordinal) STRATA_MUST_CHECK;

#endif
