#include "memtable/key_table.h"

#include "base/alloc.h"
#include "base/assert.h"

#define KEY_SLOTS_LEAST 128u
#define KEY_POINTER_BITS 48
#define KEY_POINTER_MASK (((uint64_t)1 << KEY_POINTER_BITS) - 1)
// Slots of the table before that an insert moves: a growth is over long before the next one.
#define KEY_MOVE_SLOTS 16u

static struct memtable_key *key_slot_pointer(uint64_t slot)
{
    return (struct memtable_key *)(uintptr_t)(slot & KEY_POINTER_MASK);
}

// At most three quarters of the slots are used.
static size_t key_slots_room(const struct key_slots *s)
{
    return (s->mask + 1) / 4 * 3;
}

static struct key_slots *key_slots_new(size_t slot_count)
{
    ASSERT((slot_count & (slot_count - 1)) == 0);
    if (slot_count > (SIZE_MAX - sizeof(struct key_slots)) / sizeof(uint64_t)) {
        return NULL;
    }
    struct key_slots *s = alloc_zeroed(1, sizeof *s + slot_count * sizeof(uint64_t));
    if (s != NULL) {
        s->mask = slot_count - 1;
    }
    return s;
}

strata_rc key_table_init(struct key_table *t)
{
    struct key_slots *s = key_slots_new(KEY_SLOTS_LEAST);
    if (s == NULL) {
        return alloc_failed("memtable", KEY_SLOTS_LEAST * sizeof(uint64_t));
    }
    atomic_init(&s->complete, true);
    atomic_init(&t->current, s);
    t->count = 0;
    t->bytes = sizeof *s + KEY_SLOTS_LEAST * sizeof(uint64_t);
    return STRATA_OK;
}

void key_table_release(struct key_table *t)
{
    struct key_slots *s = atomic_load_explicit(&t->current, memory_order_relaxed);
    while (s != NULL) {
        struct key_slots *previous = s->previous;
        free(s);
        s = previous;
    }
}

// Puts the slot's value into the first empty slot from the hash's place on.
static void key_slots_put(struct key_slots *s, uint64_t value, uint64_t hash)
{
    size_t i = (size_t)hash & s->mask;
    while (atomic_load_explicit(&s->slots[i], memory_order_relaxed) != 0) {
        i = (i + 1) & s->mask;
    }
    // Pairs with the acquire in key_slots_find: who sees the pointer sees the key behind it.
    atomic_store_explicit(&s->slots[i], value, memory_order_release);
}

static void key_table_move(struct key_slots *s, size_t slot_count)
{
    const struct key_slots *from = s->previous;
    size_t left = from->mask + 1 - s->moved;
    size_t step = left < slot_count ? left : slot_count;
    uint64_t values[KEY_MOVE_SLOTS];
    while (step > 0) {
        size_t batch = step < KEY_MOVE_SLOTS ? step : KEY_MOVE_SLOTS;
        for (size_t i = 0; i < batch; i++) {
            values[i] = atomic_load_explicit(&from->slots[s->moved + i], memory_order_relaxed);
            __builtin_prefetch(key_slot_pointer(values[i]));
        }
        for (size_t i = 0; i < batch; i++) {
            if (values[i] != 0) {
                key_slots_put(s, values[i], key_slot_pointer(values[i])->hash);
            }
        }
        s->moved += batch;
        step -= batch;
    }
    if (s->moved == from->mask + 1) {
        // Pairs with the acquire in key_table_find: who sees it finds every moved key here.
        atomic_store_explicit(&s->complete, true, memory_order_release);
    }
}

strata_rc key_table_reserve(struct key_table *t, size_t more)
{
    struct key_slots *s = atomic_load_explicit(&t->current, memory_order_relaxed);
    ASSERT(t->count <= key_slots_room(s));
    if (more <= key_slots_room(s) - t->count) {
        return STRATA_OK;
    }
    size_t slot_count = (s->mask + 1) * 2;
    while (slot_count / 4 * 3 - t->count < more && slot_count <= SIZE_MAX / 4) {
        slot_count *= 2;
    }
    // A key keeps 32 bits of its hash.
    if (slot_count - 1 > UINT32_MAX) {
        return alloc_failed("memtable", slot_count);
    }
    struct key_slots *grown = key_slots_new(slot_count);
    if (grown == NULL) {
        return alloc_failed("memtable", slot_count * sizeof(uint64_t));
    }
    if (!atomic_load_explicit(&s->complete, memory_order_relaxed)) {
        key_table_move(s, s->previous->mask + 1);
    }
    grown->previous = s;
    t->bytes += sizeof *grown + slot_count * sizeof(uint64_t);
    atomic_init(&grown->complete, false);
    // Pairs with the acquire in key_table_find.
    atomic_store_explicit(&t->current, grown, memory_order_release);
    return STRATA_OK;
}

void key_table_insert(struct key_table *t, struct memtable_key *key, uint64_t hash)
{
    struct key_slots *s = atomic_load_explicit(&t->current, memory_order_relaxed);
    ASSERT(t->count < key_slots_room(s));
    ASSERT(((uint64_t)(uintptr_t)key & ~KEY_POINTER_MASK) == 0);
    if (!atomic_load_explicit(&s->complete, memory_order_relaxed)) {
        key_table_move(s, KEY_MOVE_SLOTS);
    }
    uint64_t tag = hash & ~KEY_POINTER_MASK;
    key_slots_put(s, tag | (uint64_t)(uintptr_t)key, hash);
    t->count++;
}

static struct memtable_key *key_slots_find(const struct key_slots *s, struct slice key,
                                           uint64_t hash)
{
    for (size_t i = (size_t)hash & s->mask;; i = (i + 1) & s->mask) {
        uint64_t slot = atomic_load_explicit(&s->slots[i], memory_order_acquire);
        if (slot == 0) {
            return NULL;
        }
        if ((slot ^ hash) >> KEY_POINTER_BITS == 0) {
            struct memtable_key *found = key_slot_pointer(slot);
            if (found->key_bytes == key.bytes && memcmp(found->key, key.data, key.bytes) == 0) {
                return found;
            }
        }
    }
}

struct memtable_key *key_table_find(const struct key_table *t, struct slice key, uint64_t hash)
{
    const struct key_slots *s = atomic_load_explicit(&t->current, memory_order_acquire);
    // Asked before the search: what is moved behind the search's back is found in `previous`.
    bool complete = atomic_load_explicit(&s->complete, memory_order_acquire);
    struct memtable_key *found = key_slots_find(s, key, hash);
    if (found == NULL && !complete) {
        found = key_slots_find(s->previous, key, hash);
    }
    return found;
}
