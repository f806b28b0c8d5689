// A tree of one keyspace, live or history, at one moment: levels of runs of open tables. Immutable
// and counted; every change makes a new one that shares the tables.
//
// Levels: 0 is the newest. Runs in a level: newest first; a run's number is never reused and within
// a tree a newer run of a level has the greater number. Everything that a run of a lower level
// number, or an earlier run of the same level, holds for a key is newer than what later ones hold.
#ifndef MANIFEST_TREE_H
#define MANIFEST_TREE_H

#include "table/table.h"

#include <stdatomic.h>

#define TREE_LEVELS_MAX 16

struct run { // counted: trees share the runs that a change leaves alone
    _Atomic uint64_t refs;
    uint64_t number;
    uint64_t
        bytes; // of its tables' files (a narrowed table counts by its share of keys as a whole)
    uint64_t entries;
    uint64_t deletes; // of those, point deletes
    uint64_t range_fragments;
    uint64_t value_bytes; // of the separated values that it refers to
    uint32_t count;
    struct table **tables; // by key, bounds do not overlap
    uint64_t *upper_heads; // slice_head(upper, 0) of each table, for run_find
};

struct level {
    uint32_t count;
    struct run **runs; // newest first
    uint64_t bytes;
    uint64_t value_bytes;
};

struct tree {
    _Atomic uint64_t refs;
    uint32_t level_count; // levels[level_count - 1] is the deepest that is not empty
    struct level levels[TREE_LEVELS_MAX];
    uint32_t run_count; // over all levels
    uint64_t bytes;
    uint64_t value_bytes;
    uint64_t end_greatest; // history: the greatest end of any entry; live: 0
    uint64_t commit_greatest;
};

strata_rc tree_new_empty(struct tree **tree_out) STRATA_MUST_CHECK;
void tree_ref(struct tree *t);
void tree_unref(struct tree *t); // NULL is ignored; not inside an epoch; unrefs the tables at last

// One table to take out or to put in.
struct tree_change {
    bool add;
    uint32_t level;      // add
    uint64_t run;        // add: the run's number; a run that does not exist is made
    uint64_t file;       // remove: the file that is taken out, wherever it stands, all parts of it
    struct table *table; // add: the tree takes a reference of its own
};

// A new tree: all removals first, then the additions. STRATA_CORRUPT when a file to remove is not
// there, when tables of a run overlap, or a level is out of range: the tree came from a damaged
// manifest, or a job is wrong.
strata_rc tree_apply(const struct tree *old, const struct tree_change *changes, size_t count,
                     struct tree **tree_out) STRATA_MUST_CHECK;

// Calls visit for every table that the changes took out of `old` to make `next`, until it returns
// an error. Looks only at runs that differ.
strata_rc tree_visit_removed(const struct tree *old, const struct tree *next,
                             const struct tree_change *changes, size_t count,
                             strata_rc (*visit)(void *ctx, const struct table *t),
                             void *ctx) STRATA_MUST_CHECK;

// The table of a run whose bounds hold `key`, or NULL.
struct table *run_find(const struct run *r, struct slice key);
// Index of the first table of the run with upper > key (data NULL: 0); count when there is none.
uint32_t run_find_from(const struct run *r, struct slice key);
// Does any table of the run overlap [lower, upper)? upper.data NULL: unbounded.
bool run_overlaps(const struct run *r, struct slice lower, struct slice upper);

// Checks the structural invariants; the text of the first that fails is the thread's error.
strata_rc tree_check(const struct tree *t) STRATA_MUST_CHECK;

#endif
