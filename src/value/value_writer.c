// Rewriting: chunks of finished files, as they are, into a new physical file.
//
// A record's checksum knows nothing of the place, so a record is verified where it was and copied
// byte for byte. Nothing is compressed or decompressed.
#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "value/value_file.h"

#define OUT_BYTES ((size_t)1 << 20)
// Most of what a record can have.
#define RECORD_BYTES_MAX ((size_t)VALUE_RECORD_HEADER_BYTES + KV_VALUE_CHUNK_BYTES)
// What is told of before it is copied: with such gaps, until it is so much together.
#define TOLD_GAP_BYTES_MAX ((uint64_t)12 << 10)
#define TOLD_BYTES_MAX ((uint64_t)256 << 10)
// A record behind as much as is gathered, and what it is filled up with.
#define OUT_ROOM (OUT_BYTES + RECORD_BYTES_MAX + 2 * (size_t)VALUE_SECTOR_BYTES)

struct copied {
    uint64_t logical;
    uint64_t stamp;
    uint32_t ordinal;
    uint32_t offset; // in units of VALUE_RECORD_ALIGN
    uint32_t raw;
};

struct value_writer {
    struct value_env env;
    uint64_t number;
    uint64_t keyspace;
    uint64_t incarnation;
    char name[FILE_NAME_BYTES];
    struct os_file *file;
    uint8_t *out; // the bytes that were not written yet, from `written` on
    size_t out_bytes;
    uint64_t written; // of the file
    struct copied *copied;
    size_t count, capacity;
    size_t charged;
    struct { // of `from`, not told of yet; NULL: nothing
        struct value_file *from;
        uint64_t begin, end;
    } told;
};

static void writer_charge(struct value_writer *w, size_t bytes)
{
    os_memory_charge(w->env.memory, OS_MEMORY_JOBS, bytes);
    w->charged += bytes;
}

static void writer_release(struct value_writer *w)
{
    os_memory_refund(w->env.memory, OS_MEMORY_JOBS, w->charged);
    free(w->out);
    free(w->copied);
    free(w);
}

strata_rc value_writer_new(const struct value_env *env, uint64_t number, uint64_t keyspace,
                           uint64_t incarnation, struct value_writer **writer_out)
{
    struct value_writer *w = alloc_zeroed(1, sizeof *w);
    if (w == NULL) {
        return alloc_failed("a rewrite of values", sizeof *w);
    }
    w->env = *env;
    w->number = number;
    w->keyspace = keyspace;
    w->incarnation = incarnation;
    file_name_make(w->name, FILE_VALUE, number);
    strata_rc rc = STRATA_OK;
    w->out = alloc_array(OUT_ROOM, 1);
    if (w->out == NULL) {
        rc = alloc_failed("a rewrite of values", OUT_ROOM);
    } else {
        writer_charge(w, OUT_ROOM);
        unsigned flags = OS_OPEN_WRITE | OS_OPEN_CREATE | OS_OPEN_EXCLUSIVE;
        rc = os_file_open(env->dir, w->name, flags, &w->file);
    }
    if (rc != STRATA_OK) {
        writer_release(w);
        return rc;
    }
    struct value_header header = {number, keyspace, incarnation};
    value_header_encode(w->out, &header);
    w->out_bytes = VALUE_HEADER_BYTES;
    *writer_out = w;
    return STRATA_OK;
}

void value_writer_abandon(struct value_writer *w)
{
    if (w != NULL) {
        (void)os_file_close(w->file);
        // A name that stays behind is removed at the next open: nothing refers to it.
        (void)!os_dir_unlink(w->env.dir, w->name);
        writer_release(w);
    }
}

uint64_t value_writer_bytes(const struct value_writer *w)
{
    return w->written + w->out_bytes;
}

// Where a record begins, and where it or its likely part ends.
static strata_rc told_range(struct value_file *from, uint64_t logical, uint32_t ordinal,
                            uint64_t *begin_out, uint64_t *end_out)
{
    struct value_spot spot;
    strata_rc rc = value_spot_find(from, logical, ordinal, &spot);
    if (rc == STRATA_OK) {
        value_spot_release(from, &spot);
        // Where the index does not tell the end of a record, it is most likely a short one.
        uint64_t most = spot.offset + VALUE_SMALL_BYTES;
        *begin_out = spot.offset;
        *end_out = spot.limit < most ? spot.limit : most;
    }
    return rc;
}

// Starts the request that was being gathered.
static void tell(struct value_writer *w)
{
    struct os_file *file;
    struct value_file *from = w->told.from;
    w->told.from = NULL;
    if (from != NULL &&
        os_cached_file_lease(from->env.files, &from->descriptor, &file) == STRATA_OK) {
        os_file_will_read(file, w->told.begin, w->told.end - w->told.begin);
        os_cached_file_return(from->env.files, &from->descriptor);
    }
}

