// The block cache: one ring of attached blocks, swept by a clock hand.
//
// The life of a block
//   new       pinned once, known to its loader only.
//   attached  its slot points to it and it is in the ring. Readers find it by cache_peek (for the
//             length of their epoch) or cache_pin.
//   evicted   CACHE_EVICTED is set in `state`, the slot is empty, the ring has forgotten it.
//   Readers
//             that peeked before may still read it; nobody can pin it any more.
//   freed     through the epochs, after the last pin is gone.
//
// Invariants
//   1. A slot that is not empty points to a block of the ring with that slot and CACHE_EVICTED
//      clear. Slots and ring change only under the mutex.
//   2. `state` is one word: the pins, and CACHE_EVICTED. The clock hand evicts by exchanging
//   exactly
//      0 (no pins) for CACHE_EVICTED, so of a pin and an eviction that race one fails.
//   3. The block is freed by exactly one thread: the evictor when there were no pins, else the
//   unpin
//      that takes the last pin of an evicted block.
//   4. The charge to the budget is given back at eviction; until the epoch of the last reader ends
//      the bytes are in the heap uncounted. Epochs are short.
//
// Nothing is retired under the mutex: the epochs may run other modules' free functions, which may
// call the cache.
#include "cache/cache.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "os/thread.h"

#include <string.h>

#define CACHE_EVICTED 0x80000000u
#define CACHE_PINS 0x7fffffffu

struct cache {
    struct os_memory *memory;
    struct {
        struct os_mutex lock;
        struct cache_block *hand; // next to be looked at; NULL: the ring is empty
        uint64_t blocks;
    } mu;
    _Atomic uint64_t blocks, bytes, evictions, bypasses; // for cache_stats
};

static size_t block_charge(const struct cache_block *b)
{
    return (size_t)b->bytes + CACHE_BLOCK_HEAD_BYTES + CACHE_PADDING;
}

strata_rc cache_new(struct os_memory *memory, struct cache **cache_out)
{
    struct cache *c = alloc_zeroed(1, sizeof *c);
    if (c == NULL) {
        return alloc_failed("the block cache", sizeof *c);
    }
    c->memory = memory;
    os_mutex_init(&c->mu.lock);
    *cache_out = c;
    return STRATA_OK;
}

void cache_free(struct cache *c)
{
    if (c == NULL) {
        return;
    }
    ASSERT(c->mu.hand == NULL);
    os_mutex_release(&c->mu.lock);
    free(c);
}

// ---- the ring

static void ring_insert_locked(struct cache *c, struct cache_block *b)
{
    struct cache_block *hand = c->mu.hand;
    if (hand == NULL) {
        b->ring_next = b;
        b->ring_prev = b;
        c->mu.hand = b;
    } else { // just behind the hand: looked at last
        b->ring_next = hand;
        b->ring_prev = hand->ring_prev;
        hand->ring_prev->ring_next = b;
        hand->ring_prev = b;
    }
    c->mu.blocks++;
    atomic_fetch_add_explicit(&c->blocks, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->bytes, b->bytes, memory_order_relaxed);
}

static void ring_remove_locked(struct cache *c, struct cache_block *b)
{
    ASSERT(c->mu.blocks > 0);
    if (b->ring_next == b) {
        c->mu.hand = NULL;
    } else {
        b->ring_next->ring_prev = b->ring_prev;
        b->ring_prev->ring_next = b->ring_next;
        if (c->mu.hand == b) {
            c->mu.hand = b->ring_next;
        }
    }
    c->mu.blocks--;
    atomic_fetch_sub_explicit(&c->blocks, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&c->bytes, b->bytes, memory_order_relaxed);
}

// ---- the end of a block

static void free_retired(struct os_retired *self)
{
    struct cache_block *b =
        (struct cache_block *)(void *)((char *)self - offsetof(struct cache_block, retired));
    free(b);
}

static void retire_list(struct cache_block *list)
{
    while (list != NULL) {
        struct cache_block *next = list->ring_next;
        os_epoch_retire(&list->retired, free_retired);
        list = next;
    }
}

// Sweeps until the budget has `bytes` free, at most twice around: the first round clears marks.
// Returns the list of blocks to retire, linked by ring_next.
static struct cache_block *evict_locked(struct cache *c, size_t bytes)
{
    struct cache_block *victims = NULL;
    uint64_t steps = 2 * c->mu.blocks + 1;
    while (c->mu.hand != NULL && steps-- > 0 && os_memory_free_bytes(c->memory) < bytes) {
        struct cache_block *b = c->mu.hand;
        if (atomic_load_explicit(&b->touched, memory_order_relaxed) != 0) {
            atomic_store_explicit(&b->touched, 0, memory_order_relaxed);
            c->mu.hand = b->ring_next;
            continue;
        }
        uint32_t unpinned = 0;
        // Acquire pairs with the release in cache_unpin: what pinners read, they have read.
        if (!atomic_compare_exchange_strong_explicit(&b->state, &unpinned, CACHE_EVICTED,
                                                     memory_order_acq_rel, memory_order_relaxed)) {
            c->mu.hand = b->ring_next;
            continue;
        }
        // Pairs with the acquire loads in cache_peek and cache_pin.
        atomic_store_explicit(b->slot, NULL, memory_order_release);
        ring_remove_locked(c, b);
        os_memory_refund(c->memory, OS_MEMORY_BLOCKS, block_charge(b));
        atomic_fetch_add_explicit(&c->evictions, 1, memory_order_relaxed);
        b->ring_next = victims;
        victims = b;
    }
    return victims;
}

