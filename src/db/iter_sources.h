// The sources of a scan: cursors over the memtables, the runs of the live tree and, when the commit
// needs it, the runs of the history tree; and their range deletes.
#ifndef DB_ITER_SOURCES_H
#define DB_ITER_SOURCES_H

#include "db/db.h"
#include "kv/cursor.h"
#include "kv/range_dels.h"

#define SOURCE_RANK_HISTORY UINT32_MAX

struct source {
    struct kv_cursor *cursor;
    uint32_t rank; // age of a live source, 0 is the newest; SOURCE_RANK_HISTORY
    bool stable;   // its bytes live as long as the view (memtables)
};

// The range deletes of one live source, with the piece of the key space that was asked for last:
// for every key in [lower, upper) the newest commit <= at that covers it is `newest` (0: none).
struct range_source {
    uint32_t rank;
    const struct range_dels *dels; // of a memtable; or:
    const struct run *run;
    bool known;
    struct slice lower, upper; // data NULL: unbounded
    uint64_t newest;
};

struct sources {
    struct source *list; // live newest first, then history
    uint32_t count;
    struct range_source *ranges; // only sources that have range deletes
    uint32_t range_count;
    bool history;     // history cursors are among them
    size_t head_skip; // leading bytes that every key of every source shares
};

// Opens them for a read of the view, whose commit is not STRATA_NOW. `all_versions`: history
// cursors whatever the commit is. The view outlives the sources.
strata_rc sources_open(strata_db *db, struct view *view, const struct read_at *at,
                       bool all_versions, struct sources *s) STRATA_MUST_CHECK;
// `cursors_too` false: the cursors were handed on to somebody who closes them.
void sources_release(struct sources *s, bool cursors_too);

// Makes `r` know the piece that `key` lies in, as of commit `at`.
void range_source_ask(struct range_source *r, struct slice key, uint64_t at);

// The newest commit <= at of any range delete over the key, 0 when there is none; *by_out is the
// source that has it.
uint64_t sources_cover(struct sources *s, struct slice key, uint64_t at,
                       const struct range_source **by_out);

// The oldest range delete over the key with a commit > above; UINT64_MAX when there is none.
uint64_t sources_range_after(const struct sources *s, struct slice key, uint64_t above);

#endif
