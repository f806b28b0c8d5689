// What the trees should look like and which job brings them there: pure functions, no I/O, no
// clocks, no state (architecture, section 9; N. Dayan and S. Idreos, "Dostoevsky", SIGMOD 2018).
#ifndef SHAPE_SHAPE_H
#define SHAPE_SHAPE_H

#include "manifest/tree.h"

struct shape_level {
    uint32_t runs_max;  // more makes the level full
    uint64_t bytes_max; // more makes the level full
};

struct shape {
    uint32_t level_count; // levels described; deeper ones continue with size_ratio
    struct shape_level levels[TREE_LEVELS_MAX];
    uint32_t size_ratio;
    uint32_t last_runs_max;   // of the deepest level in use: 1 for lazy and leveled
    uint32_t level0_runs_max; // hard bound, see shape_delay
    uint64_t table_bytes;     // outputs are cut near this size
};

// The shape of a keyspace's live tree, from its (resolved) options and the memtable size. Lazy:
// level 0 and the upper levels hold up to 4 runs, the last level 1. Leveled: level 0 holds up to 4
// runs, every other level 1.
struct shape shape_live(const strata_keyspace_options *options, uint64_t memtable_bytes);
// Of its history tree: tiering, larger tables.
struct shape shape_history(const strata_keyspace_options *options, uint64_t memtable_bytes);

// Parts of a shape, for advice and for the jobs below. A level deeper than those described
// continues them; the last level is the deepest in use, at least 1, and has its own number of runs.
struct shape_level shape_level_at(const struct shape *s, uint32_t level);
uint32_t shape_last_level(const struct tree *t);
uint32_t shape_runs_max(const struct tree *t, const struct shape *s, uint32_t level);
// So little in it that merging it into the next level, which holds one large run, would cost far
// more than its runs do; they are merged among themselves first.
bool shape_level_small(const struct tree *t, const struct shape *s, uint32_t level);
// 1.0 is exactly full.
double shape_fullness(const struct tree *t, const struct shape *s, uint32_t level);

// A merge of adjacent runs: from runs[first] of level `level_from` (the newest taken) through every
// run that is older, down to run `last` of `level_to` (inclusive).
struct shape_job {
    uint32_t input_count;
    struct run *inputs[64]; // newest first, adjacent in age; of the tree that was asked about
    uint32_t input_levels[64];
    uint32_t output_level;
    uint64_t output_run; // number of an input run whose place the result takes; 0: a new run,
                         // newest of the output level
    bool to_last;        // no run is older than the inputs
    bool relabel; // every table just moves (nothing overlaps, or a whole level sinks): no I/O
    bool rewrite; // every table is read, also one that could stay or move as it is: to let go what
                  // retention no longer keeps
    double score; // how overdue: 1.0 is exactly full
};

// Runs that jobs under way have as inputs: they cannot be inputs, and no job may pass over them
// such that its result would end up on the wrong side of them in age.
struct shape_claims {
    const uint64_t *runs;
    size_t count;
};

// The most overdue job that is possible beside the claims; false when there is none to do.
bool shape_pick(const struct tree *tree, const struct shape *shape,
                const struct shape_claims *claims, struct shape_job *job_out);
// The job of a full compaction: every run into one on the last level. False when the tree is that
// already or a claim is in the way. One run below level 0 is that already, unless it is a live run
// with deletes to drop, or `rewrite_last` is given. Of more than 64 runs the newest 64 are taken:
// ask again when they are one.
bool shape_pick_full(const struct tree *tree, const struct shape *shape,
                     const struct shape_claims *claims, bool rewrite_last,
                     struct shape_job *job_out);

// Bytes that merges still have to rewrite until the tree has its shape.
uint64_t shape_debt_bytes(const struct tree *tree, const struct shape *shape);

// Filter bits per key for a table of `level`, when `levels` are in use and the options ask for
// `bits` on average (N. Dayan et al., "Monkey", SIGMOD 2017, section 4: upper levels get more).
uint32_t shape_filter_bits(uint32_t bits, uint32_t level, uint32_t levels, uint32_t size_ratio);

// Write admission: how long a write of `bytes` has to be held up, in nanoseconds; 0 when nothing is
// owed; UINT64_MAX: wait until a flush or a merge is done. Grows smoothly with what is owed.
struct shape_pressure {
    uint64_t sealed_memtables;     // waiting to be flushed
    uint64_t sealed_memtables_max; // writers wait at this many
    uint32_t level0_runs;          // greatest over keyspaces
    uint32_t level0_runs_max;      // hard bound
    uint32_t level0_runs_soft;     // the level is full from here on
    uint64_t debt_bytes, debt_bytes_soft;
    uint64_t excess_bytes, excess_soft, excess_hard; // of space, over what is needed; see
                                                     // shape_space.h
    uint64_t bytes_per_second;                       // measured rate of background work
};
uint64_t shape_delay(const struct shape_pressure *p, uint64_t bytes);

#endif
