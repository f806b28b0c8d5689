// The merge of several cursors into one sorted stream: a loser tree (Knuth, TAOCP 3, 5.4.1) over
// the 8-byte heads of the cursors' current entries; ties go to the whole keys, then to the order of
// the sources. While one source stays ahead of the runner-up it is drained without touching the
// tree.
//
// Forward: key ascending; equal keys by source, lower index (newer) first. Backward: key
// descending; equal keys by source, lower index first too. Within a source its own order holds.
//
// Thread rule: one thread at a time.
#ifndef KV_MERGE_H
#define KV_MERGE_H

#include "kv/cursor.h"

// A node of the tree: the source that lost there, and its rank (see kv_merge_rank).
struct kv_merge_node {
    uint64_t rank;
    uint32_t source;
};

struct kv_merge {
    struct kv_cursor **cursors;
    uint32_t count;
    bool backward;
    bool by_commit;  // history: equal keys by commit, newest first; set between init and seek
    uint32_t source; // of the current entry
    const struct kv_entry *entry; // the current entry, NULL at the end
    // Private: the tree, and what the drain compares with.
    uint64_t
        challenger_rank; // least rank among the other sources; 0: not known, the tree is played
    struct kv_merge_node *nodes; // [1, count) are the tree; the rest is scratch of the build
};

// The head of an entry in the direction of the merge: a lesser rank comes first, equal ranks decide
// nothing.
static inline uint64_t kv_merge_rank(const struct kv_merge *m, const struct kv_entry *e)
{
    return m->backward ? ~e->head : e->head;
}

// Takes over the cursors (closes them in release, also when it fails); the array is copied. Sets
// one head_skip for all of them. Every cursor must be unpositioned. A count of 0 is an empty
// stream.
strata_rc kv_merge_init(struct kv_merge *m, struct kv_cursor *const *cursors, uint32_t count,
                        size_t head_skip) STRATA_MUST_CHECK;
// A zeroed merge, or one whose init failed, is released too.
void kv_merge_release(struct kv_merge *m);

// Positions every cursor as kv_cursor_seek does. STRATA_OK with an entry, or STRATA_END. After an
// error, here and below, the merge is at its end until the next seek.
strata_rc kv_merge_seek(struct kv_merge *m, struct slice key, bool backward) STRATA_MUST_CHECK;
// Moves on one source alone, the current one, to its first entry at or past `key` in the direction
// of the merge (forward: key >= `key`; backward: key < `key`), and plays the tree again. `key` must
// not lie in an entry of that source.
strata_rc kv_merge_skip_source(struct kv_merge *m, struct slice key) STRATA_MUST_CHECK;
// The first entry in the order of keys among the current ones of the other sources; NULL when none
// of them has any. Looks at every source.
const struct kv_entry *kv_merge_runner_up(const struct kv_merge *m);
strata_rc kv_merge_next_slow(struct kv_merge *m) STRATA_MUST_CHECK;

// The next entry. The bytes of the entry before stay valid unless its cursor had to refill: a
// caller that needs the previous key afterwards checks kv_merge_at_window_end first and copies. Not
// at the end.
static inline strata_rc kv_merge_next(struct kv_merge *m)
{
    struct kv_cursor *c = m->cursors[m->source];
    const struct kv_entry *next = c->at + 1;
    if (__builtin_expect(next < c->end, 1) && kv_merge_rank(m, next) < m->challenger_rank) {
        c->at = next;
        m->entry = next;
        return STRATA_OK;
    }
    return kv_merge_next_slow(m);
}

// The entry that kv_merge_next would move to, when it lies in the window and ahead of every other
// source; else NULL, which says nothing. For loops that look before they move.
static inline const struct kv_entry *kv_merge_peek(const struct kv_merge *m)
{
    const struct kv_cursor *c = m->cursors[m->source];
    const struct kv_entry *next = c->at + 1;
    return next < c->end && kv_merge_rank(m, next) < m->challenger_rank ? next : NULL;
}

// Moves to what kv_merge_peek gave.
static inline void kv_merge_take(struct kv_merge *m, const struct kv_entry *peeked)
{
    m->cursors[m->source]->at = peeked;
    m->entry = peeked;
}

static inline bool kv_merge_at_window_end(const struct kv_merge *m)
{
    const struct kv_cursor *c = m->cursors[m->source];
    return c->at + 1 >= c->end;
}

#endif
