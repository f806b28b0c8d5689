#include "memtable/memtable_pool.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

struct memtable_pooled {
    struct memtable_pooled *next;
};

void memtable_pool_init(struct memtable_pool *p, struct os_memory *memory, size_t most_bytes)
{
    *p = (struct memtable_pool){.memory = memory, .most = most_bytes / MEMTABLE_CHUNK_MOST};
    os_mutex_init(&p->mu.lock);
}

void *memtable_pool_take(struct memtable_pool *p)
{
    os_mutex_lock(&p->mu.lock);
    struct memtable_pooled *chunk = p->mu.first;
    if (chunk != NULL) {
        p->mu.first = chunk->next;
        p->mu.count--;
        p->mu.least = p->mu.count < p->mu.least ? p->mu.count : p->mu.least;
    }
    os_mutex_unlock(&p->mu.lock);
    if (chunk != NULL) {
        os_memory_refund(p->memory, OS_MEMORY_MEMTABLES, MEMTABLE_CHUNK_MOST);
    }
    return chunk;
}

void memtable_pool_give(struct memtable_pool *p, void *given)
{
    struct memtable_pooled *chunk = given;
#ifdef STRATA_DEBUG
    memset(given, 0xdb, MEMTABLE_CHUNK_MOST); // whoever still reads there is to notice
#endif
    os_mutex_lock(&p->mu.lock);
    bool kept = p->mu.count < p->most;
    if (kept) {
        chunk->next = p->mu.first;
        p->mu.first = chunk;
        p->mu.count++;
    }
    os_mutex_unlock(&p->mu.lock);
    if (kept) {
        os_memory_charge(p->memory, OS_MEMORY_MEMTABLES, MEMTABLE_CHUNK_MOST);
    } else {
        free(chunk);
    }
}

// Takes up to `count` chunks off the list.
static struct memtable_pooled *pool_detach(struct memtable_pool *p, size_t count)
{
    struct memtable_pooled *list = NULL;
    while (count > 0 && p->mu.first != NULL) {
        struct memtable_pooled *chunk = p->mu.first;
        p->mu.first = chunk->next;
        p->mu.count--;
        chunk->next = list;
        list = chunk;
        count--;
    }
    return list;
}

static void pool_free(struct memtable_pool *p, struct memtable_pooled *list)
{
    while (list != NULL) {
        struct memtable_pooled *next = list->next;
        free(list);
        os_memory_refund(p->memory, OS_MEMORY_MEMTABLES, MEMTABLE_CHUNK_MOST);
        list = next;
    }
}

void memtable_pool_trim(struct memtable_pool *p)
{
    os_mutex_lock(&p->mu.lock);
    struct memtable_pooled *list = pool_detach(p, p->mu.least);
    p->mu.least = p->mu.count;
    os_mutex_unlock(&p->mu.lock);
    pool_free(p, list);
}

void memtable_pool_release(struct memtable_pool *p)
{
    pool_free(p, pool_detach(p, SIZE_MAX));
    ASSERT(p->mu.count == 0);
    os_mutex_release(&p->mu.lock);
}
