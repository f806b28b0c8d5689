// Where a job's entries go: a run of tables that is written left to right, cut near the size of the
// shape; and the edit that names the tables once they are complete.
#ifndef COMPACT_OUTPUT_H
#define COMPACT_OUTPUT_H

#include "compact/separate.h"

// ---- the edit in the making, and its files

struct output_set {
    const struct compact_env *env;
    struct compact_progress *progress;
    struct edit edit;
    uint64_t *files; // complete, named by the edit, not installed
    size_t file_count, file_capacity;
    struct value_file **values; // complete, named by the edit, not installed; held
    size_t value_count, value_capacity;
    uint64_t bytes;   // of those, and of values that are being written
    uint32_t writers; // tables being written
    uint64_t
        trimmed; // the keyspace whose floor the edit sets, because of what was dropped; 0: none
};

// env and progress are borrowed.
void output_set_init(struct output_set *s, const struct compact_env *env,
                     struct compact_progress *progress);
// Makes the names durable and installs the edit, if it says anything; empties the set. The edit may
// have become durable also when the install fails, so its files stay then: they are named by the
// manifest, or the next open removes them.
strata_rc output_set_install(struct output_set *s) STRATA_MUST_CHECK;
// Something was let go as the trim allows: the edit says so, too.
strata_rc output_set_trimmed(struct output_set *s, uint64_t keyspace,
                             const struct compact_trim *trim) STRATA_MUST_CHECK;
void output_set_release(struct output_set *s); // removes the files that were not installed
// A finished value file that the edit's tables refer to.
strata_rc output_set_add_values(struct output_set *s, struct value_file *file) STRATA_MUST_CHECK;

// ---- one run being written

// What a run is to be.
struct output_place {
    bool history;
    bool last; // no run is older: the strongest compression
    uint32_t level;
    uint32_t levels; // in use, with this one
    uint64_t run;    // 0: a new number with the first table
    uint64_t table_bytes;
    uint32_t size_ratio;
    const struct run *neighbour; // next older run, whose bounds are good places to cut; or NULL
};

// A block of the open table that was taken over and is worth its place in the cache.
struct output_hot {
    struct table *from;
    uint32_t from_block, block;
};

struct output {
    struct output_set *set;
    struct output_place place;
    struct table_options options;
    struct table_writer *writer; // NULL: no table is open
    uint64_t file;               // of the writer
    struct output_hot *hot;      // of the writer
    size_t hot_count, hot_capacity;
    uint32_t neighbour_at;     // first table of the neighbour with upper > the last key
    struct separate *separate; // what is done with values on the way; NULL: nothing. Borrowed
    struct separate_queue queue;
};

// The space's name is borrowed.
void output_init(struct output *o, struct output_set *set, const struct catalog_space *space,
                 const struct output_place *place);
void output_release(struct output *o); // removes an unfinished table

// Should the table end before this key, which comes next and differs from the one before?
bool output_is_full(struct output *o, struct slice key);
strata_rc output_add(struct output *o, const struct kv_entry *e) STRATA_MUST_CHECK;
// Would the block's entries be written as they are?
strata_rc output_keeps_block(const struct output *o, const struct table_raw_block *b,
                             bool *keeps_out) STRATA_MUST_CHECK;
// Is a block of an input, behind which others can follow (`ahead`, with it), good enough as a block
// of this run? Nothing is said of its keys.
bool output_takes_block(const struct output *o, const struct run_block *b, uint32_t ahead);
// The block's table lives until the output is cut.
strata_rc output_add_block(struct output *o, const struct table_raw_block *b) STRATA_MUST_CHECK;
strata_rc output_add_range(struct output *o, const struct range_fragment *f) STRATA_MUST_CHECK;
// Completes the open table, if there is one, and puts it into the set's edit.
strata_rc output_cut(struct output *o) STRATA_MUST_CHECK;

// ---- why a pass over the inputs came back

enum pass_stop {
    PASS_BUDGET, // there is more
    PASS_SLICE,  // there is more; the open tables were cut before the next key
    PASS_END     // all is written; the open tables were not cut
};

// The entry, an expired put, goes on as a delete.
strata_rc pass_expire(struct output_set *s, uint64_t keyspace, const struct compact_trim *trim,
                      struct kv_entry *e) STRATA_MUST_CHECK;

// What an entry counts in a step's budget: also a sea of empty values must end a step.
static inline uint64_t pass_entry_bytes(const struct kv_entry *e)
{
    return (uint64_t)e->key_bytes + e->value_bytes + 32;
}

#endif
