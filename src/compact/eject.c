#include "compact/eject.h"

#include "base/alloc.h"
#include "base/assert.h"

#ifdef STRATA_MUTANT
#define EJECT_MUTANT STRATA_MUTANT
#else
#define EJECT_MUTANT 0
#endif

// ---- last(k)

// True when `key` lies before the exclusive bound `upper` (data NULL: unbounded).
static bool eject_before(struct slice key, struct slice upper)
{
    return upper.data == NULL || slice_compare(key, upper) < 0;
}

strata_rc eject_older_add(struct eject_older *o, struct slice lower, struct slice upper)
{
    ASSERT(eject_before(lower, upper));
    if (o->count == o->capacity) {
        size_t capacity = o->capacity == 0 ? 64 : o->capacity * 2;
        struct eject_span *spans = alloc_resize(o->spans, capacity, sizeof *spans);
        if (spans == NULL) {
            return alloc_failed("bounds of older tables", capacity * sizeof *spans);
        }
        o->spans = spans;
        o->capacity = capacity;
    }
    o->spans[o->count++] = (struct eject_span){lower, upper};
    return STRATA_OK;
}

static int eject_span_compare(const void *a, const void *b)
{
    const struct eject_span *x = a;
    const struct eject_span *y = b;
    return slice_compare(x->lower, y->lower);
}

void eject_older_seal(struct eject_older *o)
{
    if (o->count == 0) {
        return;
    }
    if (EJECT_MUTANT == 3) {
        o->spans[0] = o->spans[--o->count];
    }
    qsort(o->spans, o->count, sizeof *o->spans, eject_span_compare);
    size_t kept = 0;
    for (size_t i = 1; i < o->count; i++) {
        struct eject_span *last = &o->spans[kept];
        struct eject_span next = o->spans[i];
        if (eject_before(last->upper, next.lower) && last->upper.data != NULL) {
            o->spans[++kept] = next;
        } else if (last->upper.data != NULL &&
                   (next.upper.data == NULL || slice_compare(next.upper, last->upper) > 0)) {
            last->upper = next.upper;
        }
    }
    o->count = kept + 1;
}

void eject_older_release(struct eject_older *o)
{
    free(o->spans);
    *o = (struct eject_older){0};
}

const struct eject_span *eject_older_find(const struct eject_older *o, struct slice key,
                                          size_t *at_inout)
{
    size_t at = *at_inout;
    while (at < o->count && !eject_before(key, o->spans[at].upper)) {
        at++;
    }
    *at_inout = at;
    return at < o->count ? &o->spans[at] : NULL;
}

bool eject_older_covers(const struct eject_older *o, struct slice first, struct slice last,
                        size_t *at_inout)
{
    const struct eject_span *span = eject_older_find(o, first, at_inout);
    return span != NULL && slice_compare(span->lower, first) <= 0 &&
           eject_before(last, span->upper);
}

bool eject_older_may_hold(const struct eject_older *o, struct slice key, size_t *at_inout)
{
    const struct eject_span *span = eject_older_find(o, key, at_inout);
    return span != NULL && slice_compare(span->lower, key) <= 0;
}

// ---- range deletes

strata_rc eject_ranges_init(struct eject_ranges *r, const struct range_del *list, size_t count)
{
    *r = (struct eject_ranges){0};
    return count == 0 ? STRATA_OK : range_dels_build(list, count, &r->dels);
}

void eject_ranges_release(struct eject_ranges *r)
{
    range_dels_free(r->dels);
    buffer_release(&r->cut[0]);
    buffer_release(&r->cut[1]);
    *r = (struct eject_ranges){0};
}

const struct range_fragment *eject_ranges_cover(struct eject_ranges *r, struct slice key)
{
    size_t count = range_dels_count(r->dels);
    while (r->cover_at < count) {
        const struct range_fragment *f = range_dels_at(r->dels, r->cover_at);
        if (slice_compare(key, f->end) < 0) {
            return slice_compare(f->begin, key) <= 0 ? f : NULL;
        }
        r->cover_at++;
    }
    return NULL;
}

bool eject_ranges_touch(struct eject_ranges *r, struct slice first, struct slice last)
{
    if (eject_ranges_cover(r, first) != NULL) {
        return true;
    }
    // The fragment there, if any, is the first one that ends behind `first`.
    return r->cover_at < range_dels_count(r->dels) &&
           slice_compare(range_dels_at(r->dels, r->cover_at)->begin, last) <= 0;
}

// Everything of fragment f before `stop` is done. `stop` is a borrowed limit when `copy`.
static strata_rc eject_ranges_advance(struct eject_ranges *r, const struct range_fragment *f,
                                      struct slice stop, bool copy)
{
    if (slice_equal(stop, f->end)) {
        r->write_at++;
        r->from = slice_of(NULL, 0);
        return STRATA_OK;
    }
    if (!copy) {
        r->from = stop;
        return STRATA_OK;
    }
    r->cut_at ^= 1;
    struct buffer *b = &r->cut[r->cut_at];
    buffer_clear(b);
    strata_rc rc = buffer_append(b, stop.data, stop.bytes);
    r->from = buffer_slice(b);
    return rc;
}

