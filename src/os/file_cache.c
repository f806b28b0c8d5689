// A ring of open files, swept by a clock hand.
//
// Invariants
//   1. `state` is one word: the leases, and CACHED_OPEN. Without CACHED_OPEN it is 0.
//   2. CACHED_OPEN is set and cleared, and ring and `file` change, only under the mutex. A file is
//      in the ring exactly when CACHED_OPEN is set.
//   3. The clock hand closes by exchanging exactly CACHED_OPEN (no leases) for 0, so of a lease and
//      an eviction that race one fails. A lease of an open file takes no lock.
//   4. `open` counts the ring and the opens under way, so that opens that run at once do not
//      together pass the limit.
//
// No file is opened or closed under the mutex.
#include "os/file_cache.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "os/thread.h"

#include <errno.h>

#define CACHED_OPEN 0x80000000u
#define CACHED_LEASES 0x7fffffffu
#define EVICT_BATCH 8u // closed after one turn under the mutex

struct os_file_cache {
    struct os_dir *dir;
    uint64_t limit;
    _Atomic uint64_t open; // changes under the mutex
    _Atomic uint64_t opens, evictions;
    struct {
        struct os_mutex lock;
        struct os_cached_file *hand; // next to be looked at; NULL: the ring is empty
        uint64_t files;              // in the ring
    } mu;
};

strata_rc os_file_cache_new(struct os_dir *dir, size_t limit, struct os_file_cache **cache_out)
{
    ASSERT(limit > 0);
    struct os_file_cache *c = alloc_zeroed(1, sizeof *c);
    if (c == NULL) {
        return alloc_failed("the cache of descriptors", sizeof *c);
    }
    c->dir = dir;
    c->limit = limit;
    os_mutex_init(&c->mu.lock);
    *cache_out = c;
    return STRATA_OK;
}

void os_file_cache_free(struct os_file_cache *c)
{
    if (c == NULL) {
        return;
    }
    ASSERT(c->mu.hand == NULL && c->mu.files == 0);
    ASSERT(atomic_load_explicit(&c->open, memory_order_relaxed) == 0);
    os_mutex_release(&c->mu.lock);
    free(c);
}

void os_cached_file_init(struct os_cached_file *f, const char *name, uint64_t bytes, unsigned flags)
{
    *f = (struct os_cached_file){.name = name, .bytes = bytes, .flags = flags};
    atomic_init(&f->state, 0);
    atomic_init(&f->touched, false);
}

// ---- the ring

static void file_ring_insert_locked(struct os_file_cache *c, struct os_cached_file *f)
{
    struct os_cached_file *hand = c->mu.hand;
    if (hand == NULL) {
        f->ring_next = f;
        f->ring_prev = f;
        c->mu.hand = f;
    } else { // just behind the hand: looked at last
        f->ring_next = hand;
        f->ring_prev = hand->ring_prev;
        hand->ring_prev->ring_next = f;
        hand->ring_prev = f;
    }
    c->mu.files++;
}

static void file_ring_remove_locked(struct os_file_cache *c, struct os_cached_file *f)
{
    ASSERT(c->mu.files > 0);
    if (f->ring_next == f) {
        c->mu.hand = NULL;
    } else {
        f->ring_next->ring_prev = f->ring_prev;
        f->ring_prev->ring_next = f->ring_next;
        if (c->mu.hand == f) {
            c->mu.hand = f->ring_next;
        }
    }
    c->mu.files--;
}

// ---- closing

// Takes files that nobody leases out of the ring while more than `limit` are open, at most twice
// around: the first round clears marks. Their descriptors are the caller's to close.
static uint32_t evict_files_locked(struct os_file_cache *c, uint64_t limit,
                                   struct os_file *closing[EVICT_BATCH])
{
    uint32_t count = 0;
    uint64_t steps = 2 * c->mu.files + 1;
    while (count < EVICT_BATCH && c->mu.hand != NULL && steps-- > 0 &&
           atomic_load_explicit(&c->open, memory_order_relaxed) > limit) {
        struct os_cached_file *f = c->mu.hand;
        uint32_t unleased = CACHED_OPEN;
        // The exchange acquires what os_cached_file_return released: the last reads are done.
        if (atomic_exchange_explicit(&f->touched, false, memory_order_relaxed) ||
            !atomic_compare_exchange_strong(&f->state, &unleased, 0)) {
            c->mu.hand = f->ring_next;
            continue;
        }
        file_ring_remove_locked(c, f);
        closing[count++] = f->file;
        f->file = NULL;
        atomic_fetch_sub(&c->open, 1);
        atomic_fetch_add_explicit(&c->evictions, 1, memory_order_relaxed);
    }
    return count;
}

// Closes until no more than `limit` are open or all are leased. False when none was closed.
static bool shrink_files(struct os_file_cache *c, uint64_t limit)
{
    struct os_file *closing[EVICT_BATCH];
    uint32_t count;
    bool any = false;
    do {
        os_mutex_lock(&c->mu.lock);
        count = evict_files_locked(c, limit, closing);
        os_mutex_unlock(&c->mu.lock);
        for (uint32_t i = 0; i < count; i++) {
            (void)os_file_close(closing[i]); // it was only read
            any = true;
        }
    } while (count == EVICT_BATCH);
    return any;
}

