// The rule of a merge, pure: what is kept in the live tree, what leaves it for history and with
// which end, what becomes a receipt, what is dropped (architecture, section 5). No I/O, no tables.
//
// A merge takes runs that are adjacent in age. For one key let E be the points and the covering
// range deletes of its inputs, newest first; at equal commits a point is newer than a range delete.
// last(k) says that no run older than the inputs may hold anything for k.
//
//   - The newest of E is a point: it is kept, but a delete with last(k) becomes a receipt.
//   - Every other point p: a delete with last(k) becomes a receipt; else p is ejected as the
//     interval [p.commit, commit of its next newer in E).
//   - Range deletes are all kept, whole stacks, except where last.
//   - In history: the end of a version is brought down to the begin of the next newer version that
//     is met, whatever that is, floors too; receipts stay as they are.
//
// The tests must see each of these planted faults fail (build with -DSTRATA_MUTANT=n):
//   1  superseded deletes are dropped
//   2  of a stack of range deletes only the newest is kept
//   3  last(k) does not look at the older table that was added first
//   4  an ejected version ends at the newest of E, not at its next newer
//   5  at equal commits a range delete counts as newer than a point
//   6  a range delete that an older run overlaps in part only is dropped whole
//   7  a delete is dropped although an older run may hold the key
//   8  a history merge leaves the ends as they are
#ifndef COMPACT_EJECT_H
#define COMPACT_EJECT_H

#include "base/buffer.h"
#include "kv/range_dels.h"

// ---- last(k): where older runs may hold something

struct eject_span { // [lower, upper); upper.data NULL: unbounded
    struct slice lower, upper;
};

// Zero-initialised is empty. Spans are borrowed bytes: they must outlive the object.
struct eject_older {
    struct eject_span *spans; // after the seal: ascending, disjoint
    size_t count, capacity;
};

strata_rc eject_older_add(struct eject_older *o, struct slice lower,
                          struct slice upper) STRATA_MUST_CHECK;
void eject_older_seal(struct eject_older *o); // after the last add, before the first question
void eject_older_release(struct eject_older *o);
// The first span with upper > key, or NULL. *at_inout is 0 at first; keys must ascend.
const struct eject_span *eject_older_find(const struct eject_older *o, struct slice key,
                                          size_t *at_inout);
// Does one span hold all keys from `first` to `last`, both included?
bool eject_older_covers(const struct eject_older *o, struct slice first, struct slice last,
                        size_t *at_inout);
bool eject_older_may_hold(const struct eject_older *o, struct slice key, size_t *at_inout);

// ---- the range deletes of all inputs together

struct eject_ranges {
    struct range_dels *dels;
    size_t cover_at;   // first fragment that ends behind the last key asked for
    size_t write_at;   // first fragment that is not written whole
    struct slice from; // its part from here on is not written; data NULL: all of it
    size_t older_at;
    struct buffer cut[2]; // where `from` lies after a cut; in turn, for a piece may begin there
    uint32_t cut_at;
};

// Fragments the list anew; its bytes are copied.
strata_rc eject_ranges_init(struct eject_ranges *r, const struct range_del *list,
                            size_t count) STRATA_MUST_CHECK;
void eject_ranges_release(struct eject_ranges *r);
// The fragment over the key, or NULL. Keys must ascend.
const struct range_fragment *eject_ranges_cover(struct eject_ranges *r, struct slice key);
// Does any fragment lie over a key from `first` to `last`, both included? As for the cover, `first`
// must ascend.
bool eject_ranges_touch(struct eject_ranges *r, struct slice first, struct slice last);
// The next piece to keep that begins before `limit` (data NULL: no limit), cut off there;
// STRATA_END when there is none. Pieces come in order; each is valid until the next call.
strata_rc eject_ranges_next(struct eject_ranges *r, const struct eject_older *older,
                            struct slice limit, struct range_fragment *piece_out) STRATA_MUST_CHECK;

// ---- the points of one key

enum eject_verdict {
    EJECT_KEEP,    // stays in live
    EJECT_HISTORY, // to history with the end given
    EJECT_RECEIPT, // to history with end == commit
    EJECT_DROP,
    EJECT_BAD // newer than what came before: the inputs are not what their trees say
};

struct eject_key {
    const struct range_fragment *cover; // over the key in the inputs; NULL: none
    uint32_t passed;                    // of its commits, newer than the points so far
    uint64_t newer;                     // commit of the oldest of E so far; 0: none
    uint64_t newest;                    // commit of the newest of E
};

static inline void eject_key_begin(struct eject_key *k, const struct range_fragment *cover)
{
    *k = (struct eject_key){.cover = cover};
}

// The points of the key in turn, newest first. `last` matters for deletes only.
enum eject_verdict eject_point(struct eject_key *k, const struct kv_entry *p, bool last,
                               uint64_t *end_out);

// ---- the versions of one key in history

struct eject_interval {
    bool any;
    uint64_t newer; // begin of the version before
};

// The versions of the key in turn, greatest begin first; brings e->end down. False: the version was
// there already and is left out.
bool eject_interval(struct eject_interval *k, struct kv_entry *e);

#endif
