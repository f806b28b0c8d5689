// What a reader that outlives a call sits on: a registered commit, and a view that is pinned while
// it has one. Background work takes the view of a reader that is in no call (db_reseat_idle), and
// with it files that left the catalog; the reader takes a new one at its next call that needs it.
//
// What stays without the view: the cursors with their windows, whose bytes lie in pinned blocks of
// the cache, in memory of the cursors, or in memtables, which are held. So what an iterator shows
// stays valid, and moving within a window needs no view and does not enter the seat. A cursor
// without its view may only be closed.
//
// Thread rule: seat_enter to seat_leave is one call of the reader. Between them nobody takes the
// view; `view` and `held` are touched only there, and by the taker.
#ifndef DB_SEAT_H
#define DB_SEAT_H

#include "db/db.h"

struct seat {
    strata_db *db;
    struct registration registration;
    _Atomic uint32_t busy;                      // 1: in a call, or the taker is at it
    struct read_at at;                          // the commit is registered
    struct view *view;                          // NULL: it was taken
    struct generation *held[DB_SEALED_MAX + 2]; // instead of the view's
    uint32_t held_count;
};

// Registers the commit of `at`, pins a view and enters. When it fails there is nothing to close.
// STRATA_INVALID when the keyspace was dropped.
strata_rc seat_open(strata_db *db, const struct read_at *at, struct seat *s) STRATA_MUST_CHECK;
// After the cursors.
void seat_close(struct seat *s);
// A new view in the place of one that was taken; the old cursors are closed. Entered.
strata_rc seat_again(struct seat *s) STRATA_MUST_CHECK;
void seat_wait(struct seat *s); // of seat_enter

static inline bool seat_try_enter(struct seat *s)
{
    uint32_t free_seat = 0;
    // Acquire: pairs with the release in seat_leave(), of the reader or of the taker.
    return atomic_compare_exchange_strong_explicit(&s->busy, &free_seat, 1, memory_order_acquire,
                                                   memory_order_relaxed);
}

static inline void seat_enter(struct seat *s)
{
    if (!seat_try_enter(s)) {
        seat_wait(s);
    }
}

static inline void seat_leave(struct seat *s)
{
    // Release: pairs with the acquire in seat_try_enter().
    atomic_store_explicit(&s->busy, 0, memory_order_release);
}

#endif
