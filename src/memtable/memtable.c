// The write buffer: a table of keys by hash for lookups, chains of versions behind the keys, the
// keys in order for cursors (sorted_keys.h), and range deletes (memtable_ranges.h).
//
// Why not one ordered structure: a put into a tree or skip list costs several cache misses, here
// one; a lookup that misses costs one line here and a descent there; and order is needed only once
// for the flush, and when somebody scans (docs/decisions/0003-memtable.md has the figures).
//
// Invariants:
//   1. A key is in the table and among the sorted keys once, whatever its versions.
//   2. Along the chain of a key commits descend.
//   3. A record does not change after it is published, but for the newest version of a key.
//   4. All memory lives as long as the memtable, except runs of sorted keys, which are counted.
// Thread rule: memtable.h. Publication is by release stores into the table's slots, into
// `newest` of a key, into the newest of the sorted keys, and into the newest range delete.
#include "memtable/memtable_impl.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <sys/mman.h>

// Chunks double from the least to the most, so that an empty memtable is cheap.
#define MEMTABLE_CHUNK_LEAST ((size_t)16 << 10)

// A point takes more than a range delete.
#define MEMTABLE_ADD_BYTES_MAX RECORD_BYTES_MAX
static_assert(RECORD_BYTES_MAX >= sizeof(struct memtable_range) + 8, "room for a range delete");

strata_rc memtable_new(struct memtable_pool *pool, struct memtable **memtable_out)
{
    *memtable_out = NULL;
    struct memtable *m = alloc_zeroed(1, sizeof *m);
    struct memtable_ranges *ranges = alloc_zeroed(1, sizeof *ranges);
    struct sorted_keys *sorted = alloc_zeroed(1, sizeof *sorted);
    strata_rc rc;
    if (m == NULL || ranges == NULL || sorted == NULL) {
        rc = alloc_failed("memtable", sizeof *m);
        goto done;
    }
    rc = key_table_init(&m->keys);
    if (rc != STRATA_OK) {
        goto done;
    }
    memtable_ranges_init(ranges);
    sorted_keys_init(sorted);
    m->ranges = ranges;
    m->sorted = sorted;
    m->chunk_bytes = MEMTABLE_CHUNK_LEAST;
    m->pool = pool;
    atomic_init(&m->bytes, sizeof *m + sizeof *ranges + sizeof *sorted + m->keys.bytes);
    atomic_init(&m->count, 0);
    *memtable_out = m;
    m = NULL;
    ranges = NULL;
    sorted = NULL;
done:
    free(m);
    free(ranges);
    free(sorted);
    return rc;
}

void memtable_free(struct memtable *m)
{
    if (m == NULL) {
        return;
    }
    sorted_keys_release(m->sorted);
    memtable_ranges_release(m->ranges);
    key_table_release(&m->keys);
    struct memtable_chunk *chunk = m->chunks;
    while (chunk != NULL) {
        struct memtable_chunk *older = chunk->older;
        if (m->pool != NULL && chunk->bytes == MEMTABLE_CHUNK_MOST) {
            memtable_pool_give(m->pool, chunk);
        } else {
            free(chunk);
        }
        chunk = older;
    }
    free(m->sorted);
    free(m->ranges);
    free(m);
}

static void memtable_count_bytes(struct memtable *m)
{
    atomic_store_explicit(&m->bytes,
                          sizeof *m + sizeof *m->ranges + sizeof *m->sorted + m->keys.bytes +
                              m->chunks_bytes,
                          memory_order_relaxed);
}

// The faults of 4 KiB pages would be a third of the cost of a put: full chunks are huge pages,
// where the system has them.
static struct memtable_chunk *memtable_chunk_new(const struct memtable *m, size_t bytes)
{
    struct memtable_chunk *chunk = NULL;
    if (bytes < MEMTABLE_CHUNK_MOST) {
        return alloc_array(1, bytes);
    }
    if (m->pool != NULL && bytes == MEMTABLE_CHUNK_MOST) {
        chunk = memtable_pool_take(m->pool);
    }
    if (chunk != NULL) {
        return chunk;
    }
    chunk = alloc_aligned(MEMTABLE_CHUNK_MOST, bytes);
#ifdef MADV_HUGEPAGE
    if (chunk != NULL) {
        // Advice: whether it is taken changes nothing but time.
        (void)madvise(chunk, bytes & ~(MEMTABLE_CHUNK_MOST - 1), MADV_HUGEPAGE);
    }
#endif
    return chunk;
}

