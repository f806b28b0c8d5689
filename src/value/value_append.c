// Writing values on their way in, syncing them, and finishing the file.
//
// An append is a reservation of ordinals and bytes under the mutex, then one write outside of it.
// Reservations are counted in two generations: a sync begins a new generation at a new sector, and
// waits until the one before is written. So what it makes durable shares no sector with anything
// that is written later.
#include "value/value_file.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/mutant.h"

// ---- a new file

strata_rc value_file_new(const struct value_env *env, uint64_t number, uint64_t keyspace,
                         uint64_t incarnation, struct value_file **file_out)
{
    struct value_file *f;
    strata_rc rc = value_file_alloc(env, number, &f);
    if (rc != STRATA_OK) {
        return rc;
    }
    f->keyspace = keyspace;
    f->incarnation = incarnation;
    unsigned flags = OS_OPEN_WRITE | OS_OPEN_CREATE | OS_OPEN_EXCLUSIVE;
    rc = os_file_open(env->dir, f->name, flags, &f->mu.file);
    if (rc == STRATA_OK) {
        uint8_t image[VALUE_HEADER_BYTES];
        struct value_header header = {number, keyspace, incarnation};
        value_header_encode(image, &header);
        rc = os_file_write(f->mu.file, 0, image, sizeof image);
        if (rc != STRATA_OK) {
            value_file_delete_at_close(f);
        }
    }
    if (rc != STRATA_OK) {
        value_file_unref(f);
        return rc;
    }
    *file_out = f;
    return STRATA_OK;
}

bool value_file_is_full(const struct value_file *f)
{
    return atomic_load_explicit(&f->is_full, memory_order_relaxed);
}

uint64_t value_file_bytes(const struct value_file *f)
{
    return atomic_load_explicit(&f->bytes, memory_order_relaxed);
}

// ---- reservations

struct reservation {
    uint64_t offset;
    uint64_t end;
    uint32_t ordinal;
    uint32_t generation;
};

strata_rc value_file_grow_locked(struct value_file *f, uint32_t count)
{
    if (count <= f->mu.capacity) {
        return STRATA_OK;
    }
    uint32_t capacity = f->mu.capacity < 64 ? 64 : f->mu.capacity;
    while (capacity < count) {
        capacity = capacity > UINT32_MAX / 2 ? UINT32_MAX : capacity * 2;
    }
    uint32_t *offsets = alloc_resize(f->mu.offsets, capacity, sizeof *offsets);
    if (offsets == NULL) {
        return alloc_failed("the offsets of a value file", capacity * sizeof *offsets);
    }
    os_memory_charge(f->env.memory, OS_MEMORY_INDEXES,
                     (capacity - f->mu.capacity) * sizeof *offsets);
    f->mu.offsets = offsets;
    f->mu.capacity = capacity;
    return STRATA_OK;
}

// Reserves one ordinal and `bytes` bytes. `whole_sectors`: they begin and end at sector bounds. The
// owner of the tail does not wait for it.
static strata_rc reserve(struct value_file *f, uint64_t bytes, bool whole_sectors, bool owner,
                         struct reservation *r_out)
{
    strata_rc rc = STRATA_OK;
    uint64_t unit = whole_sectors ? VALUE_SECTOR_BYTES : VALUE_RECORD_ALIGN;
    os_mutex_lock(&f->mu.lock);
    ASSERT(f->mu.file != NULL && !f->mu.recovered);
    while (!owner && f->mu.tail_owned) {
        os_cond_wait(&f->mu.changed, &f->mu.lock);
    }
    uint64_t begin = value_round_up(f->mu.end, unit);
    uint64_t end = value_round_up(begin + bytes, unit);
    if (end > VALUE_RECORDS_END_MAX - VALUE_SECTOR_BYTES ||
        f->mu.count == VALUE_FILE_ORDINALS_MAX) {
        rc = fail(STRATA_BUSY, "%s has %llu bytes and no room for %llu more", f->name,
                  (unsigned long long)f->mu.end, (unsigned long long)bytes);
    }
    if (rc == STRATA_OK) {
        rc = value_file_grow_locked(f, f->mu.count + 1);
    }
    if (rc == STRATA_OK) {
        *r_out = (struct reservation){begin, end, f->mu.count, f->mu.generation};
        f->mu.offsets[f->mu.count++] = 0;
        f->mu.end = end;
        f->mu.reserved++;
        f->mu.writing[f->mu.generation]++;
        atomic_store_explicit(&f->bytes, end, memory_order_relaxed);
        if (end >= VALUE_FILE_BYTES || f->mu.count >= VALUE_FILE_RECORDS_MAX) {
            atomic_store_explicit(&f->is_full, true, memory_order_relaxed);
        }
    } else {
        atomic_store_explicit(&f->is_full, true, memory_order_relaxed);
    }
    os_mutex_unlock(&f->mu.lock);
    return rc;
}

