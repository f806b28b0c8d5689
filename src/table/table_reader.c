// Opening a table, and looking up one key in it.
//
// A lookup is: bounds, filter, index, the block's slot, one search in the block. It takes no lock,
// allocates nothing and does no I/O: when the block is not in memory it says so, and the caller
// loads it outside of its epoch.
//
// What is read from the file is checked when it is read: the sections at opening, a block when it
// is loaded. After that it is trusted.
#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/reader.h"
#include "table/table_file.h"

// Images at least this large are read where they stay, to hold them in memory once.
#define LARGE_IMAGE_BYTES ((uint64_t)1 << 20)

// ---- opening

strata_rc table_file_read(struct table_file *tf, uint64_t offset, void *to, size_t bytes)
{
    struct os_file *file;
    strata_rc rc = os_cached_file_lease(tf->env.files, &tf->descriptor, &file);
    if (rc == STRATA_OK) {
        rc = os_file_read(file, offset, to, bytes);
        os_cached_file_return(tf->env.files, &tf->descriptor);
    }
    return rc;
}

strata_rc table_read_section(struct table_file *tf, struct section_handle handle,
                             enum section_kind kind, uint8_t **payload_out, size_t *bytes_out)
{
    ASSERT(handle.bytes != 0);
    struct section_place place = {tf->name, tf->number, handle.offset, handle.bytes};
    struct os_file *file;
    strata_rc rc = os_cached_file_lease(tf->env.files, &tf->descriptor, &file);
    if (rc == STRATA_OK) {
        rc = section_read(file, &place, kind, payload_out, bytes_out);
        os_cached_file_return(tf->env.files, &tf->descriptor);
    }
    return rc;
}

static strata_rc open_footer(struct table_file *tf)
{
    if (tf->bytes < FOOTER_BYTES) {
        return fail(STRATA_CORRUPT, "%s: a table of %llu bytes was recorded", tf->name,
                    (unsigned long long)tf->bytes);
    }
    uint8_t footer[FOOTER_BYTES];
    struct section_place place = {tf->name, tf->number, tf->bytes - FOOTER_BYTES, FOOTER_BYTES};
    strata_rc rc = table_file_read(tf, place.offset, footer, FOOTER_BYTES);
    return rc == STRATA_OK ? footer_decode(footer, &place, &tf->footer) : rc;
}

