// Opening a table, and loading blocks and other sections of it. (Looking up a key: table_lookup.c.)
//
// What is read from the file is checked when it is read: the sections at opening, a block when it
// is loaded. After that it is trusted.
#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/reader.h"
#include "table/table_file.h"
#include "table/value_list.h"

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

// Are the properties those of the table that was recorded?
static bool properties_match(const struct table_properties *p, const struct table_meta *meta)
{
    struct value_files_reader files = value_files_reader_of(p->value_files);
    bool same =
        p->keyspace == meta->keyspace && p->history == meta->history &&
        p->entries == meta->entries && p->deletes == meta->deletes &&
        p->range_fragments == meta->range_fragments && p->commit_least == meta->commit_least &&
        p->commit_greatest == meta->commit_greatest && p->end_greatest == meta->end_greatest &&
        p->expiring == meta->expiring && files.count == meta->use_count &&
        slice_compare(meta->lower, p->lower) >= 0 && slice_compare(meta->upper, p->upper) <= 0;
    for (uint32_t i = 0; same && i < meta->use_count; i++) {
        struct table_value_use use = value_files_next(&files).use;
        same = use.file == meta->uses[i].file && use.records == meta->uses[i].records &&
               use.bytes == meta->uses[i].bytes;
    }
    return same;
}

// Do the images of ordinals fill their part of the file?
static bool ordinals_fit(const struct table_file *tf)
{
    struct value_files_reader files = value_files_reader_of(tf->properties.value_files);
    uint64_t left = tf->footer.ordinals.bytes;
    for (uint64_t i = 0; i < files.count; i++) {
        uint64_t bytes = value_files_next(&files).image_bytes;
        if (bytes == 0 || bytes > left) {
            return false;
        }
        left -= bytes;
    }
    return left == 0;
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
    if (!properties_match(p, meta)) {
        return fail(STRATA_CORRUPT, "%s is not the table that was recorded under its name",
                    tf->name);
    }
    if ((p->entries == 0) != (tf->footer.index.bytes == 0) ||
        (p->range_fragments == 0) != (tf->footer.ranges.bytes == 0) || !ordinals_fit(tf)) {
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
    os_cached_file_init(&tf->descriptor, tf->name, meta->bytes, OS_OPEN_READ);
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

struct cache_block *table_pin(struct table_file *tf, uint32_t block)
{
    os_epoch_enter();
    struct cache_block *b = atomic_load_explicit(&tf->slots[block], memory_order_relaxed);
    if (b != NULL) {
        table_prefetch_block(b);
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

// ---- ordinals

strata_rc table_read_ordinals(struct table_file *tf, uint64_t file, struct table_ordinals *o_out)
{
    struct value_files_reader files = value_files_reader_of(tf->properties.value_files);
    struct section_handle handle = {tf->footer.ordinals.offset, 0};
    *o_out = (struct table_ordinals){0};
    for (uint64_t i = 0; i < files.count; i++) {
        struct value_file_property v = value_files_next(&files);
        if (v.use.file == file) {
            handle.bytes = v.image_bytes;
            o_out->records = v.use.records;
            break;
        }
        handle.offset += v.image_bytes;
    }
    if (handle.bytes == 0) {
        return STRATA_OK;
    }
    size_t bytes;
    strata_rc rc = table_read_section(tf, handle, SECTION_ORDINALS, &o_out->memory, &bytes);
    if (rc == STRATA_OK) {
        o_out->list = slice_of(o_out->memory, bytes);
    }
    return rc;
}

strata_rc table_value_ordinals(struct table *t, uint64_t file,
                               strata_rc (*visit)(void *ctx, uint32_t ordinal, uint32_t chunks),
                               void *ctx)
{
    struct table_ordinals o;
    strata_rc rc = table_read_ordinals(t->file, file, &o);
    if (rc == STRATA_OK) {
        rc = value_list_decode(o.list, o.records, visit, ctx);
        rc = rc == STRATA_CORRUPT ? fail_in(rc, "%s", t->file->name) : rc;
    }
    free(o.memory);
    return rc;
}