// The reservation was written, or not.
static void settle(struct value_file *f, const struct reservation *r, uint32_t raw, strata_rc rc)
{
    os_mutex_lock(&f->mu.lock);
    if (rc == STRATA_OK) {
        f->mu.offsets[r->ordinal] = (uint32_t)(r->offset / VALUE_RECORD_ALIGN);
        f->mu.records++;
        f->mu.raw_bytes += raw;
    } else {
        // Its ordinal is not used again: an old record must not pass for a newer one.
        f->mu.failed_append = true;
        f->mu.end = f->mu.end == r->end ? r->offset : f->mu.end;
        atomic_store_explicit(&f->is_full, true, memory_order_relaxed);
    }
    ASSERT(f->mu.writing[r->generation] > 0);
    bool wake = --f->mu.writing[r->generation] == 0 && f->mu.syncing;
    os_mutex_unlock(&f->mu.lock);
    if (wake) {
        os_cond_wake_all(&f->mu.changed);
    }
}

// Waits until nobody else owns the tail.
static void tail_take(struct value_file *f)
{
    os_mutex_lock(&f->mu.lock);
    while (f->mu.tail_owned) {
        os_cond_wait(&f->mu.changed, &f->mu.lock);
    }
    f->mu.tail_owned = true;
    os_mutex_unlock(&f->mu.lock);
}

// With an error: the value's chunks up to now, from `first` on, do not count and make room again.
static void tail_give(struct value_file *f, const struct reservation *first, strata_rc rc)
{
    os_mutex_lock(&f->mu.lock);
    for (uint32_t i = first->ordinal; rc != STRATA_OK && i < f->mu.count; i++) {
        if (f->mu.offsets[i] != 0) {
            f->mu.offsets[i] = 0;
            f->mu.records--;
            f->mu.raw_bytes -= KV_VALUE_CHUNK_BYTES; // the last one has not been written
            f->mu.end = first->offset;
        }
    }
    f->mu.tail_owned = false;
    os_mutex_unlock(&f->mu.lock);
    os_cond_wake_all(&f->mu.changed);
}

// ---- appends

static enum compress_method method_of(strata_compression compression)
{
    switch (compression) {
    case STRATA_COMPRESSION_LZ4:
        return COMPRESS_LZ4;
    case STRATA_COMPRESSION_ZSTD:
        return COMPRESS_ZSTD;
    default:
        return COMPRESS_NONE;
    }
}

struct chunk_append {
    struct slice chunk;
    enum compress_method method;
    bool whole_sectors;
    bool owner;
};

