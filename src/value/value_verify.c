// Verification of a finished value file: header, directory, index blocks, and each record that the
// index names.
#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "value/value_file.h"

#include <stdio.h>

#define AHEAD 64u
#define AHEAD_BYTES_MAX (4u << 20)

struct verification {
    struct value_file *file;
    struct os_file *descriptor;
    struct value_index *index;
    void (*fault)(void *ctx, const char *text);
    void (*visit)(void *ctx, uint64_t logical, uint32_t ordinal);
    void *ctx;
    uint8_t *record; // room for any
    uint64_t faults;
    uint64_t records, raw_bytes; // of the present logical file
};

static void report(struct verification *v, const char *text)
{
    v->faults++;
    v->fault(v->ctx, text);
}

// Takes an error over as a fault when it says that bytes are wrong.
static strata_rc fault_of(struct verification *v, strata_rc rc)
{
    if (rc != STRATA_CORRUPT && rc != STRATA_VERSION) {
        return rc;
    }
    report(v, fail_text());
    return STRATA_OK;
}

// `likely`: how many bytes the record may have, to read it with one request.
static strata_rc verify_record(struct verification *v, const struct value_index_logical *l,
                               uint32_t ordinal, uint64_t offset, uint64_t likely)
{
    struct value_record record;
    uint8_t *payload = v->record + VALUE_RECORD_HEADER_BYTES;
    uint64_t room = v->index->records_end - offset;
    size_t done;
    size_t more = 0;
    size_t most = VALUE_RECORD_HEADER_BYTES + KV_VALUE_CHUNK_BYTES;
    size_t ask = likely < VALUE_SMALL_BYTES ? (size_t)likely : VALUE_SMALL_BYTES;
    strata_rc rc = os_file_read_some(v->descriptor, offset, v->record, ask, &done);
    bool good = rc == STRATA_OK && done > VALUE_RECORD_HEADER_BYTES &&
                value_record_decode(v->record, &record);
    size_t bytes = good ? VALUE_RECORD_HEADER_BYTES + (size_t)record.stored : 0;
    good = good && bytes <= room && bytes <= most;
    if (good && bytes > done) {
        rc = os_file_read_some(v->descriptor, offset + done, v->record + done, bytes - done, &more);
        good = done + more >= bytes;
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    uint64_t seed = value_record_seed(l->file, l->stamp, ordinal);
    if (!good || record.ordinal != ordinal ||
        !value_record_is_good(v->record, seed, slice_of(payload, record.stored))) {
        char text[160];
        snprintf(text, sizeof text, "%s, offset %llu: value %llu/%u is damaged", v->file->name,
                 (unsigned long long)offset, (unsigned long long)l->file, ordinal);
        report(v, text);
        return STRATA_OK;
    }
    v->raw_bytes += record.raw;
    return STRATA_OK;
}

// How far it is from entry `i` of a block to the next, or to the end of the records. From time to
// time the device is told of what follows.
static uint64_t likely_bytes(const struct verification *v, const struct value_index_block *b,
                             const uint8_t *image, uint32_t i, uint64_t offset)
{
    uint32_t ordinal;
    uint64_t next = v->index->records_end;
    if (i % AHEAD == 0) {
        uint32_t last = i + 2 * AHEAD < b->count ? i + 2 * AHEAD : b->count - 1u;
        if (value_index_entry(b, image, last, &ordinal, &next) && next > offset) {
            uint64_t most = (uint64_t)AHEAD_BYTES_MAX;
            os_file_will_read(v->descriptor, offset, next - offset < most ? next - offset : most);
        }
        next = v->index->records_end;
    }
    if (i + 1u < b->count) {
        uint64_t at;
        next = value_index_entry(b, image, i + 1, &ordinal, &at) && at > offset ? at : next;
    }
    return next - offset;
}

static strata_rc verify_block(struct verification *v, const struct value_index_logical *l,
                              uint32_t block, int64_t *last)
{
    uint8_t image[VALUE_BLOCK_BYTES_MAX];
    const struct value_index_block *b = &v->index->blocks[block];
    strata_rc rc = os_file_read(v->descriptor, b->offset, image, value_index_block_bytes(b));
    if (rc == STRATA_OK) {
        rc = value_index_check(v->index, block, image);
        rc = rc == STRATA_OK ? rc : fail_in(rc, "%s", v->file->name);
    }
    if (rc != STRATA_OK) {
        return fault_of(v, rc);
    }
    for (uint32_t i = 0; rc == STRATA_OK && i < b->count; i++) {
        uint32_t ordinal;
        uint64_t offset;
        if (!value_index_entry(b, image, i, &ordinal, &offset)) {
            continue;
        }
        if ((int64_t)ordinal <= *last) {
            char text[160];
            snprintf(text, sizeof text, "%s, offset %llu: ordinal %u is in two index blocks",
                     v->file->name, (unsigned long long)b->offset, ordinal);
            report(v, text);
            continue;
        }
        *last = ordinal;
        v->records++;
        rc = verify_record(v, l, ordinal, offset, likely_bytes(v, b, image, i, offset));
        if (v->visit != NULL) {
            v->visit(v->ctx, l->file, ordinal);
        }
    }
    return rc;
}

static strata_rc verify_logical(struct verification *v, const struct value_index_logical *l)
{
    strata_rc rc = STRATA_OK;
    int64_t last = -1;
    uint64_t faults = v->faults;
    v->records = v->raw_bytes = 0;
    for (uint32_t block = l->block_begin; rc == STRATA_OK && block < l->block_end; block++) {
        rc = verify_block(v, l, block, &last);
    }
    if (rc == STRATA_OK && v->faults == faults &&
        (v->records != l->records || v->raw_bytes != l->raw_bytes)) {
        char text[200];
        snprintf(text, sizeof text,
                 "%s: logical file %llu has %llu chunks of %llu bytes, the index says %llu of %llu",
                 v->file->name, (unsigned long long)l->file, (unsigned long long)v->records,
                 (unsigned long long)v->raw_bytes, (unsigned long long)l->records,
                 (unsigned long long)l->raw_bytes);
        report(v, text);
    }
    return rc;
}

static strata_rc verify_header(struct verification *v)
{
    uint8_t image[VALUE_HEADER_BYTES];
    struct value_header header;
    strata_rc rc = os_file_read(v->descriptor, 0, image, sizeof image);
    if (rc == STRATA_OK) {
        rc = value_header_decode(image, v->file->number, &header);
        rc = rc == STRATA_OK ? rc : fail(rc, "%s, offset 0: the header is damaged", v->file->name);
    }
    return fault_of(v, rc);
}

strata_rc value_file_verify(struct value_file *f, void (*fault)(void *ctx, const char *text),
                            void (*visit)(void *ctx, uint64_t logical, uint32_t ordinal), void *ctx)
{
    struct verification v = {.file = f, .fault = fault, .visit = visit, .ctx = ctx};
    struct value_footer footer;
    ASSERT(value_file_is_finished(f));
    v.record = alloc_array(VALUE_RECORD_HEADER_BYTES + KV_VALUE_CHUNK_BYTES, 1);
    if (v.record == NULL) {
        return alloc_failed("the verification of a value file", KV_VALUE_CHUNK_BYTES);
    }
    strata_rc rc = os_cached_file_lease(f->env.files, &f->descriptor, &v.descriptor);
    if (rc != STRATA_OK) {
        free(v.record);
        rc = fault_of(&v, rc);
        return rc == STRATA_OK ? STRATA_CORRUPT : rc;
    }
    rc = verify_header(&v);
    if (rc == STRATA_OK) {
        // From the disk, whatever is in memory.
        rc = value_file_read_index(v.descriptor, f->number, f->meta.bytes, &footer, &v.index);
        if (rc == STRATA_OK && !value_meta_is_of_index(&f->meta, v.index)) {
            rc = fail(STRATA_CORRUPT, "%s is not the value file that was recorded under its name",
                      f->name);
        }
        rc = fault_of(&v, rc);
    }
    for (uint32_t i = 0; rc == STRATA_OK && v.index != NULL && i < v.index->logical_count; i++) {
        rc = verify_logical(&v, &v.index->logicals[i]);
    }
    os_cached_file_return(f->env.files, &f->descriptor);
    value_index_free(v.index);
    free(v.record);
    return rc == STRATA_OK && v.faults > 0
               ? fail(STRATA_CORRUPT, "%s: %llu faults", f->name, (unsigned long long)v.faults)
               : rc;
}
