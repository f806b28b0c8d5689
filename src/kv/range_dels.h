// The range deletes of one source (a memtable at a moment, or a table), fragmented: the key space
// is cut at every begin and end, so that fragments do not overlap, and each keeps the whole stack
// of the commits that cover it, newest first (architecture, section 5: the whole stack is kept).
//
// Immutable once built; any number of threads may read one.
#ifndef KV_RANGE_DELS_H
#define KV_RANGE_DELS_H

#include "kv/entry.h"
#include "strata.h"

struct range_fragment {
    struct slice begin;      // inclusive
    struct slice end;        // exclusive
    const uint64_t *commits; // newest first, `count` of them, all different
    uint32_t count;
};

struct range_dels; // opaque: one allocation that owns its bytes

struct range_del { // one range delete as it was written
    struct slice begin, end;
    uint64_t commit;
};

// Fragments any list in any order (bytes are copied; begin < end in each). An empty list gives an
// object with no fragments.
strata_rc range_dels_build(const struct range_del *list, size_t count,
                           struct range_dels **dels_out) STRATA_MUST_CHECK;
void range_dels_free(struct range_dels *d); // NULL is ignored

// NULL counts as empty in all of these.
size_t range_dels_count(const struct range_dels *d); // fragments
const struct range_fragment *range_dels_at(const struct range_dels *d, size_t index);
// Index of the first fragment with end > key: it covers the key, or lies wholly behind it. Equal to
// the count when there is none.
size_t range_dels_find(const struct range_dels *d, struct slice key);
// The fragment that covers the key, or NULL.
const struct range_fragment *range_dels_cover(const struct range_dels *d, struct slice key);
// Is there any fragment that overlaps [lower, upper)? upper.data NULL: unbounded.
bool range_dels_overlap(const struct range_dels *d, struct slice lower, struct slice upper);
// Heap bytes held.
size_t range_dels_bytes(const struct range_dels *d);

// The newest commit <= at in the fragment, 0 when none; *newer_out is set to true (and never to
// false) when the fragment has a commit > at.
uint64_t range_fragment_newest(const struct range_fragment *f, uint64_t at, bool *newer_out);

#endif