// Reserves, completes the header of the record and writes it. When the payload does not follow the
// header in memory it is written by itself.
static strata_rc write_record(struct value_file *f, const struct chunk_append *a, uint8_t *header,
                              struct slice payload, struct reservation *r_out)
{
    struct value_record record = {(uint32_t)payload.bytes, (uint32_t)a->chunk.bytes, 0,
                                  payload.bytes < a->chunk.bytes ? a->method : COMPRESS_NONE};
    uint64_t bytes = VALUE_RECORD_HEADER_BYTES + payload.bytes;
    strata_rc rc = reserve(f, bytes, a->whole_sectors, a->owner, r_out);
    if (rc != STRATA_OK) {
        return rc;
    }
    record.ordinal = r_out->ordinal;
    uint64_t seed = value_record_seed(f->number, f->incarnation, r_out->ordinal);
    value_record_encode(header, seed, f->number, &record, payload);
    if (payload.data == header + VALUE_RECORD_HEADER_BYTES) {
        rc = os_file_write(f->mu.file, r_out->offset, header, (size_t)bytes);
    } else {
        rc = os_file_write(f->mu.file, r_out->offset, header, VALUE_RECORD_HEADER_BYTES);
        if (rc == STRATA_OK) {
            rc = os_file_write(f->mu.file, r_out->offset + VALUE_RECORD_HEADER_BYTES, payload.data,
                               payload.bytes);
        }
    }
    settle(f, r_out, record.raw, rc);
    return rc;
}

static strata_rc append_small(struct value_file *f, const struct chunk_append *a,
                              struct reservation *r_out)
{
    uint8_t image[VALUE_RECORD_HEADER_BYTES + VALUE_SMALL_BYTES];
    uint8_t *payload = image + VALUE_RECORD_HEADER_BYTES;
    size_t stored = compress_shared(a->method, a->chunk, payload);
    if (stored == 0) {
        stored = a->chunk.bytes;
        memcpy(payload, a->chunk.data, stored);
    }
    return write_record(f, a, image, slice_of(payload, stored), r_out);
}

static strata_rc append_large(struct value_file *f, const struct chunk_append *a,
                              struct reservation *r_out)
{
    uint8_t header[VALUE_RECORD_HEADER_BYTES];
    uint8_t *compressed = NULL;
    struct slice payload = a->chunk;
    if (a->method != COMPRESS_NONE) {
        // Without memory it is stored as it is.
        compressed = alloc_array(compress_room(a->chunk.bytes), 1);
        size_t stored = compressed == NULL ? 0 : compress_shared(a->method, a->chunk, compressed);
        payload = stored == 0 ? a->chunk : slice_of(compressed, stored);
    }
    strata_rc rc = write_record(f, a, header, payload, r_out);
    free(compressed);
    return rc;
}

static strata_rc append_chunk(struct value_file *f, const struct chunk_append *a,
                              struct reservation *r_out)
{
    ASSERT(a->chunk.bytes > 0 && a->chunk.bytes <= KV_VALUE_CHUNK_BYTES);
    return a->chunk.bytes <= VALUE_SMALL_BYTES ? append_small(f, a, r_out)
                                               : append_large(f, a, r_out);
}

static struct value_place place_of(const struct value_file *f, const struct reservation *r,
                                   size_t bytes)
{
    return (struct value_place){{f->number, r->ordinal, (uint32_t)bytes}, r->offset};
}

strata_rc value_file_append(struct value_file *f, struct slice value,
                            strata_compression compression, struct value_place *place_out)
{
    ASSERT(value.bytes > 0 && value.bytes <= UINT32_MAX);
    bool many = value.bytes > KV_VALUE_CHUNK_BYTES;
    struct chunk_append a = {
        .method = method_of(compression), .whole_sectors = many, .owner = many};
    struct reservation first = {.ordinal = UINT32_MAX};
    strata_rc rc = STRATA_OK;
    // The chunks of a value follow each other, and what they take is known only one by one.
    if (many) {
        tail_take(f);
    }
    for (size_t at = 0; rc == STRATA_OK && at < value.bytes; at += a.chunk.bytes) {
        size_t left = value.bytes - at;
        struct reservation r;
        a.chunk =
            slice_of(value.data + at, left < KV_VALUE_CHUNK_BYTES ? left : KV_VALUE_CHUNK_BYTES);
        rc = append_chunk(f, &a, at == 0 ? &first : &r);
    }
    if (many) {
        tail_give(f, &first, rc);
    }
    if (rc == STRATA_OK) {
        *place_out = place_of(f, &first, value.bytes);
    }
    return rc;
}

