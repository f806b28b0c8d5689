// One pass over sources of a live tree in key order: the rule (eject.h) applied to every entry,
// what stays written to one run, what leaves to another. Flush and merge are both made of passes.
//
// A block of a table passes through whole when the rule would keep each of its entries: no other
// source has a key between its first and its last, no range delete of the inputs lies over any,
// it holds no delete that may end here, nothing in it can have expired, and its values may stay
// where they are.
//
// A put that has expired for everybody who may still ask counts as a delete of the same commit.
//
// What a range delete of the inputs covers is left out unread, from a block on, when nobody can ask
// for a commit between the source's oldest version and that delete. (Versions below it may then be
// given an end that is too late, but no commit in between is asked for.)
#ifndef COMPACT_LIVE_PASS_H
#define COMPACT_LIVE_PASS_H

#include "compact/eject.h"
#include "compact/turn.h"

struct live_pass_commits { // of what a source holds
    uint64_t least, greatest;
};

struct live_pass {
    const struct compact_env *env;
    const struct compact_trim *trim;
    uint64_t keyspace;
    const struct eject_older *older;
    struct output *live;
    struct output *history;
    uint64_t slice_bytes; // a slice ends after a table when so much is complete; UINT64_MAX: never
    struct turn *turn;    // of deletes that stay; NULL: they stay as they are. Borrowed
    const struct live_pass_commits *commits; // of each cursor; NULL: not known. Borrowed
    // Private.
    struct kv_merge merge;
    struct eject_ranges ranges;
    size_t older_at;       // for single keys
    size_t older_block_at; // for blocks
    struct eject_key rule;
    struct buffer key; // the current one
    bool any;          // there is a current key
};

// The caller has set the public members; takes over the cursors, newest source first, also when it
// fails. The list's bytes are copied.
strata_rc live_pass_begin(struct live_pass *p, struct kv_cursor *const *cursors, uint32_t count,
                          size_t head_skip, const struct range_del *ranges,
                          size_t range_count) STRATA_MUST_CHECK;
// Goes on for about `budget_bytes` of entries.
strata_rc live_pass_run(struct live_pass *p, uint64_t budget_bytes,
                        enum pass_stop *stop_out) STRATA_MUST_CHECK;
// After PASS_SLICE: the key that comes next.
struct slice live_pass_next_key(const struct live_pass *p);
// Frees what the pass holds; a zeroed one, too.
void live_pass_release(struct live_pass *p);

// Appends the range deletes of `dels` that lie in [lower, upper) (data NULL: unbounded), clipped,
// to a growing list; slices are borrowed from dels and the bounds.
struct live_pass_ranges {
    struct range_del *list;
    size_t count, capacity;
};
strata_rc live_pass_collect(struct live_pass_ranges *to, const struct range_dels *dels,
                            struct slice lower, struct slice upper) STRATA_MUST_CHECK;

#endif
