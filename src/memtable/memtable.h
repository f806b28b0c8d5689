// The write buffer of one keyspace: every version written since the last seal, readable at any
// commit.
//
// Thread rule: one writer at a time (the commit lock), any number of readers without locks or
// shared counters. Writers call in ascending order of commits. Readers see a version after the
// writer has published its commit (a release store outside of this module), so a reader that asks
// at a published commit sees whole commits only. A memtable is freed only when no reader can hold
// it.
#ifndef MEMTABLE_MEMTABLE_H
#define MEMTABLE_MEMTABLE_H

#include "kv/cursor.h"
#include "kv/range_dels.h"

struct memtable;
struct memtable_pool; // memtable/memtable_pool.h

// `pool` (may be NULL) outlives the memtable, which takes its memory from there and gives it back.
strata_rc memtable_new(struct memtable_pool *pool,
                       struct memtable **memtable_out) STRATA_MUST_CHECK;
void memtable_free(struct memtable *m); // NULL is ignored

// Makes room, so that the next `count` calls of memtable_add and memtable_delete_range, with keys
// and values of `bytes` in all, cannot fail. Nothing is visible yet.
strata_rc memtable_reserve(struct memtable *m, size_t count, size_t bytes) STRATA_MUST_CHECK;
// Adds a point (kind, key, value, commit, expiry of `e`; bytes are copied). A key is added at most
// once a commit.
void memtable_add(struct memtable *m, const struct kv_entry *e, uint64_t hash);
void memtable_delete_range(struct memtable *m, struct slice begin, struct slice end,
                           uint64_t commit);

// Asks for a lookup: sets `skipped` when the memtable holds something for the key newer than
// lookup->at; when it has a point or a covering range delete at or before it, fills entry, sets
// `found` and returns true.
bool memtable_get(const struct memtable *m, struct kv_lookup *lookup);
// Brings the memory that memtable_get will touch first closer.
void memtable_prefetch(const struct memtable *m, uint64_t hash);

// A cursor over every point version at or before commit `at`; later ones may appear as well, the
// consumer passes over them. The memtable outlives it. Entries added after the open may be missing
// unless their commit was published before it.
strata_rc memtable_cursor_open(struct memtable *m, uint64_t at,
                               struct kv_cursor **cursor_out) STRATA_MUST_CHECK;
// The range deletes at this moment, with every commit published before the call. The object lives
// as long as the memtable. NULL: none. STRATA_NO_MEMORY when it cannot be built.
strata_rc memtable_range_dels(const struct memtable *m,
                              const struct range_dels **dels_out) STRATA_MUST_CHECK;

size_t memtable_bytes(const struct memtable *m);   // heap bytes held, to charge the budget
uint64_t memtable_count(const struct memtable *m); // points and range deletes; any thread
bool memtable_is_empty(const struct memtable *m);

// Walks the structure and ASSERTs its invariants: order, heads, chains. For tests and check.
strata_rc memtable_check(const struct memtable *m) STRATA_MUST_CHECK;

#endif