// Makes [at, end) at least `bytes` long, in a new chunk when the newest has too little left.
static strata_rc memtable_chunk_reserve(struct memtable *m, size_t bytes)
{
    if (bytes <= (size_t)(m->end - m->at)) {
        return STRATA_OK;
    }
    size_t chunk_bytes = sizeof(struct memtable_chunk) + bytes;
    if (chunk_bytes < bytes) {
        return alloc_failed("memtable", bytes);
    }
    if (chunk_bytes < m->chunk_bytes) {
        chunk_bytes = m->chunk_bytes;
    }
    struct memtable_chunk *chunk = memtable_chunk_new(m, chunk_bytes);
    if (chunk == NULL) {
        return alloc_failed("memtable", chunk_bytes);
    }
    chunk->bytes = chunk_bytes;
    chunk->older = m->chunks;
    m->chunks = chunk;
    m->at = (uint8_t *)chunk->memory;
    m->end = (uint8_t *)chunk + chunk_bytes;
    m->chunks_bytes += chunk_bytes;
    if (m->chunk_bytes < MEMTABLE_CHUNK_MOST) {
        m->chunk_bytes *= 2;
    }
    return STRATA_OK;
}

strata_rc memtable_reserve(struct memtable *m, size_t count, size_t bytes)
{
    size_t record_bytes;
    size_t total;
    if (__builtin_mul_overflow(count, MEMTABLE_ADD_BYTES_MAX, &record_bytes) ||
        __builtin_add_overflow(record_bytes, bytes, &total)) {
        return alloc_failed("memtable", SIZE_MAX);
    }
    strata_rc rc = memtable_chunk_reserve(m, total);
    if (rc == STRATA_OK) {
        rc = key_table_reserve(&m->keys, count);
    }
    memtable_count_bytes(m);
    return rc;
}

// Cuts from the reserved memory; 8-byte aligned. NULL when the caller has not reserved.
static void *memtable_cut(struct memtable *m, size_t bytes)
{
    size_t rounded = (bytes + 7) & ~(size_t)7;
    ASSERT(rounded <= (size_t)(m->end - m->at));
    if (rounded > (size_t)(m->end - m->at)) {
        return NULL;
    }
    void *memory = m->at;
    m->at += rounded;
    return memory;
}

static void memtable_counted(struct memtable *m, uint64_t commit)
{
    ASSERT(commit >= m->newest_commit);
    m->newest_commit = commit;
    uint64_t count = atomic_load_explicit(&m->count, memory_order_relaxed);
    // Pairs with the acquire in memtable_count: who sees the number sees what is counted.
    atomic_store_explicit(&m->count, count + 1, memory_order_release);
}

// A version of e on top of `older`, or NULL when there is no memory.
static struct memtable_version *memtable_version_new(struct memtable *m, const struct kv_entry *e,
                                                     const struct memtable_version *older)
{
    size_t chain_bytes = older == NULL ? 0 : sizeof(struct memtable_chain);
    size_t expiry_bytes = e->expiry == 0 ? 0 : sizeof e->expiry;
    struct memtable_version *v = memtable_cut(m, offsetof(struct memtable_version, rest) +
                                                     chain_bytes + expiry_bytes + e->value_bytes);
    if (v == NULL) {
        return NULL;
    }
    v->commit = e->commit;
    v->value_bytes = e->value_bytes;
    v->kind = e->kind;
    v->flags = 0;
    uint8_t *to = v->rest;
    if (older != NULL) {
        ASSERT(older->commit < e->commit);
        struct memtable_chain chain = version_chain_over(older);
        v->flags |= VERSION_CHAINED;
        memcpy(to, &chain, sizeof chain);
        to += sizeof chain;
    }
    if (e->expiry != 0) {
        v->flags |= VERSION_EXPIRES;
        store_u64(to, e->expiry);
        to += sizeof e->expiry;
    }
    if (e->value_bytes > 0) {
        memcpy(to, e->value, e->value_bytes);
    }
    return v;
}

void memtable_add(struct memtable *m, const struct kv_entry *e, uint64_t hash)
{
    ASSERT(e->key_bytes > 0 && e->key_bytes <= KV_KEY_BYTES_MAX);
    struct memtable_key *key = key_table_find(&m->keys, kv_key(e), hash);
    if (key != NULL) {
        struct memtable_version *v = memtable_version_new(m, e, record_newest(key));
        if (v != NULL) {
            record_publish(key, v);
            memtable_counted(m, e->commit);
        }
        return;
    }
    key = memtable_cut(m, offsetof(struct memtable_key, key) + e->key_bytes);
    struct memtable_version *v = key == NULL ? NULL : memtable_version_new(m, e, NULL);
    if (v == NULL) {
        return;
    }
    atomic_init(&key->newest, v);
    key->hash = (uint32_t)hash;
    key->key_bytes = (uint16_t)e->key_bytes;
    memcpy(key->key, e->key, e->key_bytes);
    key_table_insert(&m->keys, key, hash);
    sorted_keys_add(m->sorted, key);
    memtable_counted(m, e->commit);
}

