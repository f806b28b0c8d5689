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
    // True when the version with interval [begin, end) must be kept in history (retention "all":
    // always true). A receipt (begin == end) is kept when this is true for it.
    bool (*keep)(void *ctx, uint64_t keyspace, uint64_t begin, uint64_t end);
    // True when the database wants the job to stop at the next step (close, cancel): the step
    // answers STRATA_BUSY.
    bool (*stopping)(void *ctx);
    void *ctx;
};

struct compact_progress {
    uint64_t bytes_read, bytes_written; // table bytes
    uint64_t entries_in, entries_out, ejected, receipts, dropped, tables_moved;
    uint64_t blocks_passed; // taken over whole; their entries count as in and out
    uint64_t blocks_handed; // of those, put into the cache because they were there before
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

#endif
