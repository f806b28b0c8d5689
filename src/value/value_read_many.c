// Many values at once. The places of a group are looked up first and sorted; what lies close
// together becomes one request; the device is told of all requests before the first one is waited
// for.
//
// The requests are in flight by advice to the system's cache (os_file_will_read), not by a queue of
// our own: docs/decisions/0012-reads-in-flight.md.
#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "value/value_file.h"

#define GROUP 64
#define RUN_BYTES_MAX (256u << 10)
// Values this close are read together, with what lies between them.
#define GAP_BYTES_MAX 4096u

// A value of the group, or the first chunk of one that is not small.
struct wanted {
    struct value_read *read;
    struct value_spot spot;
    uint64_t end; // its record ends there or before
};

struct group {
    uint32_t count;
    struct wanted *order[GROUP]; // by file and offset
    struct wanted wanted[GROUP];
    uint8_t *buffer; // RUN_BYTES_MAX; NULL: not needed yet, or no memory
};

static bool is_small(const struct kv_value_ref *ref)
{
    return ref->bytes <= VALUE_SMALL_BYTES;
}

static int compare_wanted(const void *a, const void *b)
{
    const struct wanted *x = *(struct wanted *const *)a;
    const struct wanted *y = *(struct wanted *const *)b;
    uint64_t x_file = x->read->file->number;
    uint64_t y_file = y->read->file->number;
    if (x_file != y_file) {
        return x_file < y_file ? -1 : 1;
    }
    return x->spot.offset < y->spot.offset ? -1 : x->spot.offset > y->spot.offset;
}

// Finds the places of the group; what cannot be found gets its outcome.
static void group_find(struct group *g, struct value_read *reads, size_t count)
{
    ASSERT(count <= GROUP);
    g->count = 0;
    for (size_t i = 0; i < count; i++) {
        struct value_read *r = &reads[i];
        struct wanted *w = &g->wanted[g->count];
        r->rc = value_spot_find(r->file, r->ref.file, r->ref.ordinal, &w->spot);
        if (r->rc == STRATA_NOT_FOUND) {
            r->rc = value_is_absent(r->file, &r->ref, r->ref.ordinal);
        }
        if (r->rc == STRATA_OK) {
            uint64_t raw =
                r->ref.bytes < KV_VALUE_CHUNK_BYTES ? r->ref.bytes : KV_VALUE_CHUNK_BYTES;
            w->read = r;
            w->end = w->spot.offset + VALUE_RECORD_HEADER_BYTES + raw;
            w->end = w->end < w->spot.limit ? w->end : w->spot.limit;
            g->order[g->count++] = w;
        }
    }
    qsort(g->order, g->count, sizeof g->order[0], compare_wanted);
}

static void group_release(struct group *g)
{
    for (uint32_t i = 0; i < g->count; i++) {
        value_spot_release(g->wanted[i].read->file, &g->wanted[i].spot);
    }
}

// How many of the group, from place `begin` of the order on, are read with one request; and where
// that ends in the file.
static uint32_t run_of(const struct group *g, uint32_t begin, uint64_t *end_out)
{
    const struct wanted *first = g->order[begin];
    uint64_t end = first->end;
    uint32_t i = begin + 1;
    for (; is_small(&first->read->ref) && i < g->count; i++) {
        const struct wanted *w = g->order[i];
        if (w->spot.file != first->spot.file || !is_small(&w->read->ref) ||
            w->spot.offset > end + GAP_BYTES_MAX || w->end - first->spot.offset > RUN_BYTES_MAX) {
            break;
        }
        end = w->end > end ? w->end : end;
    }
    *end_out = end;
    return i - begin;
}

static void group_will_read(const struct group *g)
{
    uint32_t runs = 0;
    uint64_t end;
    for (uint32_t i = 0; i < g->count; runs++) {
        const struct value_spot *spot = &g->order[i]->spot;
        bool begun = g->order[i]->read->begun;
        i += run_of(g, i, &end);
        // One request alone is made by the read.
        if (!begun && (runs > 0 || i < g->count)) {
            os_file_will_read(spot->file, spot->offset, end - spot->offset);
        }
    }
}

