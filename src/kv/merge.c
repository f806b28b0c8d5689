#include "kv/merge.h"

#include "base/alloc.h"
#include "base/assert.h"

// Leaf i of the tree stands at position count + i, the parent of position p at p / 2, the root at
// 1: that is a full binary tree for any count. A node keeps the loser of the match played there;
// the winner of the whole is `source`.
//
// Invariants while there is an entry:
//   1. Every node on the way from the winner's leaf to the root holds the best of the subtree it
//      came out of, so the least rank on that way is the rank of the runner-up.
//   2. challenger_rank is that rank, or 0 when the winner has changed since it was known. 0 is
//   below
//      or at every rank, so that the drain ends at once and the tree is played.

// A source at its end ranks last; a live entry may have the same rank, kv_merge_before tells them
// apart.
#define KV_MERGE_RANK_END UINT64_MAX

strata_rc kv_merge_init(struct kv_merge *m, struct kv_cursor *const *cursors, uint32_t count,
                        size_t head_skip)
{
    *m = (struct kv_merge){.count = count};
    m->cursors = alloc_array(count, sizeof(struct kv_cursor *));
    // The build needs a place for each leaf and each inner node.
    m->nodes = alloc_array((size_t)count * 2, sizeof(struct kv_merge_node));
    if (m->cursors == NULL || m->nodes == NULL) {
        for (uint32_t i = 0; i < count; i++) {
            kv_cursor_close(cursors[i]);
        }
        free(m->cursors);
        free(m->nodes);
        *m = (struct kv_merge){0};
        return alloc_failed("a merge of cursors", count * 2 * sizeof(struct kv_merge_node));
    }
    for (uint32_t i = 0; i < count; i++) {
        ASSERT(cursors[i] != NULL);
        m->cursors[i] = cursors[i];
        m->cursors[i]->head_skip = head_skip;
    }
    return STRATA_OK;
}

void kv_merge_release(struct kv_merge *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        kv_cursor_close(m->cursors[i]);
    }
    free(m->cursors);
    free(m->nodes);
    *m = (struct kv_merge){0};
}

// Order of two sources whose ranks are equal. All keys share their first head_skip bytes.
static bool kv_merge_before(const struct kv_merge *m, uint32_t a, uint32_t b)
{
    const struct kv_cursor *x = m->cursors[a];
    const struct kv_cursor *y = m->cursors[b];
    bool x_valid = kv_cursor_valid(x);
    bool y_valid = kv_cursor_valid(y);
    if (!x_valid || !y_valid) {
        return x_valid || (!y_valid && a < b);
    }
    int order = slice_compare(kv_key(x->at), kv_key(y->at));
    if (order == 0) {
        if (m->by_commit && x->at->commit != y->at->commit) {
            return (x->at->commit > y->at->commit) != m->backward;
        }
        return a < b;
    }
    return (order < 0) != m->backward;
}

static uint64_t kv_merge_source_rank(const struct kv_merge *m, uint32_t source)
{
    const struct kv_cursor *c = m->cursors[source];
    return kv_cursor_valid(c) ? kv_merge_rank(m, c->at) : KV_MERGE_RANK_END;
}

// Takes the winner's entry as the current one.
static strata_rc kv_merge_settle(struct kv_merge *m, uint32_t winner)
{
    const struct kv_cursor *c = m->cursors[winner];
    m->source = winner;
    if (!kv_cursor_valid(c)) {
        m->entry = NULL;
        m->challenger_rank = 0;
        return STRATA_END;
    }
    m->entry = c->at;
    return STRATA_OK;
}

static strata_rc kv_merge_end(struct kv_merge *m, strata_rc rc)
{
    m->entry = NULL;
    m->challenger_rank = 0;
    return rc;
}

