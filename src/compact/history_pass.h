// One pass over runs of a history tree in key order: versions of a key by their begin, newest
// first; ends brought down to the next newer begin (eject.h); what retention lets go is left out.
//
// With retention by count (compact_trim.versions) what lies below the last versions of a key, and
// is not needed by a registered commit, becomes a floor: [begin, end) without a value. Floors that
// touch are joined when no other table of history may hold a version that began between their ends:
// then no version ever comes to lie inside of a joined floor. (Versions that were written between
// those of the pass have left live before them, so they are in the tree that the merge began with.)
#ifndef COMPACT_HISTORY_PASS_H
#define COMPACT_HISTORY_PASS_H

#include "compact/eject.h"
#include "compact/output.h"
#include "kv/merge.h"

struct history_pass {
    const struct compact_env *env;
    const struct compact_trim *trim;
    const struct tree *tree;     // that is merged
    const struct shape_job *job; // which of its runs the pass reads
    uint64_t keyspace;
    struct output *out;
    uint64_t slice_bytes; // a slice ends after a table when so much is complete
    // Private.
    struct kv_merge merge;
    struct eject_interval rule;
    struct buffer key; // the current one
    bool any;
    uint32_t values;      // of the key that stay
    bool floor;           // the next two are a floor of the key that is not written yet
    uint64_t floor_begin; // it may yet be joined by an older one
    uint64_t floor_end;
};

// As live_pass_begin and the others of live_pass.h.
strata_rc history_pass_begin(struct history_pass *p, struct kv_cursor *const *cursors,
                             uint32_t count, size_t head_skip) STRATA_MUST_CHECK;
strata_rc history_pass_run(struct history_pass *p, uint64_t budget_bytes,
                           enum pass_stop *stop_out) STRATA_MUST_CHECK;
struct slice history_pass_next_key(const struct history_pass *p);
void history_pass_release(struct history_pass *p);

#endif
