#include "memtable/memtable_ranges.h"

#include "base/alloc.h"
#include "base/assert.h"

#define RANGES_OBJECT_LEAST 16u
// A new object is merged with those below it that are at most this many times as large.
#define RANGES_FACTOR 4u

void memtable_ranges_init(struct memtable_ranges *r)
{
    atomic_init(&r->newest, NULL);
    atomic_init(&r->top, NULL);
    r->made = NULL;
    atomic_init(&r->bytes, 0);
    os_mutex_init(&r->mu.lock);
    r->mu.whole = NULL;
}

static void memtable_range_objects_free(struct memtable_range_object *o)
{
    while (o != NULL) {
        struct memtable_range_object *before = o->made_before;
        range_dels_free(o->dels);
        free(o);
        o = before;
    }
}

void memtable_ranges_release(struct memtable_ranges *r)
{
    memtable_range_objects_free(r->made);
    memtable_range_objects_free(r->mu.whole);
    os_mutex_release(&r->mu.lock);
}

// The object of `newest` and what is older, but for the `first` oldest.
static strata_rc memtable_ranges_build(struct memtable_ranges *r,
                                       const struct memtable_range *newest, uint64_t first,
                                       struct memtable_range_object **object_out)
{
    ASSERT(newest->count > first);
    struct memtable_range_object *o = alloc_zeroed(1, sizeof *o);
    struct range_del *list = alloc_array(newest->count - first, sizeof *list);
    strata_rc rc;
    if (o == NULL || list == NULL) {
        rc = alloc_failed("range deletes of a memtable", newest->count * sizeof *list);
        goto done;
    }
    size_t count = 0;
    for (const struct memtable_range *range = newest; range != NULL && range->count > first;
         range = range->older) {
        list[count++] = range->del;
    }
    ASSERT(count == newest->count - first);
    rc = range_dels_build(list, count, &o->dels);
    if (rc == STRATA_OK) {
        o->first = first;
        o->count = newest->count;
        atomic_fetch_add_explicit(&r->bytes, sizeof *o + range_dels_bytes(o->dels),
                                  memory_order_relaxed);
        *object_out = o;
        o = NULL;
    }
done:
    free(o);
    free(list);
    return rc;
}

void memtable_ranges_add(struct memtable_ranges *r, struct memtable_range *range)
{
    ASSERT(slice_compare(range->del.begin, range->del.end) < 0);
    range->older = atomic_load_explicit(&r->newest, memory_order_relaxed);
    range->count = range->older == NULL ? 1 : range->older->count + 1;
    // Pairs with the acquires of lookups and builders.
    atomic_store_explicit(&r->newest, range, memory_order_release);
    const struct memtable_range_object *below = atomic_load_explicit(&r->top, memory_order_relaxed);
    uint64_t first = below == NULL ? 0 : below->count;
    if (range->count - first < RANGES_OBJECT_LEAST) {
        return;
    }
    while (below != NULL && below->count - below->first <= RANGES_FACTOR * (range->count - first)) {
        first = below->first;
        below = below->below;
    }
    struct memtable_range_object *built;
    // Without memory for an object, lookups walk a longer list.
    if (memtable_ranges_build(r, range, first, &built) == STRATA_OK) {
        built->below = below;
        built->made_before = r->made;
        r->made = built;
        // Pairs with the acquires of lookups and builders.
        atomic_store_explicit(&r->top, built, memory_order_release);
    }
}

uint64_t memtable_ranges_newest(const struct memtable_ranges *r, struct slice key, uint64_t at,
                                bool *newer_out)
{
    // The objects first: what they lack is then in the list.
    const struct memtable_range_object *o = atomic_load_explicit(&r->top, memory_order_acquire);
    const struct memtable_range *range = atomic_load_explicit(&r->newest, memory_order_acquire);
    uint64_t based = o == NULL ? 0 : o->count;
    // From the newest to the oldest: commits ascend along the list, so the first that is not
    // newer than `at` is the answer, and nothing behind it is newer than `at` either.
    for (; range != NULL && range->count > based; range = range->older) {
        if (slice_compare(key, range->del.begin) >= 0 && slice_compare(key, range->del.end) < 0) {
            if (range->del.commit <= at) {
                return range->del.commit;
            }
            *newer_out = true;
        }
    }
    for (; o != NULL; o = o->below) {
        const struct range_fragment *f = range_dels_cover(o->dels, key);
        uint64_t newest = f == NULL ? 0 : range_fragment_newest(f, at, newer_out);
        if (newest > 0) {
            return newest;
        }
    }
    return 0;
}

strata_rc memtable_ranges_whole(struct memtable_ranges *r, const struct range_dels **dels_out)
{
    *dels_out = NULL;
    const struct memtable_range_object *top = atomic_load_explicit(&r->top, memory_order_acquire);
    const struct memtable_range *newest = atomic_load_explicit(&r->newest, memory_order_acquire);
    if (newest == NULL) {
        return STRATA_OK;
    }
    if (top != NULL && top->first == 0 && top->count == newest->count) {
        *dels_out = top->dels;
        return STRATA_OK;
    }
    strata_rc rc = STRATA_OK;
    os_mutex_lock(&r->mu.lock);
    if (r->mu.whole == NULL || r->mu.whole->count < newest->count) {
        struct memtable_range_object *built = NULL;
        rc = memtable_ranges_build(r, newest, 0, &built);
        if (rc == STRATA_OK) {
            built->made_before = r->mu.whole;
            r->mu.whole = built;
        }
    }
    if (rc == STRATA_OK) {
        *dels_out = r->mu.whole->dels;
    }
    os_mutex_unlock(&r->mu.lock);
    return rc;
}