void value_writer_will_copy(struct value_writer *w, struct value_file *from, uint64_t logical,
                            uint32_t ordinal, uint32_t chunks)
{
    uint64_t begin, end, last;
    ASSERT(chunks > 0);
    if (told_range(from, logical, ordinal, &begin, &end) != STRATA_OK ||
        (chunks > 1 && told_range(from, logical, ordinal + chunks - 1, &last, &end) != STRATA_OK)) {
        return; // the copy will say why
    }
    end = end > begin && end - begin < OUT_BYTES ? end : begin + OUT_BYTES;
    if (from == w->told.from && begin >= w->told.begin &&
        begin <= w->told.end + TOLD_GAP_BYTES_MAX) {
        w->told.end = end > w->told.end ? end : w->told.end;
    } else {
        tell(w);
        w->told.from = from;
        w->told.begin = begin;
        w->told.end = end;
    }
    if (w->told.end - w->told.begin >= TOLD_BYTES_MAX) {
        tell(w);
    }
}

static strata_rc write_out(struct value_writer *w)
{
    strata_rc rc = os_file_write(w->file, w->written, w->out, w->out_bytes);
    if (rc == STRATA_OK) {
        w->written += w->out_bytes;
        w->out_bytes = 0;
    }
    return rc;
}

// Reads the record into the free part of `out`, which has room for any, and verifies it.
static strata_rc copy_record(struct value_writer *w, const struct value_spot *spot,
                             struct value_record *record_out)
{
    uint8_t *image = w->out + w->out_bytes;
    uint64_t room = spot->limit - spot->offset;
    size_t most = room < RECORD_BYTES_MAX ? (size_t)room : RECORD_BYTES_MAX;
    // Where the index does not tell the end, most records are much shorter than any can be.
    size_t ask = most < 2 * VALUE_SMALL_BYTES ? most : VALUE_SMALL_BYTES;
    size_t done;
    size_t more = 0;
    strata_rc rc = os_file_read_some(spot->file, spot->offset, image, ask, &done);
    if (rc != STRATA_OK) {
        return rc;
    }
    if (done <= VALUE_RECORD_HEADER_BYTES || !value_record_decode(image, record_out)) {
        return STRATA_NOT_FOUND;
    }
    size_t bytes = VALUE_RECORD_HEADER_BYTES + (size_t)record_out->stored;
    if (bytes > most) {
        return STRATA_NOT_FOUND;
    }
    if (bytes > done) {
        rc = os_file_read_some(spot->file, spot->offset + done, image + done, bytes - done, &more);
    }
    if (rc == STRATA_OK &&
        (done + more < bytes ||
         !value_record_is_good(image, spot->seed,
                               slice_of(image + VALUE_RECORD_HEADER_BYTES, record_out->stored)))) {
        rc = STRATA_NOT_FOUND;
    }
    return rc;
}

static strata_rc note_copied(struct value_writer *w, const struct copied *c)
{
    if (w->count == w->capacity) {
        size_t capacity = w->capacity == 0 ? 1024 : w->capacity * 2;
        struct copied *grown = alloc_resize(w->copied, capacity, sizeof *grown);
        if (grown == NULL) {
            return alloc_failed("a rewrite of values", capacity * sizeof *grown);
        }
        writer_charge(w, (capacity - w->capacity) * sizeof *grown);
        w->copied = grown;
        w->capacity = capacity;
    }
    w->copied[w->count++] = *c;
    return STRATA_OK;
}

// Takes over the record that copy_record put behind `out`.
static strata_rc take_record(struct value_writer *w, const struct copied *c, uint32_t stored)
{
    strata_rc rc = note_copied(w, c);
    if (rc != STRATA_OK) {
        return rc;
    }
    size_t bytes = VALUE_RECORD_HEADER_BYTES + (size_t)stored;
    size_t end = value_round_up(w->out_bytes + bytes, VALUE_RECORD_ALIGN);
    memset(w->out + w->out_bytes + bytes, 0, end - w->out_bytes - bytes);
    w->out_bytes = end;
    return STRATA_OK;
}

strata_rc value_writer_copy(struct value_writer *w, struct value_file *from, uint64_t logical,
                            uint32_t ordinal, uint32_t chunks)
{
    struct value_index *index;
    strata_rc rc = value_file_index(from, &index);
    const struct value_index_logical *l = rc == STRATA_OK ? value_index_find(index, logical) : NULL;
    for (uint32_t i = 0; rc == STRATA_OK && i < chunks; i++) {
        struct value_spot spot = {0};
        struct value_record record;
        if (w->out_bytes >= OUT_BYTES) {
            rc = write_out(w);
        }
        if (rc == STRATA_OK && value_writer_bytes(w) > VALUE_RECORDS_END_MAX - RECORD_BYTES_MAX) {
            rc = fail(STRATA_TOO_LARGE, "%s: a value file cannot have more bytes", w->name);
        }
        if (rc == STRATA_OK) {
            rc = value_spot_find(from, logical, ordinal + i, &spot);
            if (rc == STRATA_OK) {
                rc = copy_record(w, &spot, &record);
                value_spot_release(from, &spot);
            }
            if (rc == STRATA_NOT_FOUND) {
                rc = fail(STRATA_CORRUPT, "%s, offset %llu: value %llu/%u is %s", from->name,
                          (unsigned long long)spot.offset, (unsigned long long)logical, ordinal + i,
                          spot.offset == 0 ? "not there" : "damaged");
            }
        }
        if (rc == STRATA_OK) {
            ASSERT(l != NULL);
            uint64_t units = value_writer_bytes(w) / VALUE_RECORD_ALIGN;
            struct copied c = {logical, l->stamp, ordinal + i, (uint32_t)units, record.raw};
            rc = take_record(w, &c, record.stored);
        }
    }
    return rc;
}

