// Runs of point deletes in a merge become range deletes, which a scan passes with one seek, and
// under which tables leave unread. The rule, which the model proves (tests/model/t_live_history.c):
//
//   Deletes that follow each other in what the merge keeps, with no range delete of the inputs over
//   or between them, become one range delete from the first to the last, of the commit of the
//   oldest of them, when
//   - nobody can ask for a commit at which only some of them are there (and their receipts are not
//     kept any more);
//   - older runs hold no key between the first and the last that is not one of the deleted, and
//     nothing there that is as new as the range delete;
//   - newer runs hold nothing there that is as old as it. (Memtables hold newer commits alone.)
//
// What older runs hold is read, when many deletes have come together and the rest of the rule holds
// by the bounds of tables; after deletes that were not all there is, many pass before it is tried
// again.
#ifndef COMPACT_TURN_H
#define COMPACT_TURN_H

#include "compact/output.h"
#include "kv/merge.h"

#define TURN_DELETES_MAX 64u // in the list

struct turn_delete {
    size_t key_at; // in `keys`
    uint32_t key_bytes;
    uint64_t commit;
};

struct turn_run { // a run of the tree that the merge does not read
    const struct run *run;
    bool newer;
    uint32_t at; // first table that begins behind the last delete
};

struct turn_range { // in `bytes`, with exclusive end
    size_t begin_at, begin_bytes, end_at, end_bytes;
    uint64_t commit;
};

struct turn {
    const struct compact_env *env;
    const struct compact_trim *trim;
    struct output *out;
    uint64_t keyspace;
    // Private.
    uint32_t enough; // deletes, to look at older runs
    struct turn_run *runs;
    size_t run_count;
    struct kv_merge older; // over the older runs, when `open`
    bool open;
    // The deletes that came together.
    struct turn_delete list[TURN_DELETES_MAX];
    uint32_t count;                       // in the list; once `range` they are not kept
    bool range;                           // they are a range delete, which may go on
    struct buffer keys;                   // of the list; then of the first
    struct buffer last;                   // the last key
    uint64_t least, greatest;             // of their commits
    uint64_t older_greatest, newer_least; // of what tables over them hold
    size_t cover_at;                      // of the range deletes of the inputs, at the first
    uint64_t wait, backoff;               // deletes to pass before it is tried again
    // Range deletes that are done, in order.
    struct turn_range *ranges;
    size_t range_count, range_capacity, range_at;
    struct buffer bytes;
};

// How many deletes must come together.
static inline uint32_t turn_enough(const struct compact_env *env)
{
    return env->turn_deletes == 0 ? TURN_DELETES_MAX : env->turn_deletes;
}
// The runs of the tree beside the job's inputs. Zero-initialise, and set the public members;
// release also after an error.
strata_rc turn_init(struct turn *t, const struct tree *tree,
                    const struct shape_job *job) STRATA_MUST_CHECK;
void turn_release(struct turn *t);
// A delete that is to be kept, no range delete of the inputs over it; `cover_at` is how many of
// those end before it.
strata_rc turn_add(struct turn *t, const struct kv_entry *e, size_t cover_at) STRATA_MUST_CHECK;
// Something else comes next: what came together is written, or kept as a range.
strata_rc turn_close(struct turn *t) STRATA_MUST_CHECK;
// Writes the range deletes that begin before `limit` (data NULL: all); after turn_close.
strata_rc turn_write(struct turn *t, struct slice limit) STRATA_MUST_CHECK;

#endif