// Plays all matches.
static strata_rc kv_merge_build(struct kv_merge *m)
{
    uint32_t count = m->count;
    if (count == 1) {
        m->challenger_rank = KV_MERGE_RANK_END;
        return kv_merge_settle(m, 0);
    }
    // Winners climb through the positions; position p is free again once its match was played, but
    // a parent's loser may not overwrite a winner that is still to play: go from the highest pair.
    struct kv_merge_node *at = m->nodes;
    for (uint32_t i = 0; i < count; i++) {
        at[count + i] = (struct kv_merge_node){kv_merge_source_rank(m, i), i};
    }
    struct kv_merge_node winner = {0};
    for (uint32_t parent = count - 1; parent >= 1; parent--) {
        struct kv_merge_node x = at[2 * parent];
        struct kv_merge_node y = at[2 * parent + 1];
        bool x_wins = x.rank != y.rank ? x.rank < y.rank : kv_merge_before(m, x.source, y.source);
        // The winner goes to the parent's place; the loser waits where the left child stood.
        winner = x_wins ? x : y;
        at[2 * parent] = x_wins ? y : x;
        at[parent] = winner;
    }
    // Losers stand at the even positions 2p: bring each to its node p. Ascending order reads every
    // even position before it is written, because 2p > p.
    for (uint32_t parent = 1; parent < count; parent++) {
        at[parent] = at[2 * parent];
    }
    m->challenger_rank = 0;
    return kv_merge_settle(m, winner.source);
}

// Plays the matches on the way of the current source, which has moved, to the root.
static strata_rc kv_merge_replay(struct kv_merge *m)
{
    uint32_t source = m->source;
    uint64_t rank = kv_merge_source_rank(m, source);
    uint64_t least_loser = KV_MERGE_RANK_END;
    for (uint32_t at = (source + m->count) / 2; at >= 1; at /= 2) {
        struct kv_merge_node *node = &m->nodes[at];
        uint64_t other = node->rank;
        bool loses = other != rank ? other < rank : kv_merge_before(m, node->source, source);
        if (loses) {
            struct kv_merge_node winner = *node;
            *node = (struct kv_merge_node){rank, source};
            rank = winner.rank;
            source = winner.source;
            least_loser = 0;
        } else if (other < least_loser) {
            least_loser = other;
        }
    }
    ASSERT(m->count > 1 || source == 0);
    m->challenger_rank = least_loser;
    return kv_merge_settle(m, source);
}

strata_rc kv_merge_seek(struct kv_merge *m, struct slice key, bool backward)
{
    m->backward = backward;
    m->source = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        strata_rc rc = kv_cursor_seek(m->cursors[i], key, backward);
        if (rc < 0) {
            return kv_merge_end(m, rc);
        }
        ASSERT((rc == STRATA_OK) == kv_cursor_valid(m->cursors[i]));
    }
    if (m->count == 0) {
        return kv_merge_end(m, STRATA_END);
    }
    return kv_merge_build(m);
}

strata_rc kv_merge_next_slow(struct kv_merge *m)
{
    if (m->entry == NULL) {
        return STRATA_END;
    }
    strata_rc rc = kv_cursor_next(m->cursors[m->source]);
    if (rc < 0) {
        return kv_merge_end(m, rc);
    }
    return kv_merge_replay(m);
}

const struct kv_entry *kv_merge_runner_up(const struct kv_merge *m)
{
    ASSERT(m->entry != NULL && m->source < m->count);
    const struct kv_entry *best = NULL;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct kv_cursor *c = m->cursors[i];
        if (i == m->source || !kv_cursor_valid(c)) {
            continue;
        }
        if (best == NULL || (slice_compare(kv_key(c->at), kv_key(best)) < 0) != m->backward) {
            best = c->at;
        }
    }
    return best;
}

// The first entry of the window at or past `key`, by halving; `end` when there is none.
static const struct kv_entry *kv_merge_window_find(const struct kv_merge *m,
                                                   const struct kv_cursor *c, struct slice key)
{
    const struct kv_entry *low = c->at;
    size_t left = (size_t)(c->end - c->at);
    while (left > 0) {
        const struct kv_entry *middle = low + left / 2;
        bool behind = (slice_compare(kv_key(middle), key) < 0) != m->backward;
        if (behind) {
            low = middle + 1;
            left -= left / 2 + 1;
        } else {
            left /= 2;
        }
    }
    return low;
}

strata_rc kv_merge_skip_source(struct kv_merge *m, struct slice key)
{
    ASSERT(m->entry != NULL && key.data != NULL);
    struct kv_cursor *c = m->cursors[m->source];
    const struct kv_entry *found = kv_merge_window_find(m, c, key);
    if (found < c->end) {
        c->at = found;
        return kv_merge_replay(m);
    }
    strata_rc rc = kv_cursor_seek(c, key, m->backward);
    if (rc < 0) {
        return kv_merge_end(m, rc);
    }
    return kv_merge_replay(m);
}