// The next piece without looking whether it continues the one before.
static strata_rc eject_ranges_piece(struct eject_ranges *r, const struct eject_older *older,
                                    struct slice limit, struct range_fragment *piece_out)
{
    while (r->write_at < range_dels_count(r->dels)) {
        const struct range_fragment *f = range_dels_at(r->dels, r->write_at);
        struct slice begin = r->from.data != NULL ? r->from : f->begin;
        if (!eject_before(begin, limit)) {
            return STRATA_END;
        }
        bool limited = limit.data != NULL && slice_compare(limit, f->end) < 0;
        struct slice end = limited ? limit : f->end;
        const struct eject_span *span = eject_older_find(older, begin, &r->older_at);
        bool keep = false;
        struct slice stop = end;
        if (span != NULL && slice_compare(span->lower, end) < 0) {
            keep = slice_compare(span->lower, begin) <= 0;
            struct slice edge = keep ? span->upper : span->lower;
            if (!eject_before(end, edge)) {
                stop = edge;
            }
            if (EJECT_MUTANT == 6 && keep && !slice_equal(stop, end)) {
                keep = false;
            }
        }
        strata_rc rc = eject_ranges_advance(r, f, stop, limited && stop.data == limit.data);
        if (rc != STRATA_OK) {
            return rc;
        }
        if (keep) {
            *piece_out = (struct range_fragment){begin, stop, f->commits, f->count};
            if (EJECT_MUTANT == 2) {
                piece_out->count = 1;
            }
            return STRATA_OK;
        }
    }
    return STRATA_END;
}

static bool eject_same_stack(const struct range_fragment *a, const struct range_fragment *b)
{
    return a->count == b->count &&
           memcmp(a->commits, b->commits, a->count * sizeof *a->commits) == 0;
}

// Pieces that touch and have the same stack are joined: else every cut of a table and of a slice
// would leave one more fragment for ever.
strata_rc eject_ranges_next(struct eject_ranges *r, const struct eject_older *older,
                            struct slice limit, struct range_fragment *piece_out)
{
    strata_rc rc = eject_ranges_piece(r, older, limit, piece_out);
    while (rc == STRATA_OK) {
        size_t write_at = r->write_at;
        size_t older_at = r->older_at;
        struct slice from = r->from;
        uint32_t cut_at = r->cut_at;
        struct range_fragment next;
        strata_rc more = eject_ranges_piece(r, older, limit, &next);
        if (more < 0) {
            return more;
        }
        if (more == STRATA_OK && slice_equal(next.begin, piece_out->end) &&
            eject_same_stack(&next, piece_out)) {
            piece_out->end = next.end;
            continue;
        }
        r->write_at = write_at;
        r->older_at = older_at;
        r->from = from;
        r->cut_at = cut_at;
        break;
    }
    return rc;
}

// ---- points

enum eject_verdict eject_point(struct eject_key *k, const struct kv_entry *p, bool last,
                               uint64_t *end_out)
{
    if (k->newer != 0 && p->commit > k->newer) {
        return EJECT_BAD;
    }
    uint64_t threshold = EJECT_MUTANT == 5 ? p->commit : p->commit + 1;
    while (k->cover != NULL && k->passed < k->cover->count &&
           k->cover->commits[k->passed] >= threshold) {
        k->newer = k->cover->commits[k->passed++];
        k->newest = k->newest == 0 ? k->newer : k->newest;
    }
    uint64_t end = EJECT_MUTANT == 4 ? k->newest : k->newer;
    k->newer = p->commit;
    k->newest = k->newest == 0 ? p->commit : k->newest;
    *end_out = end;
    if (p->kind == KV_DELETE && (last || EJECT_MUTANT == 7)) {
        *end_out = p->commit;
        return EJECT_RECEIPT;
    }
    if (end == 0) {
        return EJECT_KEEP;
    }
    if (EJECT_MUTANT == 1 && p->kind == KV_DELETE) {
        return EJECT_DROP;
    }
    return p->commit == end ? EJECT_DROP : EJECT_HISTORY;
}

// ---- history

bool eject_interval(struct eject_interval *k, struct kv_entry *e)
{
    bool receipt = e->commit == e->end;
    if (k->any) {
        if (e->commit == k->newer) {
            return false;
        }
        if (!receipt && e->commit < k->newer && e->end > k->newer && EJECT_MUTANT != 8) {
            e->end = k->newer;
        }
    }
    k->any = true;
    k->newer = e->commit;
    return true;
}
