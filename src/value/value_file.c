// Opening, counting and closing value files, and where their chunks are.
#include "value/value_file.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"

// ---- metas

strata_rc value_meta_copy(const struct value_meta *from, struct value_meta *to_out)
{
    struct value_meta copy = *from;
    copy.logicals = alloc_array(from->logical_count, sizeof *copy.logicals);
    if (copy.logicals == NULL) {
        return alloc_failed("the record of a value file",
                            from->logical_count * sizeof *copy.logicals);
    }
    if (from->logical_count > 0) {
        memcpy(copy.logicals, from->logicals, from->logical_count * sizeof *copy.logicals);
    }
    *to_out = copy;
    return STRATA_OK;
}

void value_meta_release(struct value_meta *m)
{
    free(m->logicals);
    *m = (struct value_meta){0};
}

strata_rc value_meta_of_index(const struct value_file *f, const struct value_index *index,
                              uint64_t bytes, struct value_meta *meta_out)
{
    struct value_meta meta = {.file = f->number,
                              .bytes = bytes,
                              .keyspace = f->keyspace,
                              .logical_count = index->logical_count};
    meta.logicals = alloc_array(index->logical_count, sizeof *meta.logicals);
    if (meta.logicals == NULL) {
        return alloc_failed("the record of a value file",
                            index->logical_count * sizeof *meta.logicals);
    }
    for (uint32_t i = 0; i < index->logical_count; i++) {
        const struct value_index_logical *l = &index->logicals[i];
        meta.logicals[i] = (struct value_logical){l->file, l->records, l->raw_bytes};
    }
    *meta_out = meta;
    return STRATA_OK;
}

bool value_meta_is_of_index(const struct value_meta *meta, const struct value_index *index)
{
    bool same = meta->logical_count == index->logical_count;
    for (uint32_t i = 0; same && i < index->logical_count; i++) {
        const struct value_logical *m = &meta->logicals[i];
        const struct value_index_logical *l = &index->logicals[i];
        same = m->file == l->file && m->records == l->records && m->raw_bytes == l->raw_bytes;
    }
    return same;
}

// ---- lives

strata_rc value_file_alloc(const struct value_env *env, uint64_t number,
                           struct value_file **file_out)
{
    struct value_file *f = alloc_zeroed(1, sizeof *f);
    if (f == NULL) {
        return alloc_failed("a value file", sizeof *f);
    }
    f->env = *env;
    f->number = number;
    atomic_init(&f->refs, 1);
    file_name_make(f->name, FILE_VALUE, number);
    os_mutex_init(&f->mu.lock);
    os_cond_init(&f->mu.changed);
    f->mu.end = VALUE_HEADER_BYTES;
    atomic_init(&f->bytes, VALUE_HEADER_BYTES);
    *file_out = f;
    return STRATA_OK;
}

static void value_file_close(struct value_file *f)
{
    struct value_index *index = atomic_load_explicit(&f->index, memory_order_relaxed);
    for (uint32_t i = 0; index != NULL && i < index->block_count; i++) {
        cache_drop(f->env.cache, &index->slots[i]);
    }
    if (index != NULL) {
        os_memory_refund(f->env.memory, OS_MEMORY_INDEXES, (size_t)index->heap_bytes);
    }
    value_index_free(index);
    if (atomic_load_explicit(&f->finished, memory_order_relaxed)) {
        os_cached_file_drop(f->env.files, &f->descriptor);
    }
    ASSERT(f->mu.users == 0 && f->mu.writing[0] == 0 && f->mu.writing[1] == 0);
    // What counts in a file that was written has been synced: its close has nothing to tell.
    (void)os_file_close(f->mu.file);
    if (atomic_load_explicit(&f->delete_at_close, memory_order_relaxed)) {
        // A name that stays behind is removed at the next open: nothing refers to it any more.
        (void)!os_dir_unlink(f->env.dir, f->name);
    }
    os_memory_refund(f->env.memory, OS_MEMORY_INDEXES, f->mu.capacity * sizeof *f->mu.offsets);
    free(f->mu.offsets);
    value_meta_release(&f->meta);
    os_cond_release(&f->mu.changed);
    os_mutex_release(&f->mu.lock);
    free(f);
}

void value_file_ref(struct value_file *f)
{
    uint32_t before = atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    ASSERT(before > 0);
    (void)before;
}

void value_file_unref(struct value_file *f)
{
    // Release and acquire: what other holders did is done before the file goes.
    if (f != NULL && atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1) {
        value_file_close(f);
    }
}

void value_file_delete_at_close(struct value_file *f)
{
    atomic_store_explicit(&f->delete_at_close, true, memory_order_relaxed);
}

bool value_file_is_finished(const struct value_file *f)
{
    // Pairs with the release store in value_file_publish.
    return atomic_load_explicit(&f->finished, memory_order_acquire);
}