strata_rc value_file_append_chunk(struct value_file *f, struct slice chunk,
                                  strata_compression compression, struct value_place *place_out)
{
    struct chunk_append a = {
        .chunk = chunk, .method = method_of(compression), .whole_sectors = true};
    struct reservation r;
    strata_rc rc = append_chunk(f, &a, &r);
    if (rc == STRATA_OK) {
        *place_out = place_of(f, &r, chunk.bytes);
    }
    return rc;
}

// ---- syncs

static strata_rc sync_refused(const struct value_file *f)
{
    return fail(STRATA_UNKNOWN_OUTCOME, "%s: a sync failed before, its values may be lost",
                f->name);
}

// One sync of all that is reserved by now; with the mutex held, which it gives up meanwhile.
static strata_rc sync_locked(struct value_file *f)
{
    ASSERT(!f->mu.syncing);
    f->mu.syncing = true;
    uint64_t covered = f->mu.reserved;
    uint32_t generation = f->mu.generation;
    ASSERT(f->mu.writing[1 - generation] == 0);
    f->mu.generation = 1 - generation;
    if (!MUTANT(60)) {
        f->mu.end = value_round_up(f->mu.end, VALUE_SECTOR_BYTES);
    }
    while (f->mu.writing[generation] > 0) {
        os_cond_wait(&f->mu.changed, &f->mu.lock);
    }
    bool named = f->mu.named;
    struct os_file *file = f->mu.file;
    os_mutex_unlock(&f->mu.lock);
    strata_rc rc = os_file_sync(file, true);
    if (rc == STRATA_OK && !named && !MUTANT(61)) {
        rc = os_dir_sync(f->env.dir);
    }
    os_mutex_lock(&f->mu.lock);
    f->mu.syncing = false;
    if (rc == STRATA_OK) {
        f->mu.synced = covered;
        f->mu.named = true;
    } else {
        // A second sync may succeed without the pages that were lost.
        f->mu.sync_failed = !MUTANT(63);
        atomic_store_explicit(&f->is_full, true, memory_order_relaxed);
        rc = fail_in(STRATA_UNKNOWN_OUTCOME, "a sync of values failed");
    }
    os_cond_wake_all(&f->mu.changed);
    return rc;
}

strata_rc value_file_sync(struct value_file *f)
{
    strata_rc rc = STRATA_OK;
    os_mutex_lock(&f->mu.lock);
    uint64_t wanted = f->mu.reserved;
    while (rc == STRATA_OK && !f->mu.sync_failed && f->mu.file != NULL && f->mu.synced < wanted) {
        if (f->mu.syncing) {
            os_cond_wait(&f->mu.changed, &f->mu.lock);
        } else {
            rc = sync_locked(f);
        }
    }
    bool failed = f->mu.sync_failed;
    os_mutex_unlock(&f->mu.lock);
    return rc == STRATA_OK && failed ? sync_refused(f) : rc;
}

// ---- finishing

strata_rc value_file_build_index(const struct value_file *f, uint64_t begin, bool alone,
                                 struct value_index_builder *b)
{
    strata_rc rc = STRATA_OK;
    value_index_begin(b, f->number, begin);
    for (uint32_t i = 0; rc == STRATA_OK && i < f->mu.count; i++) {
        if (f->mu.offsets[i] != 0) {
            rc = value_index_add(b, i, f->mu.offsets[i]);
        }
    }
    if (rc == STRATA_OK) {
        rc = value_index_logical(b, f->number, f->incarnation, f->mu.records, f->mu.raw_bytes);
    }
    if (rc == STRATA_OK) {
        rc = value_index_seal(b, f->keyspace, f->incarnation, alone);
    }
    return rc;
}

