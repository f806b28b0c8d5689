// A cursor over one sorted source: a memtable, or a run of tables. Order: key ascending, newest
// first; backwards the exact reverse.
//
// A cursor hands out its entries through a window: an array of decoded entries in the order of
// movement, filled by one call for many entries. Moving inside the window is an increment, so the
// loops of scans and merges make one indirect call a window instead of one an entry.
//
// The bytes of the entries in the window live until the cursor's next call of seek or refill (so a
// consumer that must keep an entry across a refill copies it). Memtable bytes live as long as the
// memtable.
#ifndef KV_CURSOR_H
#define KV_CURSOR_H

#include "kv/entry.h"
#include "strata.h"

struct kv_cursor;

struct kv_cursor_ops {
    // Fills the window from the first entry with key >= `key` (forward; data NULL: from the first
    // entry), or from the last entry with key < `key` downwards (backward; data NULL: from the
    // last). Any number of times, either direction. STRATA_OK with a window that is not empty,
    // STRATA_END, or an error (the cursor is then at its end until the next seek).
    strata_rc (*seek)(struct kv_cursor *c, struct slice key, bool backward);
    // Fills the window with what follows it in the direction of the last seek.
    strata_rc (*refill)(struct kv_cursor *c);
    void (*close)(struct kv_cursor *c); // frees c
};

struct kv_cursor {
    const struct kv_cursor_ops *ops;
    const struct kv_entry *at;          // the current entry, when at < end
    const struct kv_entry *end;         // of the window
    const struct kv_entry *block_first; // the first entry of a block of a table, when the window
                                        // begins there (table/table.h: run_cursor_block); or NULL
    size_t head_skip; // leading bytes that all keys in play share: heads are taken after them. Set
                      // before the first seek; 0 is always right.
};

static inline bool kv_cursor_valid(const struct kv_cursor *c)
{
    return c->at < c->end;
}

static inline strata_rc kv_cursor_next(struct kv_cursor *c)
{
    if (__builtin_expect(++c->at < c->end, 1)) {
        return STRATA_OK;
    }
    return c->ops->refill(c);
}

static inline strata_rc kv_cursor_seek(struct kv_cursor *c, struct slice key, bool backward)
{
    return c->ops->seek(c, key, backward);
}

static inline void kv_cursor_close(struct kv_cursor *c)
{
    if (c != NULL) {
        c->ops->close(c);
    }
}

#endif