void cache_shrink(struct cache *c, size_t bytes)
{
    os_mutex_lock(&c->mu.lock);
    struct cache_block *victims = evict_locked(c, bytes);
    os_mutex_unlock(&c->mu.lock);
    retire_list(victims);
}

// ---- the interface

struct cache_block *cache_block_new(struct cache *c, uint64_t bytes)
{
    if (bytes > SIZE_MAX - CACHE_BLOCK_HEAD_BYTES - CACHE_PADDING) {
        return NULL;
    }
    size_t total = (size_t)bytes + CACHE_BLOCK_HEAD_BYTES + CACHE_PADDING;
    bool bypass = false;
    if (os_memory_free_bytes(c->memory) < total) {
        cache_shrink(c, total);
        bypass = os_memory_free_bytes(c->memory) < total;
    }
    struct cache_block *b = alloc_aligned(64, total);
    if (b == NULL) {
        return NULL;
    }
    memset(b, 0, CACHE_BLOCK_HEAD_BYTES);
    b->data = cache_block_data(b);
    b->bytes = bytes;
    b->bypass = bypass;
    memset(b->data + bytes, 0, CACHE_PADDING);
    atomic_init(&b->state, 1);
    atomic_init(&b->touched, 0);
    os_memory_charge(c->memory, OS_MEMORY_BLOCKS, total);
    if (bypass) {
        atomic_fetch_add_explicit(&c->bypasses, 1, memory_order_relaxed);
    }
    return b;
}

// Frees a block that never was in a slot: no epoch can know it.
static void free_private(struct cache *c, struct cache_block *b)
{
    os_memory_refund(c->memory, OS_MEMORY_BLOCKS, block_charge(b));
    free(b);
}

struct cache_block *cache_attach(struct cache *c, cache_slot *slot, struct cache_block *b,
                                 bool keep)
{
    ASSERT(atomic_load_explicit(&b->state, memory_order_relaxed) == 1 && b->slot == NULL);
    if (!keep || b->bypass) {
        atomic_store_explicit(&b->state, 1 | CACHE_EVICTED, memory_order_relaxed);
        return b;
    }
    os_mutex_lock(&c->mu.lock);
    struct cache_block *other = atomic_load_explicit(slot, memory_order_relaxed);
    if (other == NULL) {
        b->slot = slot;
        ring_insert_locked(c, b);
        // Pairs with the acquire loads in cache_peek and cache_pin.
        atomic_store_explicit(slot, b, memory_order_release);
    } else {
        // It cannot be evicted now (invariant 1): the pin succeeds.
        uint32_t before = atomic_fetch_add_explicit(&other->state, 1, memory_order_acquire);
        ASSERT((before & CACHE_EVICTED) == 0);
        (void)before;
    }
    os_mutex_unlock(&c->mu.lock);
    if (other != NULL) {
        free_private(c, b);
        return other;
    }
    return b;
}

struct cache_block *cache_pin(cache_slot *slot)
{
    struct cache_block *b = cache_peek(slot);
    if (b == NULL) {
        return NULL;
    }
    uint32_t state = atomic_load_explicit(&b->state, memory_order_relaxed);
    do {
        if ((state & CACHE_EVICTED) != 0) {
            return NULL;
        }
        ASSERT((state & CACHE_PINS) < CACHE_PINS);
    } while (!atomic_compare_exchange_weak_explicit(&b->state, &state, state + 1,
                                                    memory_order_acquire, memory_order_relaxed));
    return b;
}

void cache_unpin(struct cache *c, struct cache_block *b)
{
    // Release pairs with the acquire of whoever frees: the exchange in evict_locked, the operation
    // in cache_drop, or this one in another thread.
    uint32_t before = atomic_fetch_sub_explicit(&b->state, 1, memory_order_acq_rel);
    ASSERT((before & CACHE_PINS) > 0);
    if (before != (1 | CACHE_EVICTED)) {
        return;
    }
    if (b->slot == NULL) {
        free_private(c, b);
    } else {
        os_memory_refund(c->memory, OS_MEMORY_BLOCKS, block_charge(b));
        os_epoch_retire(&b->retired, free_retired);
    }
}

void cache_drop(struct cache *c, cache_slot *slot)
{
    if (atomic_load_explicit(slot, memory_order_relaxed) == NULL) {
        return;
    }
    os_mutex_lock(&c->mu.lock);
    struct cache_block *b = atomic_load_explicit(slot, memory_order_relaxed);
    bool unpinned = false;
    if (b != NULL) {
        atomic_store_explicit(slot, NULL, memory_order_release);
        ring_remove_locked(c, b);
        // From here the last unpin frees it, in any thread, when there are pins.
        uint32_t before = atomic_fetch_or_explicit(&b->state, CACHE_EVICTED, memory_order_acq_rel);
        unpinned = (before & CACHE_PINS) == 0;
    }
    os_mutex_unlock(&c->mu.lock);
    if (unpinned) {
        os_memory_refund(c->memory, OS_MEMORY_BLOCKS, block_charge(b));
        os_epoch_retire(&b->retired, free_retired);
    }
}

void cache_stats(const struct cache *c, struct cache_stats *stats_out)
{
    *stats_out = (struct cache_stats){
        .blocks = atomic_load_explicit(&c->blocks, memory_order_relaxed),
        .bytes = atomic_load_explicit(&c->bytes, memory_order_relaxed),
        .evictions = atomic_load_explicit(&c->evictions, memory_order_relaxed),
        .bypasses = atomic_load_explicit(&c->bypasses, memory_order_relaxed),
    };
}
