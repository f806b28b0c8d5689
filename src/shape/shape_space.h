// Space: how much more than what is needed a keyspace may take on disk, what it is that takes more,
// and which work gives it back. Pure functions, as in shape.h.
//
// Needed is what is live or retained. Beside it lie, in a live tree, versions that a newer run has
// superseded and merges have not met yet; in history, versions that retention has let go since they
// were written; in value files, values that no table refers to any more; and, unseen before the
// next flush, values of memtables that were overwritten there. The budget gives each its share of
// the slack that the bound leaves (bound - 1 times what is needed); a part stays free for what jobs
// write before they give anything back, and for writers that go on meanwhile.
#ifndef SHAPE_SHAPE_SPACE_H
#define SHAPE_SHAPE_SPACE_H

#include "shape/shape.h"

// What is live or retained, in tables and in value files.
struct shape_needed {
    uint64_t table_bytes;
    uint64_t value_bytes;
};

struct shape_budget {
    uint64_t superseded_max; // more in upper levels: they are merged into the last
    uint64_t dead_value_max; // more in value files: the worst are rewritten
    uint64_t excess_soft;    // more of both, and writers begin to be held up
    uint64_t excess_hard;    // and here as much as it takes
    uint64_t seal_bytes;     // of separated values in one generation of memtables
    uint64_t slice_bytes;    // of a merge: what it writes before it gives anything back
};

struct shape_budget shape_budget_of(uint32_t bound_percent, const struct shape_needed *needed,
                                    uint64_t memtable_bytes, uint64_t slice_most);

// At how many bytes the memtables are sealed, when `needed` bytes are live or retained: less than a
// whole memtable while that would supersede more of them than the bound leaves room for.
// bound_percent UINT32_MAX: nothing is ever let go.
uint64_t shape_seal_bytes(uint32_t bound_percent, uint64_t needed, uint64_t memtable_bytes);

// What runs above the oldest one supersede there, estimated from counts and bounds: an entry of a
// table takes the place of one of average size in the tables below that it overlaps; a table that
// overlaps nothing supersedes nothing, so data that comes in key order is not merged for its space.
// Only tables of commits up to `floor` count: what newer ones supersede is retained.
struct shape_superseded {
    uint64_t table_bytes, value_bytes;
};
struct shape_superseded shape_superseded_of(const struct tree *live, uint64_t floor);
// The bytes of deletes, by their share of the entries of their runs.
uint64_t shape_delete_bytes(const struct tree *live);

// A merge of a live tree that gives space back, or makes scans short: of every run from some run on
// down to the last, when
//   - more than `superseded_max` bytes are superseded, or
//   - tables made of deletes hide at least a fourth of the entries that they overlap, so that
//     passing them costs a scan about as much as a few merges do, or the last run holds deletes,
//     which have nothing to hide there.
// Every such job leaves fewer runs, or no deletes where it was.
bool shape_pick_space(const struct tree *live, const struct shape_claims *claims, uint64_t floor,
                      uint64_t superseded_max, struct shape_job *job_out);

// At which floor a run of history was last rewritten for its space.
struct shape_rewritten {
    uint64_t run, floor;
};

struct shape_history_need {
    uint64_t floor;         // versions that ended by it may go
    uint32_t versions;      // keep so many of each key; 0: no such rule
    uint32_t slack_percent; // of the bound
    uint64_t live_bytes;    // of the live tree, tables and values
    const struct shape_rewritten *rewritten;
    size_t rewritten_count;
};

// About how much of a run of history ended by `floor`, if nothing in it had ended by `since`: the
// ends are taken to lie evenly over the commits that the run spans. 0 to 1.
double shape_trimmed_share(const struct run *history, uint64_t since, uint64_t floor);
// A merge of history that drops what retention lets go: a run of which much has ended by the floor,
// or, when the last versions of each key are kept, the runs that no merge has looked at in that way
// yet.
bool shape_pick_history(const struct tree *history, const struct shape_claims *claims,
                        const struct shape_history_need *need, struct shape_job *job_out);

// A physical value file: its size; the bytes of the values in it, before compression; of those,
// what tables still refer to.
struct shape_value_file {
    uint64_t file;
    uint64_t bytes;
    uint64_t stored_bytes, used_bytes;
};
uint64_t shape_dead_bytes(const struct shape_value_file *f); // of the file's size, by share

#define SHAPE_VICTIMS_MAX 32u

struct shape_value_need {
    uint64_t dead_max; // over all files
    uint64_t live_max; // that one rewrite of several files writes
};

// Which files the next rewrite takes: all that nothing refers to, which just leave; else, when more
// than `dead_max` bytes are dead over all files, those with the greatest shares; else many small
// ones, to be joined. Returns how many; 0: none.
size_t shape_pick_values(const struct shape_value_file *files, size_t count,
                         const struct shape_value_need *need,
                         uint64_t victims_out[SHAPE_VICTIMS_MAX]);

// STRATA_INVALID, with the figure, when a tree of this shape may hold more superseded bytes than
// the bound allows: the levels above a full last one hold 1 / size_ratio + 1 / size_ratio^2 + ...
// of its bytes. Not asked of a keyspace that retains every version: there nothing is superseded.
strata_rc shape_bound_check(const strata_keyspace_options *options) STRATA_MUST_CHECK;

#endif
