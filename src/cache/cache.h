// Cached blocks: the decoded, verified bytes of table blocks, within the memory budget.
//
// There is no hash table. Whoever owns blocks (a table reader) keeps one slot per block, an atomic
// pointer to the cached block or NULL; a hit is one load (LeanStore's swizzling, Leis et al. 2018,
// section 3). A clock hand evicts. See the head of cache.c for the life of a block.
//
// Thread rule: everything from any thread. A block that was loaded from a slot may be used until
// the end of the caller's epoch (os/epoch.h); a pinned block until it is unpinned. Only cache_peek
// and cache_pin may be called inside an epoch: the others may free what no epoch can see any more.
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H

#include "os/epoch.h"
#include "os/memory.h"
#include "strata.h"

#include <assert.h>

struct cache;
struct cache_block;

typedef _Atomic(struct cache_block *) cache_slot; // zero-initialised: empty

// The decoded bytes follow the struct in one allocation, so that a reader which knows the slot can
// fetch them ahead without loading the struct first. CACHE_PADDING zero bytes follow them: vector
// loads may run past the end.
#define CACHE_PADDING 64

struct cache_block {
    uint8_t *data; // the decoded block, 64-byte aligned: cache_block_data(b)
    uint64_t bytes;
    // The rest is private to cache.c.
    _Atomic uint32_t state; // pins and flags
    _Atomic uint8_t touched;
    bool bypass; // no room in the budget: not to be kept
    cache_slot *slot;
    struct os_retired retired;
    struct cache_block *ring_next, *ring_prev;
};

#define CACHE_BLOCK_HEAD_BYTES 128
static_assert(sizeof(struct cache_block) <= CACHE_BLOCK_HEAD_BYTES, "the data begins behind it");

static inline uint8_t *cache_block_data(struct cache_block *b)
{
    return (uint8_t *)b + CACHE_BLOCK_HEAD_BYTES;
}

strata_rc cache_new(struct os_memory *memory, struct cache **cache_out) STRATA_MUST_CHECK;
void cache_free(struct cache *c); // every slot was dropped before

// The slot's block, or NULL. In an epoch, or with the block pinned. A hit marks it as used.
static inline struct cache_block *cache_peek(cache_slot *slot);

// A new, unattached, pinned block with room for `bytes`, 64-byte aligned; evicts others to stay in
// the budget. When the budget is used up by what cannot be evicted the block is given all the same,
// and will be freed at its last unpin instead of being kept. NULL: no memory.
struct cache_block *cache_block_new(struct cache *c, uint64_t bytes);
// Puts a filled block into its slot and keeps it pinned. If another thread was faster its block is
// returned, pinned, and the new one is freed. `keep` false: do not attach, free at the last unpin.
struct cache_block *cache_attach(struct cache *c, cache_slot *slot, struct cache_block *b,
                                 bool keep);
// Pins the slot's block; NULL when there is none (or it is being evicted). In an epoch.
struct cache_block *cache_pin(cache_slot *slot);
void cache_unpin(struct cache *c, struct cache_block *b);
// Was the pinned block put into a slot, to be kept?
static inline bool cache_is_attached(const struct cache_block *b)
{
    return b->slot != NULL;
}
// Evicts the slot's block, if any: its owner goes away. No reader can come by the slot any more.
void cache_drop(struct cache *c, cache_slot *slot);

struct cache_stats {
    uint64_t blocks, bytes, evictions, bypasses;
};
void cache_stats(const struct cache *c, struct cache_stats *stats_out);

// Evicts until the budget has `bytes` free or nothing is left to evict.
void cache_shrink(struct cache *c, size_t bytes);

static inline struct cache_block *cache_peek(cache_slot *slot)
{
    // Pairs with the release store in cache_attach().
    struct cache_block *b = atomic_load_explicit(slot, memory_order_acquire);
    if (b != NULL && atomic_load_explicit(&b->touched, memory_order_relaxed) == 0) {
        atomic_store_explicit(&b->touched, 1, memory_order_relaxed);
    }
    return b;
}

#endif
