// The keys of a memtable by hash: open addressing with linear probing, 8 bytes a slot: a tag of 16
// bits of the hash and a pointer of 48 bits. A miss costs one cache line.
//
// Thread rule: one writer; readers take no lock. A slot is set once and never changed. The table
// grows into a new one of twice the size or more, published at once and filled little by little by
// the writer's inserts; until it is complete, readers look into the one before as well, which stays
// whole. Old tables live as long as the key table.
#ifndef MEMTABLE_KEY_TABLE_H
#define MEMTABLE_KEY_TABLE_H

#include "memtable/record.h"
#include "strata.h"

struct key_slots {
    struct key_slots *previous;
    size_t mask;
    size_t moved; // the writer's: slots of `previous` that are here too
    // Stored with release by key_table_move, loaded with acquire by key_table_find.
    _Atomic bool complete;
    _Atomic uint64_t slots[]; // 0: empty
};

struct key_table {
    // Stored with release by key_table_reserve, loaded with acquire by key_table_find.
    struct key_slots *_Atomic current;
    size_t count; // the writer's
    size_t bytes; // the writer's
};

strata_rc key_table_init(struct key_table *t) STRATA_MUST_CHECK;
void key_table_release(struct key_table *t);
// Makes room for `more` keys.
strata_rc key_table_reserve(struct key_table *t, size_t more) STRATA_MUST_CHECK;
// Adds a key that is not there; there is room for it.
void key_table_insert(struct key_table *t, struct memtable_key *key, uint64_t hash);
// The key, or NULL.
struct memtable_key *key_table_find(const struct key_table *t, struct slice key, uint64_t hash);

static inline void key_table_prefetch(const struct key_table *t, uint64_t hash)
{
    struct key_slots *s = atomic_load_explicit(&t->current, memory_order_acquire);
    __builtin_prefetch((const void *)&s->slots[hash & s->mask]);
}

#endif
