// Background jobs: the flush of sealed memtables, the merge of runs of a live tree, the merge of
// runs of a history tree. Each is an object that works in bounded steps; the database owns the
// thread. Rules: architecture, section 5. Entries stream from cursors to writers; in memory are the
// range deletes of the inputs, the bounds of older tables and a few blocks.
//
// Thread rule: one thread at a time for each job; jobs of different inputs run side by side.
#ifndef COMPACT_COMPACT_H
#define COMPACT_COMPACT_H

#include "manifest/manifest.h"
#include "memtable/memtable.h"
#include "shape/shape.h"

// What retention lets go in one keyspace, fixed when a job begins with it. The database has
// published the floor to readers before it looked which commits are registered, so whoever
// registers later reads at the floor or above (architecture, section 8).
struct compact_trim {
    uint64_t floor;        // versions that ended by it may go; 0: none may
    int64_t floor_time_us; // no later than the time of commit `floor`, whole seconds
    // Registered commits, ascending: what they need stays. times_us[i], whole seconds, is no later
    // than the time of commits[i]. Owned: compact_trim_release.
    uint64_t *commits;
    int64_t *times_us;
    size_t count;
    // Of each key what it is now and at least the last `versions` - 1 values before stay. Deletes
    // are not counted; those between the values stay, too. 0: no such rule. Merges of history let
    // go what is older, and put KV_FLOOR in its place.
    uint32_t versions;
};
// May somebody still ask for a commit of [begin, end) at which the version has not expired
// (`expiry`, 0: never)? When not even without the expiry, the version goes. When only because of
// it, it goes on as a delete: an older version of the key may have an end that is too late, and
// must not be seen again. A receipt (begin == end) stays while the floor is below it.
bool compact_trim_keeps(const struct compact_trim *t, uint64_t begin, uint64_t end,
                        uint64_t expiry);
// Is there a registered commit in [begin, end)?
bool compact_trim_registered(const struct compact_trim *t, uint64_t begin, uint64_t end);
// Is a live put that was written at `begin` and expires at `expiry` absent for every read that may
// still be asked? Then it counts as a delete.
bool compact_trim_expired(const struct compact_trim *t, uint64_t begin, uint64_t expiry);
void compact_trim_release(struct compact_trim *t); // zeroed: nothing to do

// What a job needs of its database.
struct compact_env {
    struct table_env tables;
    uint64_t incarnation;
    uint64_t (*new_file_number)(void *ctx); // any thread
    uint64_t (*new_run_number)(void *ctx);  // any thread; greater than every one before
    // Makes the edit durable, then visible. Called between steps of work, without locks held by the
    // job. On an error the job ends with it. STRATA_NO_SPACE and NO_MEMORY say that nothing of the
    // edit is on disk: the files that it names are removed when the job is freed, as are those that
    // no edit has named yet. After any other error they stay, for it may be durable all the same.
    strata_rc (*install)(void *ctx, struct edit *e);
    // The time of a commit, as closely as it is known; 0 when it is not.
    int64_t (*commit_time)(void *ctx, uint64_t commit);
    // Fills what retention lets go now in a keyspace. A job asks once for each keyspace, before its
    // first entry; when it dropped anything because of a floor, its edits set that floor.
    strata_rc (*trim)(void *ctx, uint64_t keyspace, struct compact_trim *trim_out);
    // The logical value file (a reference to its present physical file, for the caller to give
    // back), for jobs that read values. STRATA_CORRUPT when it is not there.
    strata_rc (*value_file)(void *ctx, uint64_t logical, struct value_file **file_out);
    // True when the database wants the job to stop at the next step (close, cancel): the step
    // answers STRATA_BUSY.
    bool (*stopping)(void *ctx);
    // So many point deletes must follow each other before a merge looks whether they can become one
    // range delete; 0: 64, which is also the most.
    uint32_t turn_deletes;
    void *ctx;
};

struct compact_progress {
    uint64_t bytes_read, bytes_written; // table bytes, and value bytes of jobs that write values
    uint64_t entries_in, entries_out, ejected, receipts, dropped, tables_moved;
    uint64_t expired;        // puts that became deletes
    uint64_t floors;         // versions that KV_FLOOR took the place of
    uint64_t turned;         // point deletes that range deletes took the place of
    uint64_t blocks_skipped; // left out unread behind a range delete: at least so many
    uint64_t blocks_passed;  // taken over whole; their entries count as in and out
    uint64_t blocks_handed;  // of those, put into the cache because they were there before
};

