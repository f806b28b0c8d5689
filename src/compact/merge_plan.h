// What a merge does with each of its input tables, decided from their bounds alone before anything
// is read: most of a merge that is not needed is avoided here.
#ifndef COMPACT_MERGE_PLAN_H
#define COMPACT_MERGE_PLAN_H

#include "shape/shape.h"

enum merge_group_kind {
    MERGE_REWRITE, // read, merged and written
    MERGE_MOVE,    // one table that goes to the output run unread
    MERGE_STAY     // one table of the output run that stays as it is
};

// Groups follow each other in key order and do not overlap.
struct merge_group {
    enum merge_group_kind kind;
    size_t first, count; // of the plan's tables
};

struct merge_table {
    struct table *table; // held by the merge
    uint32_t input;      // index of its run in the job
    bool taken;          // it left the inputs, or need not
};

struct merge_plan {
    struct merge_table *tables; // by lower bound
    size_t table_count;
    struct merge_group *groups;
    size_t group_count;
    uint64_t bytes; // of all input tables
};

struct merge_plan_rules {
    bool history;
    bool read_all;         // no table goes unread
    bool read_moved;       // tables that would move are read: something of them may go
    uint32_t turn_deletes; // so many may become a range delete; 0: none do
    bool expires;          // what has expired may go
    int64_t expired_us;   // whole tables of expiring puts no younger than this have expired; 0: not
                          // known of any
    uint64_t table_bytes; // at which outputs are cut
};

// Zero-initialise the plan; release it also after an error.
strata_rc merge_plan_make(struct merge_plan *p, const struct shape_job *job,
                          const struct merge_plan_rules *rules) STRATA_MUST_CHECK;
// Every table is read after all.
void merge_plan_read_all(struct merge_plan *p);
void merge_plan_release(struct merge_plan *p);

#endif