uint64_t value_file_keyspace(const struct value_file *f)
{
    return f->keyspace;
}

const struct value_meta *value_file_meta(const struct value_file *f)
{
    ASSERT(value_file_is_finished(f));
    return &f->meta;
}

void value_file_publish(struct value_file *f, struct value_meta meta)
{
    f->meta = meta;
    os_cached_file_init(&f->descriptor, f->name, meta.bytes, OS_OPEN_RANDOM);
    atomic_store_explicit(&f->bytes, meta.bytes, memory_order_relaxed);
    // Pairs with the acquire load in value_file_is_finished.
    atomic_store_explicit(&f->finished, true, memory_order_release);
}

strata_rc value_file_open(const struct value_env *env, const struct value_meta *meta,
                          struct value_file **file_out)
{
    struct value_file *f;
    strata_rc rc = value_file_alloc(env, meta->file, &f);
    if (rc != STRATA_OK) {
        return rc;
    }
    f->keyspace = meta->keyspace;
    struct value_meta copy;
    rc = value_meta_copy(meta, &copy);
    if (rc != STRATA_OK) {
        value_file_unref(f);
        return rc;
    }
    value_file_publish(f, copy);
    struct value_header header = {0};
    uint8_t image[VALUE_HEADER_BYTES];
    struct os_file *file;
    rc = os_cached_file_lease(env->files, &f->descriptor, &file);
    if (rc == STRATA_OK) {
        rc = os_file_read(file, 0, image, sizeof image);
        os_cached_file_return(env->files, &f->descriptor);
    }
    if (rc == STRATA_OK) {
        rc = value_header_decode(image, f->number, &header);
        if (rc != STRATA_OK || header.keyspace != meta->keyspace) {
            rc = fail(rc == STRATA_OK ? STRATA_CORRUPT : rc,
                      "%s, offset 0: this is not the header of the value file that was recorded",
                      f->name);
        }
    }
    if (rc != STRATA_OK) {
        value_file_unref(f);
        return rc;
    }
    f->incarnation = header.incarnation;
    *file_out = f;
    return STRATA_OK;
}

// ---- the index

