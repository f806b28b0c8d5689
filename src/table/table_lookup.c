// Looking up one key in a table: bounds, filter, index, the block's slot, one search in the block.
// A lookup takes no lock, allocates nothing and does no I/O: when the block is not in memory it
// says so, and the caller loads it outside of its epoch.
#include "base/assert.h"
#include "table/table_file.h"

void table_prefetch(struct table *t, uint64_t hash)
{
    const struct table_file *tf = t->file;
    struct filter f =
        table_filter(tf, atomic_load_explicit(&tf->filter_slot, memory_order_relaxed));
    if (f.lines != NULL) {
        __builtin_prefetch(filter_line(&f, hash));
    }
}

static bool table_covers(const struct table *t, struct slice key)
{
    uint64_t head = slice_head(key, 0);
    if (head < t->lower_head || head > t->upper_head) {
        return false;
    }
    return (head != t->lower_head || slice_compare(key, t->meta.lower) >= 0) &&
           (head != t->upper_head || slice_compare(key, t->meta.upper) < 0);
}

// The newest range delete over the key that the lookup sees, 0 when there is none.
static uint64_t newest_range(const struct table *t, struct kv_lookup *lookup)
{
    if (t->file->ranges == NULL) {
        return 0;
    }
    const struct range_fragment *f = range_dels_cover(t->file->ranges, lookup->key);
    return f == NULL ? 0 : range_fragment_newest(f, lookup->at, &lookup->skipped);
}

// The answer of a live table without a point for the key.
static enum table_answer answer_range(struct kv_lookup *lookup, uint64_t range)
{
    if (range == 0) {
        return TABLE_ABSENT;
    }
    lookup->found = true;
    lookup->entry = (struct kv_entry){
        .key = lookup->key.data,
        .key_bytes = (uint32_t)lookup->key.bytes,
        .commit = range,
        .kind = KV_RANGE_DELETE,
    };
    return TABLE_FOUND;
}

// Up to the block: which one, or that there is none for the key. Counts the filter's part.
static bool find_block(const struct table *t, const struct kv_lookup *lookup, uint32_t *block_out,
                       struct table_stats_delta *delta)
{
    struct table_file *tf = t->file;
    struct filter filter = table_filter(tf, cache_peek(&tf->filter_slot));
    if (filter.lines != NULL) {
        if (!filter_may_hold(&filter, lookup->hash)) {
            delta->filter_negative++;
            return false;
        }
        delta->filter_positive++;
    }
    if (tf->index.count == 0) {
        return false;
    }
    uint64_t at = tf->properties.history ? lookup->at : UINT64_MAX;
    *block_out = index_find(&tf->index, lookup->key, at);
    return true;
}

// The block in the slot, or NULL.
static const struct cache_block *peek_block(struct table_file *tf, uint32_t block)
{
    struct cache_block *b = atomic_load_explicit(&tf->slots[block], memory_order_relaxed);
    if (b == NULL) {
        return NULL;
    }
    table_prefetch_block(b);
    return cache_peek(&tf->slots[block]);
}

enum table_answer table_get(struct table *t, struct kv_lookup *lookup, uint32_t *cold_block_out,
                            struct table_stats_delta *delta)
{
    ASSERT(!t->file->properties.history);
    if (!table_covers(t, lookup->key)) {
        return TABLE_ABSENT;
    }
    uint32_t block;
    if (!find_block(t, lookup, &block, delta)) {
        return answer_range(lookup, newest_range(t, lookup));
    }
    if (t->meta.commit_least > lookup->at) {
        lookup->skipped = true; // whatever the table holds for the key
        return TABLE_ABSENT;
    }
    const struct cache_block *b = peek_block(t->file, block);
    if (b == NULL) {
        *cold_block_out = block;
        return TABLE_COLD;
    }
    delta->block_hits++;
    return table_get_in(t, b, lookup);
}

enum table_answer table_get_in(struct table *t, const struct cache_block *b,
                               struct kv_lookup *lookup)
{
    uint64_t range = newest_range(t, lookup);
    struct block view;
    block_view(&view, b->data, b->bytes);
    bool same;
    uint32_t pos = block_find(&view, lookup->key, UINT64_MAX, &same);
    if (!same) {
        return answer_range(lookup, range);
    }
    struct kv_entry *e = &lookup->entry;
    block_entry(&view, pos, e);
    if (e->commit > lookup->at) {
        lookup->skipped = true;
        return answer_range(lookup, range);
    }
    if (e->commit < range) {
        return answer_range(lookup, range);
    }
    e->key = lookup->key.data;
    e->head = 0;
    lookup->found = true;
    return TABLE_FOUND;
}

enum table_answer table_get_interval(struct table *t, struct kv_lookup *lookup,
                                     uint32_t *cold_block_out, struct table_stats_delta *delta)
{
    ASSERT(t->file->properties.history);
    uint32_t block;
    if (t->meta.commit_least > lookup->at || t->meta.end_greatest <= lookup->at ||
        !table_covers(t, lookup->key) || !find_block(t, lookup, &block, delta)) {
        return TABLE_ABSENT;
    }
    const struct cache_block *b = peek_block(t->file, block);
    if (b == NULL) {
        *cold_block_out = block;
        return TABLE_COLD;
    }
    delta->block_hits++;
    return table_get_interval_in(t, b, lookup);
}

enum table_answer table_get_interval_in(struct table *t, const struct cache_block *b,
                                        struct kv_lookup *lookup)
{
    ASSERT(t->file->properties.history);
    struct block view;
    block_view(&view, b->data, b->bytes);
    // The newest version at or before the commit is the only candidate: intervals of a key do not
    // overlap (table_writer.c, invariant 1), and the index puts (key, at) into the candidate's
    // block.
    bool same;
    uint32_t pos = block_find(&view, lookup->key, lookup->at, &same);
    if (!same) {
        return TABLE_ABSENT;
    }
    struct kv_entry *e = &lookup->entry;
    block_entry(&view, pos, e);
    if (e->end <= lookup->at) {
        return TABLE_ABSENT;
    }
    e->key = lookup->key.data;
    e->head = 0;
    lookup->found = true;
    return TABLE_FOUND;
}
