// The memory of memtables that were flushed, kept for the next ones: the first touch of fresh
// memory costs more than the copy of the records into it.
//
// What is kept is charged to the budget as memtables are, is at most what was allowed, and goes
// back to the system when it was not needed for a while.
//
// Thread rule: any thread.
#ifndef MEMTABLE_MEMTABLE_POOL_H
#define MEMTABLE_MEMTABLE_POOL_H

#include "os/memory.h"
#include "os/thread.h"

#define MEMTABLE_CHUNK_MOST ((size_t)2 << 20) // the size of what is kept

struct memtable_pool {
    struct os_memory *memory;
    size_t most; // chunks
    struct {
        struct os_mutex lock;
        struct memtable_pooled *first;
        size_t count;
        size_t least; // the fewest that were kept at any time since the last trim
    } mu;
};

void memtable_pool_init(struct memtable_pool *p, struct os_memory *memory, size_t most_bytes);
// Every memtable that was made with it is freed.
void memtable_pool_release(struct memtable_pool *p);
// A chunk of MEMTABLE_CHUNK_MOST bytes, aligned to its size, with anything in it; NULL: none is
// kept.
void *memtable_pool_take(struct memtable_pool *p);
// Keeps the chunk, or frees it.
void memtable_pool_give(struct memtable_pool *p, void *chunk);
// Called now and then: frees the chunks that nobody has needed since the call before.
void memtable_pool_trim(struct memtable_pool *p);

#endif