strata_rc value_file_read_index(struct os_file *file, uint64_t number, uint64_t bytes,
                                struct value_footer *footer_out, struct value_index **index_out)
{
    if (bytes < VALUE_HEADER_BYTES + VALUE_DIRECTORY_HEADER_BYTES + VALUE_FOOTER_BYTES) {
        return fail(STRATA_CORRUPT, "%s has %llu bytes, too few for an index", file->name,
                    (unsigned long long)bytes);
    }
    uint8_t image[VALUE_FOOTER_BYTES];
    uint64_t at = bytes - VALUE_FOOTER_BYTES;
    strata_rc rc = os_file_read(file, at, image, sizeof image);
    if (rc == STRATA_OK) {
        rc = value_footer_decode(image, number, at, footer_out);
        if (rc != STRATA_OK) {
            rc = fail(rc, "%s, offset %llu: this is not the footer of a value file", file->name,
                      (unsigned long long)at);
        }
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    // No more than the file has: the footer was checked against its place.
    size_t directory_bytes = (size_t)footer_out->directory_bytes;
    uint8_t *directory = alloc_array(directory_bytes, 1);
    if (directory == NULL) {
        return alloc_failed("the index of a value file", directory_bytes);
    }
    rc = os_file_read(file, footer_out->directory_offset, directory, directory_bytes);
    if (rc == STRATA_OK) {
        rc = value_index_open(number, footer_out, directory, index_out);
        rc = rc == STRATA_CORRUPT ? fail_in(rc, "%s", file->name) : rc;
    }
    free(directory);
    return rc;
}

strata_rc value_file_index(struct value_file *f, struct value_index **index_out)
{
    ASSERT(value_file_is_finished(f));
    // Pairs with the release exchange below.
    struct value_index *index = atomic_load_explicit(&f->index, memory_order_acquire);
    if (index != NULL) {
        *index_out = index;
        return STRATA_OK;
    }
    struct os_file *file;
    struct value_footer footer;
    strata_rc rc = os_cached_file_lease(f->env.files, &f->descriptor, &file);
    if (rc == STRATA_OK) {
        rc = value_file_read_index(file, f->number, f->meta.bytes, &footer, &index);
        os_cached_file_return(f->env.files, &f->descriptor);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    if (footer.keyspace != f->keyspace || !value_meta_is_of_index(&f->meta, index)) {
        value_index_free(index);
        return fail(STRATA_CORRUPT, "%s is not the value file that was recorded under its name",
                    f->name);
    }
    struct value_index *faster = NULL;
    if (!atomic_compare_exchange_strong_explicit(&f->index, &faster, index, memory_order_acq_rel,
                                                 memory_order_acquire)) {
        value_index_free(index);
        index = faster;
    } else {
        os_memory_charge(f->env.memory, OS_MEMORY_INDEXES, (size_t)index->heap_bytes);
    }
    *index_out = index;
    return STRATA_OK;
}

strata_rc value_file_block(struct value_file *f, struct value_index *index, uint32_t block,
                           struct cache_block **block_out)
{
    os_epoch_enter();
    struct cache_block *b = cache_peek(&index->slots[block]);
    if (b != NULL) {
        b = cache_pin(&index->slots[block]);
    }
    os_epoch_leave();
    if (b != NULL) {
        *block_out = b;
        return STRATA_OK;
    }
    size_t bytes = value_index_block_bytes(&index->blocks[block]);
    b = cache_block_new(f->env.cache, bytes);
    if (b == NULL) {
        return alloc_failed("a block of the index of a value file", bytes);
    }
    struct os_file *file;
    strata_rc rc = os_cached_file_lease(f->env.files, &f->descriptor, &file);
    if (rc == STRATA_OK) {
        rc = os_file_read(file, index->blocks[block].offset, b->data, bytes);
        os_cached_file_return(f->env.files, &f->descriptor);
    }
    if (rc == STRATA_OK) {
        rc = value_index_check(index, block, b->data);
        rc = rc == STRATA_OK ? rc : fail_in(rc, "%s", f->name);
    }
    if (rc != STRATA_OK) {
        cache_unpin(f->env.cache, cache_attach(f->env.cache, NULL, b, false));
        return rc;
    }
    *block_out = cache_attach(f->env.cache, &index->slots[block], b, true);
    return STRATA_OK;
}

// ---- where a chunk is

static strata_rc find_in_index(struct value_file *f, uint64_t logical, uint32_t ordinal,
                               struct value_spot *spot)
{
    struct value_index *index;
    uint32_t block;
    struct cache_block *b;
    strata_rc rc = value_file_index(f, &index);
    if (rc != STRATA_OK) {
        return rc;
    }
    const struct value_index_logical *l = value_index_find(index, logical);
    if (l == NULL || !value_index_block_of(index, l, ordinal, &block)) {
        return STRATA_NOT_FOUND;
    }
    rc = value_file_block(f, index, block, &b);
    if (rc != STRATA_OK) {
        return rc;
    }
    bool held = value_index_lookup(index, block, b->data, ordinal, &spot->offset, &spot->limit);
    cache_unpin(f->env.cache, b);
    spot->seed = value_record_seed(logical, l->stamp, ordinal);
    return held ? STRATA_OK : STRATA_NOT_FOUND;
}

// Looks into the array of a file that is being written. False when it is finished by now.
static bool find_in_array(struct value_file *f, uint64_t logical, uint32_t ordinal,
                          struct value_spot *spot, strata_rc *rc_out)
{
    os_mutex_lock(&f->mu.lock);
    bool writing = f->mu.file != NULL;
    if (writing) {
        *rc_out = STRATA_NOT_FOUND;
        uint32_t units = ordinal < f->mu.count ? f->mu.offsets[ordinal] : 0;
        uint32_t next = ordinal + 1 < f->mu.count ? f->mu.offsets[ordinal + 1] : 0;
        if (logical == f->number && units != 0) {
            f->mu.users++;
            spot->file = f->mu.file;
            spot->offset = (uint64_t)units * VALUE_RECORD_ALIGN;
            spot->limit = next > units ? (uint64_t)next * VALUE_RECORD_ALIGN : f->mu.end;
            *rc_out = STRATA_OK;
        }
    }
    os_mutex_unlock(&f->mu.lock);
    spot->seed = value_record_seed(logical, f->incarnation, ordinal);
    return writing;
}

strata_rc value_spot_find(struct value_file *f, uint64_t logical, uint32_t ordinal,
                          struct value_spot *spot_out)
{
    strata_rc rc;
    spot_out->cached = false;
    if (!value_file_is_finished(f) && find_in_array(f, logical, ordinal, spot_out, &rc)) {
        return rc;
    }
    rc = find_in_index(f, logical, ordinal, spot_out);
    if (rc == STRATA_OK) {
        spot_out->cached = true;
        rc = os_cached_file_lease(f->env.files, &f->descriptor, &spot_out->file);
    }
    return rc;
}

void value_spot_release(struct value_file *f, const struct value_spot *spot)
{
    if (spot->cached) {
        os_cached_file_return(f->env.files, &f->descriptor);
        return;
    }
    os_mutex_lock(&f->mu.lock);
    f->mu.users--;
    bool wake = f->mu.users == 0;
    os_mutex_unlock(&f->mu.lock);
    if (wake) {
        os_cond_wake_all(&f->mu.changed);
    }
}