// The values and the name on disk, and nothing behind the values.
static strata_rc settle_values(struct value_file *f, uint64_t begin)
{
    strata_rc rc = STRATA_OK;
    if (f->mu.failed_append) {
        rc = os_file_truncate(f->mu.file, begin);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    os_mutex_lock(&f->mu.lock);
    ASSERT(f->mu.writing[0] == 0 && f->mu.writing[1] == 0);
    while (f->mu.syncing) {
        os_cond_wait(&f->mu.changed, &f->mu.lock);
    }
    bool needed = f->mu.synced < f->mu.reserved || !f->mu.named;
    if (f->mu.sync_failed) {
        rc = sync_refused(f);
    } else if (needed && !MUTANT(62)) {
        rc = sync_locked(f);
    }
    os_mutex_unlock(&f->mu.lock);
    return rc;
}

static strata_rc write_index(struct value_file *f, uint64_t begin, struct slice index)
{
    strata_rc rc = os_file_write(f->mu.file, begin, index.data, index.bytes);
    if (rc == STRATA_OK) {
        rc = MUTANT(74) ? STRATA_OK : os_file_sync(f->mu.file, true);
        if (rc != STRATA_OK) {
            os_mutex_lock(&f->mu.lock);
            f->mu.sync_failed = true;
            os_mutex_unlock(&f->mu.lock);
            atomic_store_explicit(&f->is_full, true, memory_order_relaxed);
            rc = fail_in(STRATA_UNKNOWN_OUTCOME, "a sync of values failed");
        }
    }
    return rc;
}

void value_file_leave_writing(struct value_file *f)
{
    os_mutex_lock(&f->mu.lock);
    struct os_file *file = f->mu.file;
    f->mu.file = NULL;
    while (f->mu.users > 0) {
        os_cond_wait(&f->mu.changed, &f->mu.lock);
    }
    uint32_t *offsets = f->mu.offsets;
    uint32_t capacity = f->mu.capacity;
    f->mu.offsets = NULL;
    f->mu.count = f->mu.capacity = 0;
    os_mutex_unlock(&f->mu.lock);
    os_memory_refund(f->env.memory, OS_MEMORY_INDEXES, capacity * sizeof *offsets);
    free(offsets);
    (void)os_file_close(file); // what counts was synced
}

static strata_rc finish(struct value_file *f, bool alone)
{
    if (f->mu.recovered) {
        return value_file_finish_recovered(f);
    }
    if (value_file_is_finished(f)) {
        return STRATA_OK;
    }
    os_mutex_lock(&f->mu.lock);
    uint64_t begin = value_round_up(f->mu.end, VALUE_SECTOR_BYTES);
    os_mutex_unlock(&f->mu.lock);
    struct value_meta meta = {.file = f->number, .keyspace = f->keyspace, .logical_count = 1};
    struct value_index_builder *b = alloc_array(1, sizeof *b);
    if (b == NULL) {
        return alloc_failed("the index of a value file", sizeof *b);
    }
    strata_rc rc = value_file_build_index(f, begin, alone, b);
    if (rc == STRATA_OK) {
        meta.bytes = begin + b->blocks.bytes;
        meta.logicals = alloc_array(1, sizeof *meta.logicals);
        rc = meta.logicals == NULL
                 ? alloc_failed("the record of a value file", sizeof *meta.logicals)
                 : settle_values(f, begin);
    }
    if (rc == STRATA_OK) {
        rc = write_index(f, begin, buffer_slice(&b->blocks));
    }
    if (rc == STRATA_OK) {
        meta.logicals[0] = (struct value_logical){f->number, f->mu.records, f->mu.raw_bytes};
        value_file_publish(f, meta);
        value_file_leave_writing(f);
    } else {
        value_meta_release(&meta);
    }
    value_index_release(b);
    free(b);
    return rc;
}

strata_rc value_file_finish(struct value_file *f)
{
    return finish(f, false);
}

strata_rc value_file_finish_alone(struct value_file *f)
{
    return finish(f, true);
}