// ---- finishing

static int compare_copied(const void *a, const void *b)
{
    const struct copied *x = a;
    const struct copied *y = b;
    if (x->logical != y->logical) {
        return x->logical < y->logical ? -1 : 1;
    }
    return x->ordinal < y->ordinal ? -1 : x->ordinal > y->ordinal;
}

// Adds the logical file of the sorted chunks [begin, end) to index and meta.
static strata_rc index_logical(struct value_writer *w, size_t begin, size_t end,
                               struct value_index_builder *b, struct value_logical *logical_out)
{
    const struct copied *c = &w->copied[begin];
    uint64_t raw_bytes = 0;
    strata_rc rc = STRATA_OK;
    for (size_t i = begin; rc == STRATA_OK && i < end; i++) {
        if (i > begin && w->copied[i].ordinal == w->copied[i - 1].ordinal) {
            return fail(STRATA_INTERNAL, "%s: value %llu/%u was copied twice", w->name,
                        (unsigned long long)c->logical, w->copied[i].ordinal);
        }
        rc = value_index_add(b, w->copied[i].ordinal, w->copied[i].offset);
        raw_bytes += w->copied[i].raw;
    }
    *logical_out = (struct value_logical){c->logical, end - begin, raw_bytes};
    return rc == STRATA_OK ? value_index_logical(b, c->logical, c->stamp, end - begin, raw_bytes)
                           : rc;
}

static strata_rc build_index(struct value_writer *w, struct value_index_builder *b,
                             struct value_meta *meta)
{
    size_t logicals = 0;
    for (size_t i = 0; i < w->count; i++) {
        logicals += i == 0 || w->copied[i].logical != w->copied[i - 1].logical;
    }
    meta->logicals = alloc_array(logicals, sizeof *meta->logicals);
    if (meta->logicals == NULL) {
        return alloc_failed("the record of a value file", logicals * sizeof *meta->logicals);
    }
    strata_rc rc = STRATA_OK;
    for (size_t begin = 0, end; rc == STRATA_OK && begin < w->count; begin = end) {
        for (end = begin; end < w->count && w->copied[end].logical == w->copied[begin].logical;) {
            end++;
        }
        rc = index_logical(w, begin, end, b, &meta->logicals[meta->logical_count++]);
    }
    return rc == STRATA_OK ? value_index_seal(b, w->keyspace, w->incarnation, false) : rc;
}

// Everything that is left to write, on disk.
static strata_rc write_rest(struct value_writer *w, struct value_meta *meta)
{
    uint64_t begin = value_round_up(value_writer_bytes(w), VALUE_SECTOR_BYTES);
    size_t end = (size_t)(begin - w->written);
    memset(w->out + w->out_bytes, 0, end - w->out_bytes);
    w->out_bytes = end;
    struct value_index_builder *b = alloc_array(1, sizeof *b);
    if (b == NULL) {
        return alloc_failed("the index of a value file", sizeof *b);
    }
    value_index_begin(b, w->number, begin);
    if (w->count > 0) {
        qsort(w->copied, w->count, sizeof *w->copied, compare_copied);
    }
    strata_rc rc = build_index(w, b, meta);
    if (rc == STRATA_OK) {
        rc = write_out(w);
    }
    if (rc == STRATA_OK) {
        rc = os_file_write(w->file, w->written, b->blocks.data, b->blocks.bytes);
        meta->bytes = w->written + b->blocks.bytes;
    }
    if (rc == STRATA_OK) {
        rc = os_file_sync(w->file, true);
    }
    value_index_release(b);
    free(b);
    return rc;
}

strata_rc value_writer_finish(struct value_writer *w, struct value_file **file_out)
{
    struct value_meta meta = {.file = w->number, .keyspace = w->keyspace};
    struct value_file *f = NULL;
    strata_rc rc = write_rest(w, &meta);
    strata_rc closed = os_file_close(w->file);
    w->file = NULL;
    rc = rc == STRATA_OK ? closed : rc;
    if (rc == STRATA_OK) {
        rc = value_file_open(&w->env, &meta, &f);
    }
    value_meta_release(&meta);
    if (rc != STRATA_OK) {
        value_writer_abandon(w);
        return rc;
    }
    writer_release(w);
    *file_out = f;
    return STRATA_OK;
}
