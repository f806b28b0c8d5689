// A list of ordinals in one logical value file:
//
//   list := run*
//   run  := gap varint: from the end of the run before (0 before the first) to the first ordinal;
//           at least 1 but in the first run
//         | length varint, at least 1
//
// up to the end of the list. No ordinal is above 2^32 - 2.
#include "table/value_list.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/reader.h"
#include "kv/value_ref.h"

void value_list_release(struct value_list *l)
{
    free(l->files);
    free(l->ordinals);
    free(l->starts);
    *l = (struct value_list){0};
}

// ---- noting

// Index of the first file whose number is not less.
static uint32_t file_index(const struct value_list *l, uint64_t file)
{
    uint32_t low = 0, high = l->file_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (l->files[middle].use.file < file) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

// Makes `last` the file.
static strata_rc list_enter(struct value_list *l, uint64_t file)
{
    if (l->last < l->file_count && l->files[l->last].use.file == file) {
        return STRATA_OK;
    }
    l->last = file_index(l, file);
    if (l->last < l->file_count && l->files[l->last].use.file == file) {
        return STRATA_OK;
    }
    if (l->file_count == l->file_capacity) {
        uint32_t capacity = l->file_capacity == 0 ? 16 : 2 * l->file_capacity;
        struct value_list_file *files = alloc_resize(l->files, capacity, sizeof *files);
        if (files == NULL) {
            return alloc_failed("the value files of a table", capacity * sizeof *files);
        }
        l->files = files;
        l->file_capacity = capacity;
    }
    struct value_list_file *at = &l->files[l->last];
    memmove(at + 1, at, (l->file_count - l->last) * sizeof *at);
    *at = (struct value_list_file){.use.file = file, .slot = l->file_count};
    l->file_count++;
    return STRATA_OK;
}

static strata_rc list_reserve(struct value_list *l, size_t more)
{
    if (l->capacity - l->count >= more) {
        return STRATA_OK;
    }
    size_t capacity = l->capacity + l->capacity / 2 + more + 256;
    uint64_t *ordinals = alloc_resize(l->ordinals, capacity, sizeof *ordinals);
    if (ordinals == NULL) {
        return alloc_failed("ordinals of separated values", capacity * sizeof *ordinals);
    }
    l->ordinals = ordinals;
    l->capacity = capacity;
    return STRATA_OK;
}

strata_rc value_list_note(struct value_list *l, struct slice reference)
{
    struct kv_value_ref ref;
    ASSERT(l->starts == NULL);
    strata_rc rc = kv_value_ref_decode(reference, &ref);
    if (rc == STRATA_OK) {
        rc = list_enter(l, ref.file);
    }
    uint32_t chunks = kv_value_chunks(ref.bytes);
    if (rc == STRATA_OK) {
        rc = list_reserve(l, chunks);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    struct value_list_file *f = &l->files[l->last];
    f->use.bytes += ref.bytes;
    for (uint32_t i = 0; i < chunks; i++) {
        l->ordinals[l->count++] = (uint64_t)f->slot << 32 | (ref.ordinal + i);
    }
    return STRATA_OK;
}

// ---- sorting

// One pass of a radix sort by byte `digit`; false when all are alike in it and nothing was moved.
static bool radix_pass(const uint64_t *from, uint64_t *to, size_t count, unsigned digit)
{
    size_t places[256] = {0};
    unsigned shift = 8 * digit;
    for (size_t i = 0; i < count; i++) {
        places[from[i] >> shift & 0xff]++;
    }
    if (places[from[0] >> shift & 0xff] == count) {
        return false;
    }
    size_t at = 0;
    for (size_t i = 0; i < 256; i++) {
        size_t here = places[i];
        places[i] = at;
        at += here;
    }
    for (size_t i = 0; i < count; i++) {
        to[places[from[i] >> shift & 0xff]++] = from[i];
    }
    return true;
}

static strata_rc list_sort_ordinals(struct value_list *l)
{
    if (l->count < 2) {
        return STRATA_OK;
    }
    uint64_t *other = alloc_array(l->count, sizeof *other);
    if (other == NULL) {
        return alloc_failed("ordinals of separated values", l->count * sizeof *other);
    }
    for (unsigned digit = 0; digit < 8; digit++) {
        if (radix_pass(l->ordinals, other, l->count, digit)) {
            uint64_t *sorted = other;
            other = l->ordinals;
            l->ordinals = sorted;
        }
    }
    l->capacity = l->count;
    free(other);
    return STRATA_OK;
}

strata_rc value_list_sort(struct value_list *l)
{
    ASSERT(l->starts == NULL);
    l->starts = alloc_zeroed((size_t)l->file_count + 1, sizeof *l->starts);
    if (l->starts == NULL) {
        return alloc_failed("the value files of a table", l->file_count * sizeof *l->starts);
    }
    strata_rc rc = list_sort_ordinals(l);
    if (rc != STRATA_OK) {
        return rc;
    }
    // An ordinal counts once, however often it was noted.
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++) {
        if (kept == 0 || l->ordinals[i] != l->ordinals[kept - 1]) {
            l->ordinals[kept++] = l->ordinals[i];
            l->starts[(l->ordinals[i] >> 32) + 1]++;
        }
    }
    l->count = kept;
    for (uint32_t i = 0; i < l->file_count; i++) {
        l->starts[i + 1] += l->starts[i];
    }
    for (uint32_t i = 0; i < l->file_count; i++) {
        struct value_list_file *f = &l->files[i];
        f->use.records = l->starts[f->slot + 1] - l->starts[f->slot];
    }
    return STRATA_OK;
}

// ---- bytes

strata_rc value_list_encode(const struct value_list *l, uint32_t index, struct buffer *to)
{
    ASSERT(l->starts != NULL && index < l->file_count);
    uint32_t slot = l->files[index].slot;
    size_t i = l->starts[slot];
    size_t end = l->starts[slot + 1];
    uint64_t before = 0;
    strata_rc rc = STRATA_OK;
    while (rc == STRATA_OK && i < end) {
        uint64_t first = (uint32_t)l->ordinals[i];
        size_t run = 1;
        while (i + run < end && l->ordinals[i + run] == l->ordinals[i] + run) {
            run++;
        }
        rc = buffer_append_varint(to, first - before);
        if (rc == STRATA_OK) {
            rc = buffer_append_varint(to, run);
        }
        before = first + run;
        i += run;
    }
    return rc;
}

strata_rc value_list_decode(struct slice list, uint64_t records,
                            strata_rc (*visit)(void *ctx, uint32_t ordinal, uint32_t chunks),
                            void *ctx)
{
    struct reader r = reader_of(list);
    uint64_t before = 0;
    uint64_t found = 0;
    while (reader_left(&r) > 0) {
        uint64_t gap = reader_varint(&r);
        uint64_t length = reader_varint(&r);
        if (r.bad || (gap == 0 && found != 0) || length == 0 || gap > UINT32_MAX - before ||
            length > UINT32_MAX - before - gap) {
            return fail(STRATA_CORRUPT, "ordinals: malformed behind %llu of %llu",
                        (unsigned long long)found, (unsigned long long)records);
        }
        strata_rc rc = visit(ctx, (uint32_t)(before + gap), (uint32_t)length);
        if (rc != STRATA_OK) {
            return rc;
        }
        before += gap + length;
        found += length;
    }
    return found == records ? STRATA_OK
                            : fail(STRATA_CORRUPT, "ordinals: %llu, expected %llu",
                                   (unsigned long long)found, (unsigned long long)records);
}
