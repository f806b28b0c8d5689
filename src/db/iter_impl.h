// The iterator, shared by the files that make it: iter.c (the calls), iter_move.c (the merge and
// what of it is shown), iter_value.c (separated values and reading them ahead).
#ifndef DB_ITER_IMPL_H
#define DB_ITER_IMPL_H

#include "db/iter_sources.h"
#include "db/seat.h"
#include "kv/merge.h"

enum iter_state {
    ITER_UNSET,
    ITER_ON,
    ITER_PAST_END,
    ITER_BEFORE_FIRST,
    ITER_YIELDED,
};

// Where the merge stands, seen from the entry that is shown.
enum iter_place {
    ITER_AT,     // at it: its other versions are still to be passed over
    ITER_BEHIND, // behind it
    ITER_LOST,   // anywhere: it must be sought again
};

// A window of entries that were collected ahead of the one that is shown, with bytes of their own.
// See iter_value.c.
struct iter_window {
    struct iter_collected *entries;
    uint32_t count, capacity;
    struct buffer bytes;      // keys, and values that are not separated
    struct value_read *reads; // of the separated ones
    uint32_t read_count, read_capacity;
    struct buffer values;
    bool is_begun; // the device was told of its reads
    bool is_stale; // collected from a view that was taken since: its references are void
    bool is_read;
    size_t charged; // to the budget
};

struct strata_iter {
    strata_db *db;
    struct seat seat;
    struct sources sources;
    struct kv_merge merge;
    bool merge_ready;
    uint64_t at;
    bool now;       // expiry is judged by the present, once and for all; else by the commit's time
    int64_t time_s; // that time, when it has been asked for; or 0
    enum iter_state state;
    bool backward;
    enum iter_place place;
    const struct kv_entry *shown; // in state ITER_ON: in its cursor's window, in `window`, or:
    struct kv_entry entry;        // the best version of a key whose versions were gathered
    bool plain;         // nothing but points of live sources to look at, no filter, no budget
    bool plain_sources; // it can be so: no window is in the way
    struct buffer lower, upper;
    bool has_lower, has_upper;
    uint64_t upper_head; // entries with a smaller head lie below the upper bound for certain
    uint64_t lower_head; // entries with a greater head lie above the lower bound for certain
    strata_filter_fn filter;
    void *filter_ctx;
    uint64_t budget;      // 0: none
    uint64_t steps_left;  // of the budget
    uint64_t steps;       // for the metrics
    uint64_t sea;         // of them, since an entry was shown
    struct buffer key;    // the shown key, when gathered; else scratch for passing over
    struct buffer value;  // the shown value, when gathered and its source is not stable
    struct buffer target; // scratch for seeks; in ITER_YIELDED and ITER_LOST: where to go on

    // The separated value of the entry shown.
    struct {
        bool known; // `bytes` has it, or `rc` says why not
        bool asked; // the program asked for it
        strata_rc rc;
        struct buffer bytes;
        uint32_t streak; // how many in a row the program asked for
    } separated;
    uint32_t window_size; // of the next window
    // The entry shown is window_at of windows[present], when that has any; what follows it is in
    // the other one, when that has any, and what follows that is found by the merge.
    uint32_t window_at;
    uint32_t present;
    struct iter_window windows[2];
};

// ---- iter_move.c

// The sources of the seat's view, anew; the merge stands nowhere.
strata_rc iter_open_sources(strata_iter *it) STRATA_MUST_CHECK;
void iter_close_sources(strata_iter *it);
// Seeks and shows the first entry from there on.
strata_rc iter_start(strata_iter *it, struct slice key, bool backward) STRATA_MUST_CHECK;
// Shows the entry that follows the last one, in the present direction.
strata_rc iter_move_on(strata_iter *it) STRATA_MUST_CHECK;
// Shows what comes next from where the merge stands.
strata_rc iter_settle(strata_iter *it) STRATA_MUST_CHECK;
// Positions behind (forward) or before (backward) the key.
strata_rc iter_start_past(strata_iter *it, struct slice key, bool backward) STRATA_MUST_CHECK;

// ---- iter_value.c

// Reads the separated value of `e`, which the merge stands at, into it->separated. Entered.
strata_rc iter_read_value(strata_iter *it, const struct kv_entry *e) STRATA_MUST_CHECK;
// A separated entry is shown by the merge.
void iter_note_separated(strata_iter *it);
// The program has been asking for values: collects entries from the one shown on. Entered.
void iter_window_begin(strata_iter *it);
static inline bool iter_in_window(const strata_iter *it)
{
    return it->windows[it->present].count > 0;
}
// Moves to the next entry of the window; false when it has no more.
bool iter_window_next(strata_iter *it);
void iter_window_clear(strata_iter *it);
void iter_window_release(strata_iter *it);
// The key that the collecting has come to.
struct slice iter_last_key(const strata_iter *it);

#endif
