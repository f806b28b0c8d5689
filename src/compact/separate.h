// Values on their way through a merge: what the keyspace's options now say of an entry is done to
// it. A value that is to be separated goes to a value file of the job; a separated one that is not
// to be, or is to be written anew, is read back, many at a time. Entries leave in the order in
// which they came: those behind one that waits for its value wait, too.
//
// The value files of a job belong to the edit whose tables refer to them, finished and synced.
#ifndef COMPACT_SEPARATE_H
#define COMPACT_SEPARATE_H

#include "base/buffer.h"
#include "compact/compact.h"

// A value that was written in pieces is separated whatever the options say, from this size on.
#define SEPARATE_ALWAYS_BYTES (1u << 20)

struct output_set;

// What a job does with values, for all of its outputs.
struct separate {
    struct output_set *set;
    uint64_t keyspace;
    uint32_t bytes; // values of so many or more are separated; 0: none
    strata_compression compression;
    bool rewrite;            // separated values are written anew
    struct value_file *file; // being written; NULL: none yet
};

enum separate_verdict {
    SEPARATE_KEEP, // as it is
    SEPARATE_OUT,  // to a value file
    SEPARATE_IN,   // beside its key
    SEPARATE_ANEW  // to another value file
};

void separate_init(struct separate *s, struct output_set *set, const struct catalog_space *space);
// Finishes the file in the making and puts it into the set's edit, before the edit is installed.
strata_rc separate_finish(struct separate *s) STRATA_MUST_CHECK;
void separate_release(struct separate *s); // removes an unfinished file; a zeroed one, too

// STRATA_CORRUPT when a reference is not one.
strata_rc separate_judge(const struct separate *s, const struct kv_entry *e,
                         enum separate_verdict *verdict_out) STRATA_MUST_CHECK;
// Would no entry of the block be changed?
strata_rc separate_keeps_block(const struct separate *s, const struct table_raw_block *b,
                               bool *keeps_out) STRATA_MUST_CHECK;

// ---- the entries of one output

struct separate_waiting {
    struct kv_entry entry; // key and value: offsets in `bytes`
    size_t key_at, value_at;
    enum separate_verdict verdict;
    struct kv_value_ref ref; // IN and ANEW
};

// Zero-initialised is empty.
struct separate_queue {
    struct separate_waiting *list;
    size_t count, capacity;
    struct buffer bytes;      // keys, references, and values that are at hand
    uint64_t value_bytes;     // that are to be read
    struct value_read *reads; // capacity as of the list
};

// An entry comes in; `emit` gets those that may leave, in order, as they are to be written.
typedef strata_rc separate_emit(void *ctx, const struct kv_entry *e);
strata_rc separate_add(struct separate *s, struct separate_queue *q, const struct kv_entry *e,
                       separate_emit *emit, void *ctx) STRATA_MUST_CHECK;
// All that wait leave.
strata_rc separate_drain(struct separate *s, struct separate_queue *q, separate_emit *emit,
                         void *ctx) STRATA_MUST_CHECK;
void separate_queue_release(struct separate_queue *q);

#endif