// ---- opening

static strata_rc open_checked(struct os_file_cache *c, const struct os_cached_file *f,
                              struct os_file **file_out)
{
    int error;
    strata_rc rc = os_file_open_errno(c->dir, f->name, f->flags, file_out, &error);
    if (error == EMFILE || error == ENFILE) {
        uint64_t open = atomic_load_explicit(&c->open, memory_order_relaxed);
        // Some more than one: others of the process are short of descriptors as well.
        if (shrink_files(c, open - 1 - open / 8)) {
            rc = os_file_open_errno(c->dir, f->name, f->flags, file_out, &error);
        }
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    uint64_t bytes;
    rc = os_file_size(*file_out, &bytes);
    if (rc == STRATA_OK && bytes != f->bytes) {
        rc = fail(STRATA_CORRUPT, "%s has %llu bytes, expected %llu", f->name,
                  (unsigned long long)bytes, (unsigned long long)f->bytes);
    }
    if (rc != STRATA_OK) {
        (void)os_file_close(*file_out);
        *file_out = NULL;
    }
    return rc;
}

// Puts the opened file in its place, leased once. If another thread was faster its descriptor is
// leased instead and this one is given back to be closed.
static struct os_file *attach_locked(struct os_file_cache *c, struct os_cached_file *f,
                                     struct os_file *file)
{
    if ((atomic_load_explicit(&f->state, memory_order_relaxed) & CACHED_OPEN) != 0) {
        // It cannot be evicted now (invariant 2).
        atomic_fetch_add(&f->state, 1);
        atomic_fetch_sub(&c->open, 1);
        return file;
    }
    f->file = file;
    atomic_store_explicit(&f->touched, true, memory_order_relaxed);
    file_ring_insert_locked(c, f);
    atomic_fetch_add_explicit(&c->opens, 1, memory_order_relaxed);
    // Pairs with the acquire in os_cached_file_lease.
    atomic_store_explicit(&f->state, CACHED_OPEN | 1, memory_order_release);
    return NULL;
}

static strata_rc lease_closed(struct os_file_cache *c, struct os_cached_file *f,
                              struct os_file **file_out)
{
    struct os_file *file = NULL;
    os_mutex_lock(&c->mu.lock);
    bool full = atomic_fetch_add(&c->open, 1) >= c->limit;
    os_mutex_unlock(&c->mu.lock);
    if (full) {
        (void)shrink_files(c, c->limit);
    }
    strata_rc rc = open_checked(c, f, &file);
    os_mutex_lock(&c->mu.lock);
    if (rc == STRATA_OK) {
        file = attach_locked(c, f, file);
        *file_out = f->file;
    } else {
        atomic_fetch_sub(&c->open, 1);
    }
    os_mutex_unlock(&c->mu.lock);
    if (rc == STRATA_OK) {
        (void)os_file_close(file);
    }
    return rc;
}

// ---- the interface

strata_rc os_cached_file_lease(struct os_file_cache *c, struct os_cached_file *f,
                               struct os_file **file_out)
{
    uint32_t state = atomic_load_explicit(&f->state, memory_order_relaxed);
    while ((state & CACHED_OPEN) != 0) {
        ASSERT((state & CACHED_LEASES) < CACHED_LEASES);
        // Acquire pairs with the release store in attach_locked.
        if (atomic_compare_exchange_weak_explicit(&f->state, &state, state + 1,
                                                  memory_order_acquire, memory_order_relaxed)) {
            atomic_store_explicit(&f->touched, true, memory_order_relaxed);
            *file_out = f->file;
            return STRATA_OK;
        }
    }
    return lease_closed(c, f, file_out);
}

void os_cached_file_return(struct os_file_cache *c, struct os_cached_file *f)
{
    // Both operations, and those on `open` and in the exchange of evict_files_locked, are
    // sequentially consistent: of a last return and an eviction that found the file leased, the
    // return comes later and sees that too many are open.
    uint32_t before = atomic_fetch_sub(&f->state, 1);
    ASSERT((before & CACHED_OPEN) != 0 && (before & CACHED_LEASES) > 0);
    if (before == (CACHED_OPEN | 1) && atomic_load(&c->open) > c->limit) {
        (void)shrink_files(c, c->limit);
    }
}

void os_cached_file_drop(struct os_file_cache *c, struct os_cached_file *f)
{
    struct os_file *file = NULL;
    os_mutex_lock(&c->mu.lock);
    uint32_t state = atomic_exchange(&f->state, 0);
    ASSERT((state & CACHED_LEASES) == 0);
    if ((state & CACHED_OPEN) != 0) {
        file_ring_remove_locked(c, f);
        file = f->file;
        f->file = NULL;
        atomic_fetch_sub(&c->open, 1);
    }
    os_mutex_unlock(&c->mu.lock);
    (void)os_file_close(file); // it was only read
}

void os_file_cache_stats(const struct os_file_cache *c, struct os_file_cache_stats *stats_out)
{
    *stats_out = (struct os_file_cache_stats){
        .limit = c->limit,
        .open = atomic_load_explicit(&c->open, memory_order_relaxed),
        .opens = atomic_load_explicit(&c->opens, memory_order_relaxed),
        .evictions = atomic_load_explicit(&c->evictions, memory_order_relaxed),
    };
}