// ---- flush

struct flush_source {
    const struct catalog_space *space; // kept alive by the caller
    struct memtable *memtable;
};

struct flush;

// Writes the memtables (sealed together at `commit`, one a keyspace) as one run on level 0 of each
// keyspace's live tree and, for the versions that were superseded inside the memtable, one history
// run; installs one edit with flushed_commit = commit and what else `base` says (log_first_segment,
// seconds ...; may be NULL; not kept). Everything older must be in the spaces' trees: memtables
// that were sealed before are flushed and installed before.
strata_rc flush_new(const struct compact_env *env, const struct flush_source *sources, size_t count,
                    uint64_t commit, uint64_t memtable_bytes, const struct edit *base,
                    struct flush **flush_out) STRATA_MUST_CHECK;
// One bounded step (about a MiB of entries, or the install). *done_out when everything is
// installed. After an error the job can only be freed; the same holds for a merge.
strata_rc flush_step(struct flush *f, bool *done_out) STRATA_MUST_CHECK;
const struct compact_progress *flush_progress(const struct flush *f);
void flush_free(struct flush *f); // also in the middle: removes unfinished files. NULL is ignored

// ---- merge (live or history)

struct merge;

// `tree` is the tree that shape looked at (the merge holds a reference); `space` is copied as far
// as needed. The merge goes through the key space in slices of about `slice_bytes` of output: each
// slice is one edit that takes the inputs' tables out (or narrows their bounds to what is left),
// puts the outputs into the output run, and the ejected versions into one history run of this
// merge.
strata_rc merge_new(const struct compact_env *env, const struct catalog_space *space, bool history,
                    struct tree *tree, const struct shape_job *job, const struct shape *shape,
                    uint64_t slice_bytes, struct merge **merge_out) STRATA_MUST_CHECK;
// One bounded step (about a MiB of entries, or an install). *done_out at the end. A merge that ends
// before, by an error or because it is freed, leaves the tree whole: the slices that were installed
// are done, the rest is as it was.
strata_rc merge_step(struct merge *m, bool *done_out) STRATA_MUST_CHECK;
const struct compact_progress *merge_progress(const struct merge *m);
uint64_t merge_bytes_total(const struct merge *m); // of the inputs
// The run of the keyspace's history that a live merge ejects into, slice by slice; 0 for a merge of
// history. It must be claimed in the history tree until the merge is freed: a job that wrote into
// its place would collide with later slices.
uint64_t merge_ejected_run(const struct merge *m);
void merge_free(struct merge *m); // as flush_free
// Before the first step of a merge of a live or history tree: separated values are written anew, in
// key order, as the keyspace's options say now; values that are no longer to be separated go back
// beside their keys. Also done without being asked for, entry by entry, when separation was turned
// on, off or changed since the entry was written.
void merge_rewrite_values(struct merge *m);

// ---- tables that leave unread

// Makes the edit that takes out of a keyspace every table of which nothing must stay: history
// tables outside of what is retained, and live tables without range deletes of which every key lies
// under a newer range delete of a table, when nobody can ask for a commit between the oldest
// version and that delete. `claims`: runs of jobs under way, whose tables are left alone. The edit
// also sets the floor. *bytes_out: of the files that leave; 0: there is nothing to install. `space`
// is of the catalog to which the edit is applied.
strata_rc compact_excise(const struct compact_trim *trim, const struct catalog_space *space,
                         const struct shape_claims *claims, struct edit *e,
                         uint64_t *bytes_out) STRATA_MUST_CHECK;

// ---- value garbage

struct value_rewrite;

// Writes what the trees of `catalog` still refer to in the physical files `victims` (of one
// keyspace) to one new physical file, by ordinal, and installs one edit that puts it in their
// place; a victim that nothing refers to just leaves. Writes no keys. The victims must not be taken
// by another rewrite meanwhile; merges may go on: they only ever refer to less. A keyspace that is
// dropped meanwhile makes the install leave them out.
strata_rc value_rewrite_new(const struct compact_env *env, struct catalog *catalog,
                            const uint64_t *victims, size_t count,
                            struct value_rewrite **rewrite_out) STRATA_MUST_CHECK;
strata_rc value_rewrite_step(struct value_rewrite *r, bool *done_out) STRATA_MUST_CHECK;
const struct compact_progress *value_rewrite_progress(const struct value_rewrite *r);
void value_rewrite_free(struct value_rewrite *r); // as flush_free

#endif
