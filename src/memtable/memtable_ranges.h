// The range deletes of a memtable: a list that the writer extends, with fragmented objects
// (kv/range_dels.h) built from it.
//
// Lookups ask a chain of objects, each of which holds a part of the list, and walk the few range
// deletes that are newer. The writer makes an object of every 16 and merges it with those that are
// not much larger, so that the chain is short. Cursors want one whole object: it is built when one
// asks, and again only when range deletes were added since. All objects live as long as the
// memtable.
//
// Thread rule: one writer calls memtable_ranges_add; lookups take no lock; whole objects are built
// under the lock inside.
#ifndef MEMTABLE_MEMTABLE_RANGES_H
#define MEMTABLE_MEMTABLE_RANGES_H

#include "kv/range_dels.h"
#include "os/thread.h"

#include <stdatomic.h>

// Lies in the memtable's memory, as do its bytes.
struct memtable_range {
    const struct memtable_range *older;
    struct range_del del;
    uint64_t count; // of range deletes up to this one
};

struct memtable_range_object {
    struct memtable_range_object *made_before; // to free all
    const struct memtable_range_object *below; // holds what is older, or NULL
    struct range_dels *dels;
    uint64_t first; // range deletes that are older than those in it
    uint64_t count; // range deletes up to the newest in it
};

struct memtable_ranges {
    // Stored with release by memtable_ranges_add, loaded with acquire by lookups and builders.
    const struct memtable_range *_Atomic newest;
    // Top of the chain. Stored with release by memtable_ranges_add, loaded with acquire by lookups
    // and builders.
    const struct memtable_range_object *_Atomic top;
    struct memtable_range_object *made; // the writer's: all objects it has made
    _Atomic size_t bytes;               // of the objects
    struct {
        struct os_mutex lock;
        struct memtable_range_object *whole; // the newest; older ones in made_before
    } mu;
};

void memtable_ranges_init(struct memtable_ranges *r);
void memtable_ranges_release(struct memtable_ranges *r);

// Adds `range`, whose `del` is filled. Cannot fail.
void memtable_ranges_add(struct memtable_ranges *r, struct memtable_range *range);

// The newest commit <= at whose range delete covers the key, 0 when none; *newer_out is set to true
// when one with a commit > at covers it. There are range deletes.
uint64_t memtable_ranges_newest(const struct memtable_ranges *r, struct slice key, uint64_t at,
                                bool *newer_out);

// All range deletes added before the call; NULL when there are none.
strata_rc memtable_ranges_whole(struct memtable_ranges *r,
                                const struct range_dels **dels_out) STRATA_MUST_CHECK;

static inline uint64_t memtable_ranges_count(const struct memtable_ranges *r)
{
    const struct memtable_range *newest = atomic_load_explicit(&r->newest, memory_order_acquire);
    return newest == NULL ? 0 : newest->count;
}

#endif