static strata_rc open_properties(struct table_file *tf, const struct table_meta *meta)
{
    size_t bytes;
    strata_rc rc = table_read_section(tf, tf->footer.properties, SECTION_PROPERTIES,
                                      &tf->properties_memory, &bytes);
    if (rc == STRATA_OK) {
        rc = properties_decode(slice_of(tf->properties_memory, bytes), &tf->properties);
        rc = rc == STRATA_OK ? rc : fail_in(rc, "%s", tf->name);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    const struct table_properties *p = &tf->properties;
    if (p->keyspace != meta->keyspace || p->history != meta->history ||
        p->entries != meta->entries || p->deletes != meta->deletes ||
        p->range_fragments != meta->range_fragments || p->commit_least != meta->commit_least ||
        p->commit_greatest != meta->commit_greatest || p->end_greatest != meta->end_greatest ||
        slice_compare(meta->lower, p->lower) < 0 || slice_compare(meta->upper, p->upper) > 0) {
        return fail(STRATA_CORRUPT, "%s is not the table that was recorded under its name",
                    tf->name);
    }
    if ((p->entries == 0) != (tf->footer.index.bytes == 0) ||
        (p->range_fragments == 0) != (tf->footer.ranges.bytes == 0)) {
        return fail(STRATA_CORRUPT, "%s: its sections and its counts contradict each other",
                    tf->name);
    }
    return STRATA_OK;
}

static strata_rc open_index(struct table_file *tf)
{
    if (tf->footer.index.bytes == 0) {
        return STRATA_OK;
    }
    uint8_t *payload = NULL;
    size_t bytes;
    strata_rc rc = table_read_section(tf, tf->footer.index, SECTION_INDEX, &payload, &bytes);
    if (rc == STRATA_OK) {
        rc = index_open(&tf->index, slice_of(payload, bytes));
        rc = rc == STRATA_OK ? rc : fail_in(rc, "%s", tf->name);
    }
    free(payload);
    if (rc != STRATA_OK) {
        return rc;
    }
    uint64_t end = tf->index.offsets[tf->index.count];
    if (tf->index.count == 0 || end != tf->footer.index.offset) {
        return fail(STRATA_CORRUPT, "%s: %u blocks end at %llu, the index begins at %llu", tf->name,
                    tf->index.count, (unsigned long long)end,
                    (unsigned long long)tf->footer.index.offset);
    }
    tf->slots = alloc_zeroed(tf->index.count, sizeof *tf->slots);
    tf->charged += tf->index.heap_bytes + tf->index.count * sizeof *tf->slots;
    return tf->slots == NULL ? alloc_failed("the slots of a table", tf->index.count) : STRATA_OK;
}

static strata_rc open_filter(struct table_file *tf)
{
    if (tf->footer.filter.bytes == 0) {
        return STRATA_OK;
    }
    struct cache_block *b;
    strata_rc rc = table_load_filter(tf, &b);
    if (rc == STRATA_OK) {
        cache_unpin(tf->env.cache, b);
    }
    return rc;
}

// Reads the fragments of a payload as single range deletes into list (NULL: only counts them).
static strata_rc decode_ranges(struct slice payload, uint64_t fragments, struct range_del *list,
                               size_t *count_out)
{
    struct reader r = reader_of(payload);
    size_t count = 0;
    uint64_t said = reader_varint(&r);
    for (uint64_t i = 0; i < said && !r.bad; i++) {
        struct slice begin = reader_prefixed(&r);
        struct slice end = reader_prefixed(&r);
        uint64_t commits = reader_varint(&r);
        if (r.bad || commits == 0 || commits > reader_left(&r) || slice_compare(begin, end) >= 0) {
            r.bad = true;
            break;
        }
        for (uint64_t j = 0; j < commits; j++) {
            uint64_t commit = reader_varint(&r);
            if (list != NULL) {
                list[count] = (struct range_del){begin, end, commit};
            }
            count++;
        }
    }
    *count_out = count;
    if (r.bad || said != fragments || reader_left(&r) != 0) {
        return fail(STRATA_CORRUPT, "range deletes: malformed after %zu of %llu fragments", count,
                    (unsigned long long)fragments);
    }
    return STRATA_OK;
}

static strata_rc open_ranges(struct table_file *tf)
{
    if (tf->footer.ranges.bytes == 0) {
        return STRATA_OK;
    }
    uint8_t *payload = NULL;
    struct range_del *list = NULL;
    size_t bytes;
    size_t count;
    strata_rc rc = table_read_section(tf, tf->footer.ranges, SECTION_RANGES, &payload, &bytes);
    if (rc != STRATA_OK) {
        return rc;
    }
    uint64_t fragments = tf->properties.range_fragments;
    rc = decode_ranges(slice_of(payload, bytes), fragments, NULL, &count);
    if (rc == STRATA_OK) {
        list = alloc_array(count, sizeof *list);
        rc = list == NULL ? alloc_failed("the range deletes of a table", count * sizeof *list)
                          : decode_ranges(slice_of(payload, bytes), fragments, list, &count);
    }
    if (rc == STRATA_OK) {
        rc = range_dels_build(list, count, &tf->ranges);
    }
    if (rc == STRATA_CORRUPT) {
        rc = fail_in(rc, "%s", tf->name);
    }
    if (rc == STRATA_OK) {
        tf->charged += range_dels_bytes(tf->ranges);
    }
    free(list);
    free(payload);
    return rc;
}

static void table_file_close(struct table_file *tf)
{
    for (uint32_t i = 0; tf->slots != NULL && i < tf->index.count; i++) {
        cache_drop(tf->env.cache, &tf->slots[i]);
    }
    cache_drop(tf->env.cache, &tf->filter_slot);
    os_cached_file_drop(tf->env.files, &tf->descriptor);
    if (atomic_load_explicit(&tf->delete_at_close, memory_order_relaxed)) {
        // A name that stays behind is removed at the next open: nothing refers to it any more.
        (void)!os_dir_unlink(tf->env.dir, tf->name);
    }
    os_memory_refund(tf->env.memory, OS_MEMORY_INDEXES, tf->charged);
    index_release(&tf->index);
    range_dels_free(tf->ranges);
    free(tf->slots);
    free(tf->properties_memory);
    free(tf);
}

static void table_file_unref(struct table_file *tf)
{
    // Release and acquire: what other holders did is done before the file goes.
    if (atomic_fetch_sub_explicit(&tf->refs, 1, memory_order_acq_rel) == 1) {
        table_file_close(tf);
    }
}

static strata_rc table_file_open(const struct table_env *env, const struct table_meta *meta,
                                 struct table_file **file_out)
{
    struct table_file *tf = alloc_zeroed(1, sizeof *tf);
    if (tf == NULL) {
        return alloc_failed("a table", sizeof *tf);
    }
    tf->env = *env;
    tf->number = meta->file;
    tf->bytes = meta->bytes;
    atomic_init(&tf->refs, 1);
    file_name_make(tf->name, FILE_TABLE, meta->file);
    os_cached_file_init(&tf->descriptor, tf->name, meta->bytes);
    strata_rc rc = open_footer(tf);
    if (rc == STRATA_OK) {
        rc = open_properties(tf, meta);
    }
    if (rc == STRATA_OK) {
        rc = open_index(tf);
    }
    if (rc == STRATA_OK) {
        rc = open_filter(tf);
    }
    if (rc == STRATA_OK) {
        rc = open_ranges(tf);
    }
    os_memory_charge(env->memory, OS_MEMORY_INDEXES, tf->charged);
    if (rc != STRATA_OK) {
        table_file_close(tf);
        return rc;
    }
    *file_out = tf;
    return STRATA_OK;
}

// Takes over one reference to the file, also when it fails.
static strata_rc table_new(struct table_file *tf, const struct table_meta *meta,
                           struct table **table_out)
{
    strata_rc rc = STRATA_OK;
    struct table *t = alloc_zeroed(1, sizeof *t);
    if (t == NULL) {
        rc = alloc_failed("a table", sizeof *t);
    } else {
        rc = table_meta_copy(meta, &t->meta);
    }
    if (rc != STRATA_OK) {
        free(t);
        table_file_unref(tf);
        return rc;
    }
    t->file = tf;
    t->lower_head = slice_head(t->meta.lower, 0);
    t->upper_head = slice_head(t->meta.upper, 0);
    t->narrow_lower = slice_compare(t->meta.lower, tf->properties.lower) > 0;
    t->narrow_upper = slice_compare(t->meta.upper, tf->properties.upper) < 0;
    atomic_init(&t->refs, 1);
    *table_out = t;
    return STRATA_OK;
}

strata_rc table_open(const struct table_env *env, const struct table_meta *meta,
                     struct table **table_out)
{
    struct table_file *tf = NULL;
    strata_rc rc = table_file_open(env, meta, &tf);
    return rc == STRATA_OK ? table_new(tf, meta, table_out) : rc;
}

strata_rc table_narrow(struct table *t, struct slice lower, struct slice upper,
                       struct table **table_out)
{
    ASSERT(slice_compare(lower, upper) < 0);
    ASSERT(slice_compare(lower, t->file->properties.lower) >= 0);
    ASSERT(slice_compare(upper, t->file->properties.upper) <= 0);
    struct table_meta meta = t->meta;
    meta.lower = lower;
    meta.upper = upper;
    atomic_fetch_add_explicit(&t->file->refs, 1, memory_order_relaxed);
    return table_new(t->file, &meta, table_out);
}

void table_ref(struct table *t)
{
    uint32_t before = atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    ASSERT(before > 0);
    (void)before;
}

void table_unref(struct table *t)
{
    if (t == NULL || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    table_file_unref(t->file);
    table_meta_release(&t->meta);
    free(t);
}

void table_delete_at_close(struct table *t)
{
    atomic_store_explicit(&t->file->delete_at_close, true, memory_order_relaxed);
}

const struct table_meta *table_meta(const struct table *t)
{
    return &t->meta;
}

const struct range_dels *table_range_dels(const struct table *t)
{
    return t->file->ranges;
}

// ---- loading blocks

struct section_place table_block_place(const struct table_file *tf, uint32_t block)
{
    ASSERT(block < tf->index.count);
    uint64_t offset = tf->index.offsets[block];
    return (struct section_place){tf->name, tf->number, offset,
                                  tf->index.offsets[block + 1] - offset};
}

// Fetches what a search in a cached block looks at first. Only the address is used.
static inline void prefetch_block(struct cache_block *b)
{
    __builtin_prefetch(b);
    const uint8_t *data = cache_block_data(b);
    __builtin_prefetch(data);
    __builtin_prefetch(data + 64);
    __builtin_prefetch(data + 128);
    __builtin_prefetch(data + 192);
}

struct cache_block *table_pin(struct table_file *tf, uint32_t block)
{
    os_epoch_enter();
    struct cache_block *b = atomic_load_explicit(&tf->slots[block], memory_order_relaxed);
    if (b != NULL) {
        prefetch_block(b);
        b = cache_pin(&tf->slots[block]);
    }
    os_epoch_leave();
    return b;
}

void table_discard(struct table_file *tf, struct cache_block *b)
{
    cache_unpin(tf->env.cache, cache_attach(tf->env.cache, NULL, b, false));
}

static strata_rc check_decoded(const struct table_file *tf, const struct section_place *place,
                               const uint8_t *image, uint64_t bytes)
{
    strata_rc rc = block_check(image, bytes);
    if (rc == STRATA_OK) {
        struct block b;
        block_view(&b, image, bytes);
        if (((b.flags & BLOCK_HISTORY) != 0) != tf->properties.history) {
            rc = fail(STRATA_CORRUPT, "block: live in a history table, or the reverse");
        }
    }
    return rc == STRATA_OK
               ? rc
               : fail_in(rc, "%s, offset %llu", place->name, (unsigned long long)place->offset);
}

strata_rc table_decode(struct table_file *tf, uint32_t block, const uint8_t *image, bool keep,
                       struct cache_block **block_out)
{
    struct section_place place = table_block_place(tf, block);
    struct section_header header;
    strata_rc rc = section_check(image, &place, SECTION_BLOCK, &header);
    if (rc != STRATA_OK) {
        return rc;
    }
    uint64_t bytes = SECTION_HEADER_BYTES + header.raw;
    struct cache_block *b = cache_block_new(tf->env.cache, bytes);
    if (b == NULL) {
        return alloc_failed("a block of a table", (size_t)bytes);
    }
    memcpy(b->data, image, SECTION_HEADER_BYTES);
    rc = section_unpack(image, &place, &header, b->data + SECTION_HEADER_BYTES);
    if (rc == STRATA_OK) {
        rc = check_decoded(tf, &place, b->data, bytes);
    }
    if (rc != STRATA_OK) {
        table_discard(tf, b);
        return rc;
    }
    *block_out = cache_attach(tf->env.cache, &tf->slots[block], b, keep);
    return STRATA_OK;
}

// A large image is read into the cached block itself, where it stays if it is not compressed.
static strata_rc load_large(struct table_file *tf, uint32_t block, bool keep,
                            struct cache_block **block_out)
{
    struct section_place place = table_block_place(tf, block);
    struct cache_block *b = cache_block_new(tf->env.cache, place.bytes);
    if (b == NULL) {
        return alloc_failed("a block of a table", (size_t)place.bytes);
    }
    struct section_header header = {0};
    strata_rc rc = table_file_read(tf, place.offset, b->data, (size_t)place.bytes);
    if (rc == STRATA_OK) {
        rc = section_check(b->data, &place, SECTION_BLOCK, &header);
    }
    if (rc == STRATA_OK && header.method == COMPRESS_NONE) {
        rc = check_decoded(tf, &place, b->data, place.bytes);
        if (rc == STRATA_OK) {
            *block_out = cache_attach(tf->env.cache, &tf->slots[block], b, keep);
            return STRATA_OK;
        }
    } else if (rc == STRATA_OK) {
        rc = table_decode(tf, block, b->data, keep, block_out);
    }
    table_discard(tf, b);
    return rc;
}

strata_rc table_file_load(struct table_file *tf, uint32_t block, bool keep,
                          struct cache_block **block_out)
{
    struct cache_block *b = table_pin(tf, block);
    if (b != NULL) {
        *block_out = b;
        return STRATA_OK;
    }
    struct section_place place = table_block_place(tf, block);
    if (place.bytes >= LARGE_IMAGE_BYTES) {
        return load_large(tf, block, keep, block_out);
    }
    uint8_t *image = alloc_array((size_t)place.bytes, 1);
    if (image == NULL) {
        return alloc_failed("a block of a table", (size_t)place.bytes);
    }
    strata_rc rc = table_file_read(tf, place.offset, image, (size_t)place.bytes);
    if (rc == STRATA_OK) {
        rc = table_decode(tf, block, image, keep, block_out);
    }
    free(image);
    return rc;
}

strata_rc table_load(struct table *t, uint32_t block, bool keep, struct cache_block **block_out)
{
    strata_rc rc = STRATA_OK;
    if (keep) {
        rc = table_regain_filter(t->file, table_block_place(t->file, block).bytes);
    }
    return rc == STRATA_OK ? table_file_load(t->file, block, keep, block_out) : rc;
}

strata_rc table_hand_over(struct table *from, uint32_t from_block, struct table *to,
                          uint32_t to_block, bool *handed_out)
{
    struct cache *cache = to->file->env.cache;
    *handed_out = false;
    struct cache_block *hot = table_pin(from->file, from_block);
    if (hot == NULL) {
        return STRATA_OK;
    }
    struct section_place place = table_block_place(to->file, to_block);
    struct cache_block *b = cache_block_new(cache, hot->bytes);
    if (b == NULL) {
        cache_unpin(cache, hot);
        return alloc_failed("a block of a table", (size_t)hot->bytes);
    }
    memcpy(b->data, hot->data, (size_t)hot->bytes);
    cache_unpin(cache, hot);
    // The header is that of the new place.
    strata_rc rc = table_file_read(to->file, place.offset, b->data, SECTION_HEADER_BYTES);
    if (rc == STRATA_OK && load_u64(b->data + 16) != b->bytes - SECTION_HEADER_BYTES) {
        rc = fail(STRATA_CORRUPT, "%s, offset %llu: this is not the block that was written",
                  place.name, (unsigned long long)place.offset);
    }
    if (rc != STRATA_OK) {
        table_discard(to->file, b);
        return rc;
    }
    cache_unpin(cache, cache_attach(cache, &to->file->slots[to_block], b, true));
    *handed_out = true;
    return STRATA_OK;
}

// ---- lookups

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
    prefetch_block(b);
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