static strata_rc read_alone(struct value_read *r)
{
    return value_file_read(r->file, &r->ref, 0, r->to, r->ref.bytes);
}

// What became of a small value's record.
static strata_rc outcome(const struct wanted *w, strata_rc rc)
{
    const struct value_read *r = w->read;
    return rc == STRATA_NOT_FOUND || rc == STRATA_CORRUPT
               ? value_is_damaged(r->file, &r->ref, r->ref.ordinal, w->spot.offset)
               : rc;
}

static strata_rc read_wanted(const struct wanted *w)
{
    struct value_read *r = w->read;
    if (!is_small(&r->ref)) {
        return read_alone(r);
    }
    struct value_want want = {w->spot.seed, r->ref.bytes, 0, r->ref.bytes, r->to};
    struct value_record record;
    strata_rc rc = value_record_read(w->spot.file, w->spot.offset, w->spot.limit, &want, &record);
    return outcome(w, rc);
}

static bool have_buffer(struct group *g)
{
    if (g->buffer == NULL) {
        g->buffer = alloc_array(RUN_BYTES_MAX, 1);
    }
    return g->buffer != NULL;
}

// Reads `count` values of the order, which end at `end`.
static void read_run(struct group *g, uint32_t begin, uint32_t count, uint64_t end)
{
    const struct value_spot *first = &g->order[begin]->spot;
    size_t done = 0;
    if (count == 1 || !have_buffer(g)) {
        for (uint32_t i = 0; i < count; i++) {
            g->order[begin + i]->read->rc = read_wanted(g->order[begin + i]);
        }
        return;
    }
    strata_rc rc = os_file_read_some(first->file, first->offset, g->buffer,
                                     (size_t)(end - first->offset), &done);
    for (uint32_t i = 0; i < count; i++) {
        const struct wanted *w = g->order[begin + i];
        struct value_read *r = w->read;
        uint64_t at = w->spot.offset - first->offset;
        uint64_t most = w->end - w->spot.offset;
        uint64_t there = at >= done ? 0 : done - at < most ? done - at : most;
        struct value_want want = {w->spot.seed, r->ref.bytes, 0, r->ref.bytes, r->to};
        r->rc = outcome(w, rc == STRATA_OK ? value_record_open(g->buffer + at, there, &want) : rc);
    }
}

strata_rc value_read_many(struct value_read *reads, size_t count)
{
    if (count == 1) {
        reads->rc = read_alone(reads);
        return reads->rc;
    }
    struct group g;
    g.buffer = NULL;
    for (size_t at = 0; at < count; at += GROUP) {
        group_find(&g, reads + at, count - at < GROUP ? count - at : GROUP);
        group_will_read(&g);
        for (uint32_t i = 0; i < g.count;) {
            uint64_t end;
            uint32_t run = run_of(&g, i, &end);
            read_run(&g, i, run, end);
            i += run;
        }
        group_release(&g);
    }
    free(g.buffer);
    for (size_t i = 0; i < count; i++) {
        // Once more by itself: the error's text is then the one of the answer.
        if (reads[i].rc != STRATA_OK && (reads[i].rc = read_alone(&reads[i])) != STRATA_OK) {
            return reads[i].rc;
        }
    }
    return STRATA_OK;
}

void value_will_read(const struct value_read *reads, size_t count)
{
    struct group g;
    for (size_t at = 0; at < count; at += GROUP) {
        struct value_read copies[GROUP];
        size_t now = count - at < GROUP ? count - at : GROUP;
        memcpy(copies, reads + at, now * sizeof copies[0]);
        group_find(&g, copies, now);
        uint64_t end;
        for (uint32_t i = 0; i < g.count;) {
            const struct value_spot *spot = &g.order[i]->spot;
            i += run_of(&g, i, &end);
            os_file_will_read(spot->file, spot->offset, end - spot->offset);
        }
        group_release(&g);
    }
}