void memtable_delete_range(struct memtable *m, struct slice begin, struct slice end,
                           uint64_t commit)
{
    struct memtable_range *range = memtable_cut(m, sizeof *range + begin.bytes + end.bytes);
    if (range == NULL) {
        return;
    }
    uint8_t *bytes = (uint8_t *)(range + 1);
    if (begin.bytes > 0) {
        memcpy(bytes, begin.data, begin.bytes);
    }
    memcpy(bytes + begin.bytes, end.data, end.bytes);
    range->del = (struct range_del){
        .begin = slice_of(bytes, begin.bytes),
        .end = slice_of(bytes + begin.bytes, end.bytes),
        .commit = commit,
    };
    memtable_ranges_add(m->ranges, range);
    memtable_counted(m, commit);
}

bool memtable_get(const struct memtable *m, struct kv_lookup *lookup)
{
    const struct memtable_version *v = NULL;
    const struct memtable_key *key = key_table_find(&m->keys, lookup->key, lookup->hash);
    if (key != NULL) {
        v = record_newest(key);
        if (v->commit > lookup->at) {
            lookup->skipped = true;
            v = version_at(v, lookup->at);
        }
    }
    uint64_t deleted = 0;
    if (memtable_ranges_count(m->ranges) > 0) {
        deleted = memtable_ranges_newest(m->ranges, lookup->key, lookup->at, &lookup->skipped);
    }
    if (v == NULL && deleted == 0) {
        return false;
    }
    struct kv_entry *e = &lookup->entry;
    e->head = 0;
    e->key = lookup->key.data;
    e->key_bytes = (uint32_t)lookup->key.bytes;
    if (v != NULL && v->commit >= deleted) {
        e->key = key->key;
        version_fill_entry(v, e);
    } else {
        *e = (struct kv_entry){
            .key = e->key, .key_bytes = e->key_bytes, .commit = deleted, .kind = KV_RANGE_DELETE};
    }
    lookup->found = true;
    return true;
}

void memtable_prefetch(const struct memtable *m, uint64_t hash)
{
    key_table_prefetch(&m->keys, hash);
}

strata_rc memtable_range_dels(const struct memtable *m, const struct range_dels **dels_out)
{
    return memtable_ranges_whole(m->ranges, dels_out);
}

size_t memtable_bytes(const struct memtable *m)
{
    return atomic_load_explicit(&m->bytes, memory_order_relaxed) +
           atomic_load_explicit(&m->sorted->bytes, memory_order_relaxed) +
           atomic_load_explicit(&m->ranges->bytes, memory_order_relaxed);
}

uint64_t memtable_count(const struct memtable *m)
{
    return atomic_load_explicit(&m->count, memory_order_acquire);
}

bool memtable_is_empty(const struct memtable *m)
{
    return memtable_count(m) == 0;
}

// The chain of one key: commits descend, depths count down, jumps go to what they say.
static uint64_t memtable_check_chain(const struct memtable_key *key)
{
    uint64_t count = 0;
    const struct memtable_version *v = record_newest(key);
    uint64_t depth = version_chain(v).depth;
    while (v != NULL) {
        struct memtable_chain chain = version_chain(v);
        ASSERT(chain.depth == depth - count);
        ASSERT(version_chain(chain.jump).depth <= chain.depth);
        ASSERT((chain.older == NULL) == (chain.depth == 0));
        ASSERT(chain.older == NULL || chain.older->commit < v->commit);
        count++;
        v = chain.older;
    }
    ASSERT(count == depth + 1);
    return count;
}

strata_rc memtable_check(const struct memtable *m)
{
    // Keys and versions may be added meanwhile: every key of the view is looked at, and no more.
    uint64_t before = memtable_count(m);
    uint64_t found = memtable_ranges_count(m->ranges);
    struct sorted_view view;
    strata_rc rc = sorted_keys_open(m->sorted, &view);
    if (rc != STRATA_OK) {
        return rc;
    }
    for (size_t i = 0; i < view.count; i++) {
        const struct sorted_run *run = view.runs[i];
        ASSERT(run->skip >= view.skip);
        for (size_t j = 0; j < run->count; j++) {
            const struct memtable_key *key = run->entries[j].key;
            ASSERT(run->entries[j].head == slice_head(record_key(key), run->skip));
            ASSERT(j == 0 ||
                   slice_compare(record_key(run->entries[j - 1].key), record_key(key)) < 0);
            ASSERT(sorted_run_find(run, view.any, record_key(key)) == j);
            found += memtable_check_chain(key);
        }
    }
    ASSERT(found >= before);
    sorted_keys_close(m->sorted, &view);
    return STRATA_OK;
}
