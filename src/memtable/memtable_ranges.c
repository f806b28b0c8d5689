#include "memtable/memtable_ranges.h"

#include "base/alloc.h"
#include "base/assert.h"

// The base is rebuilt when more than this many range deletes, and a quarter of it, are not in it.
#define RANGES_TAIL_LEAST 16u

void memtable_ranges_init(struct memtable_ranges *r)
{
    atomic_init(&r->newest, NULL);
    atomic_init(&r->base, NULL);
    atomic_init(&r->bytes, 0);
    os_mutex_init(&r->mu.lock);
    r->mu.whole = NULL;
}

static void memtable_range_objects_free(struct memtable_range_object *o)
{
    while (o != NULL) {
        struct memtable_range_object *older = o->older;
        range_dels_free(o->dels);
        free(o);
        o = older;
    }
}

void memtable_ranges_release(struct memtable_ranges *r)
{
    memtable_range_objects_free(atomic_load_explicit(&r->base, memory_order_relaxed));
    memtable_range_objects_free(r->mu.whole);
    os_mutex_release(&r->mu.lock);
}

// The object of `newest` and all that are older.
static strata_rc memtable_ranges_build(struct memtable_ranges *r,
                                       const struct memtable_range *newest,
                                       struct memtable_range_object **object_out)
{
    struct memtable_range_object *o = alloc_zeroed(1, sizeof *o);
    struct range_del *list = alloc_array(newest->count, sizeof *list);
    strata_rc rc;
    if (o == NULL || list == NULL) {
        rc = alloc_failed("range deletes of a memtable", newest->count * sizeof *list);
        goto done;
    }
    size_t count = 0;
    for (const struct memtable_range *range = newest; range != NULL; range = range->older) {
        ASSERT(count < newest->count);
        list[count++] = range->del;
    }
    rc = range_dels_build(list, count, &o->dels);
    if (rc == STRATA_OK) {
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
    struct memtable_range_object *base = atomic_load_explicit(&r->base, memory_order_relaxed);
    uint64_t based = base == NULL ? 0 : base->count;
    if (range->count - based <= RANGES_TAIL_LEAST + based / 4) {
        return;
    }
    struct memtable_range_object *built;
    // Without memory for a better base, lookups walk a longer list.
    if (memtable_ranges_build(r, range, &built) == STRATA_OK) {
        built->older = base;
        // Pairs with the acquires of lookups and builders.
        atomic_store_explicit(&r->base, built, memory_order_release);
    }
}

uint64_t memtable_ranges_newest(const struct memtable_ranges *r, struct slice key, uint64_t at,
                                bool *newer_out)
{
    // The base first: what it lacks is then in the list.
    const struct memtable_range_object *base = atomic_load_explicit(&r->base, memory_order_acquire);
    const struct memtable_range *range = atomic_load_explicit(&r->newest, memory_order_acquire);
    uint64_t based = 0;
    uint64_t newest = 0;
    if (base != NULL) {
        based = base->count;
        const struct range_fragment *f = range_dels_cover(base->dels, key);
        if (f != NULL) {
            newest = range_fragment_newest(f, at, newer_out);
        }
    }
    for (; range != NULL && range->count > based; range = range->older) {
        if (range->del.commit <= newest || slice_compare(key, range->del.begin) < 0 ||
            slice_compare(key, range->del.end) >= 0) {
            continue;
        }
        if (range->del.commit > at) {
            *newer_out = true;
        } else {
            newest = range->del.commit;
        }
    }
    return newest;
}

strata_rc memtable_ranges_whole(struct memtable_ranges *r, const struct range_dels **dels_out)
{
    *dels_out = NULL;
    const struct memtable_range_object *base = atomic_load_explicit(&r->base, memory_order_acquire);
    const struct memtable_range *newest = atomic_load_explicit(&r->newest, memory_order_acquire);
    if (newest == NULL) {
        return STRATA_OK;
    }
    if (base != NULL && base->count >= newest->count) {
        *dels_out = base->dels;
        return STRATA_OK;
    }
    strata_rc rc = STRATA_OK;
    os_mutex_lock(&r->mu.lock);
    if (r->mu.whole == NULL || r->mu.whole->count < newest->count) {
        struct memtable_range_object *built = NULL;
        rc = memtable_ranges_build(r, newest, &built);
        if (rc == STRATA_OK) {
            built->older = r->mu.whole;
            r->mu.whole = built;
        }
    }
    if (rc == STRATA_OK) {
        *dels_out = r->mu.whole->dels;
    }
    os_mutex_unlock(&r->mu.lock);
    return rc;
}
