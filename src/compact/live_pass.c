#include "compact/live_pass.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/mutant.h"

// What a skip counts in a step's budget: a seek, and a block that was read for nothing.
#define LIVE_PASS_SKIP_BYTES 4096u

strata_rc live_pass_begin(struct live_pass *p, struct kv_cursor *const *cursors, uint32_t count,
                          size_t head_skip, const struct range_del *ranges, size_t range_count)
{
    ASSERT(p->live != NULL && p->history != NULL && p->older != NULL);
    p->older_at = 0;
    p->older_block_at = 0;
    p->any = false;
    strata_rc rc = kv_merge_init(&p->merge, cursors, count, head_skip);
    if (rc != STRATA_OK) {
        return rc;
    }
    rc = eject_ranges_init(&p->ranges, ranges, range_count);
    if (rc != STRATA_OK) {
        return rc;
    }
    rc = kv_merge_seek(&p->merge, slice_of(NULL, 0), false);
    return rc == STRATA_END ? STRATA_OK : rc;
}

void live_pass_release(struct live_pass *p)
{
    kv_merge_release(&p->merge);
    eject_ranges_release(&p->ranges);
    buffer_release(&p->key);
    p->any = false;
}

struct slice live_pass_next_key(const struct live_pass *p)
{
    ASSERT(p->merge.entry != NULL);
    return kv_key(p->merge.entry);
}

// Writes the range deletes up to `limit` (data NULL: all) and ends the table there. Those that
// deletes were turned into lie between the others.
static strata_rc live_pass_cut(struct live_pass *p, struct slice limit)
{
    struct range_fragment piece;
    strata_rc rc = p->turn == NULL ? STRATA_OK : turn_close(p->turn);
    if (rc == STRATA_OK) {
        rc = eject_ranges_next(&p->ranges, p->older, limit, &piece);
    }
    while (rc == STRATA_OK) {
        rc = p->turn == NULL ? STRATA_OK : turn_write(p->turn, piece.begin);
        if (rc == STRATA_OK) {
            rc = output_add_range(p->live, &piece);
        }
        if (rc == STRATA_OK) {
            rc = eject_ranges_next(&p->ranges, p->older, limit, &piece);
        }
    }
    if (rc == STRATA_END && p->turn != NULL) {
        rc = turn_write(p->turn, slice_of(NULL, 0));
        rc = rc == STRATA_OK ? STRATA_END : rc;
    }
    if (rc != STRATA_END) {
        return rc;
    }
    return limit.data == NULL ? STRATA_OK : output_cut(p->live);
}

// Begins with another key. *slice_out: the slice ends before it; the key is not begun.
static strata_rc live_pass_begin_key(struct live_pass *p, struct slice key, bool *slice_out)
{
    strata_rc rc = STRATA_OK;
    if (output_is_full(p->live, key)) {
        rc = live_pass_cut(p, key);
    }
    if (rc == STRATA_OK && output_is_full(p->history, key)) {
        rc = output_cut(p->history);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    if (p->live->set->bytes >= p->slice_bytes) {
        *slice_out = true;
        rc = live_pass_cut(p, key);
        return rc == STRATA_OK ? output_cut(p->history) : rc;
    }
    buffer_clear(&p->key);
    p->any = true;
    eject_key_begin(&p->rule, eject_ranges_cover(&p->ranges, key));
    return buffer_append(&p->key, key.data, key.bytes);
}

static strata_rc live_pass_eject(struct live_pass *p, const struct kv_entry *e, uint64_t end)
{
    if (MUTANT(24)) {
        return STRATA_OK;
    }
    struct compact_progress *progress = p->live->set->progress;
    struct kv_entry interval = *e;
    interval.end = end;
    if (!compact_trim_keeps(p->trim, e->commit, end, 0)) {
        progress->dropped++;
        return output_set_trimmed(p->live->set, p->keyspace, p->trim);
    }
    if (!compact_trim_keeps(p->trim, e->commit, end, e->expiry)) {
        strata_rc rc = pass_expire(p->live->set, p->keyspace, p->trim, &interval);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    if (e->commit == end) {
        progress->receipts++;
    } else {
        progress->ejected++;
    }
    return output_add(p->history, &interval);
}

static strata_rc live_pass_keep(struct live_pass *p, const struct kv_entry *e)
{
    p->live->set->progress->entries_out++;
    if (p->turn == NULL) {
        return output_add(p->live, e);
    }
    if (e->kind == KV_DELETE && p->rule.cover == NULL) {
        return turn_add(p->turn, e, p->ranges.cover_at);
    }
    strata_rc rc = turn_close(p->turn);
    return rc == STRATA_OK ? output_add(p->live, e) : rc;
}

static strata_rc live_pass_entry(struct live_pass *p, const struct kv_entry *given)
{
    struct compact_progress *progress = p->live->set->progress;
    const struct kv_entry *e = given;
    struct kv_entry expired;
    if (compact_trim_expired(p->trim, e->commit, e->expiry)) {
        expired = *given;
        e = &expired;
        strata_rc rc = pass_expire(p->live->set, p->keyspace, p->trim, &expired);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    bool last = e->kind == KV_DELETE && !eject_older_may_hold(p->older, kv_key(e), &p->older_at);
    uint64_t end = 0;
    progress->entries_in++;
    switch (eject_point(&p->rule, e, last, &end)) {
    case EJECT_KEEP:
        return live_pass_keep(p, e);
    case EJECT_HISTORY:
    case EJECT_RECEIPT:
        return live_pass_eject(p, e, end);
    case EJECT_BAD:
        return fail(STRATA_CORRUPT,
                    "keyspace %llu: an older source holds commit %llu of a key, newer than what "
                    "newer sources hold",
                    (unsigned long long)p->keyspace, (unsigned long long)e->commit);
    case EJECT_DROP:
        break;
    }
    progress->dropped++;
    return STRATA_OK;
}

// Would the rule keep every entry of the block at which the current source stands, and is it good
// enough as it is? The key that is begun is its first.
static bool live_pass_takes(struct live_pass *p, const struct kv_cursor *c,
                            const struct run_block *b)
{
    struct slice first = buffer_slice(&p->key);
    if (b->expiring && p->trim->floor != 0) {
        return false;
    }
    const struct kv_entry *other = kv_merge_runner_up(&p->merge);
    if (other != NULL && slice_compare(kv_key(other), b->last_key) <= 0) {
        return false;
    }
    if (eject_ranges_touch(&p->ranges, first, b->last_key)) {
        return false;
    }
    if (!b->puts_only && !eject_older_covers(p->older, first, b->last_key, &p->older_block_at)) {
        return false;
    }
    struct slice limit = other == NULL ? slice_of(NULL, 0) : kv_key(other);
    return output_takes_block(p->live, b, run_cursor_blocks_before(c, limit));
}

// Passes the block on at whose first entry the merge stands, if that may be. *bytes_out: what it
// counts in the budget; 0: it was not passed, and its entries come one by one.
static strata_rc live_pass_block(struct live_pass *p, uint64_t *bytes_out)
{
    struct kv_cursor *c = p->merge.cursors[p->merge.source];
    struct compact_progress *progress = p->live->set->progress;
    struct run_block b;
    struct table_raw_block raw;
    *bytes_out = 0;
    strata_rc rc = run_cursor_block(c, &b);
    if (rc != STRATA_OK || !live_pass_takes(p, c, &b)) {
        return rc;
    }
    bool keeps = false;
    rc = run_cursor_raw_block(c, &raw);
    if (rc == STRATA_OK) {
        rc = output_keeps_block(p->live, &raw, &keeps);
    }
    if (rc == STRATA_OK && keeps && p->turn != NULL) {
        rc = turn_close(p->turn);
    }
    if (rc == STRATA_OK && keeps) {
        rc = output_add_block(p->live, &raw);
    }
    if (rc == STRATA_OK && keeps) {
        progress->entries_in += b.entries;
        progress->entries_out += b.entries;
        progress->blocks_passed++;
        *bytes_out = b.bytes;
        run_cursor_skip_block(c);
    }
    return rc;
}

// May all of the current source that the fragment covers go without being seen?
static bool live_pass_goes(const struct live_pass *p, const struct range_fragment *f)
{
    const struct live_pass_commits *of = &p->commits[p->merge.source];
    uint32_t i = f->count;
    while (i > 0 && f->commits[i - 1] <= of->greatest) {
        i--;
    }
    return i > 0 && !compact_trim_keeps(p->trim, of->least, f->commits[i - 1], 0);
}

// Leaves out what follows in the block at whose first entry the merge stands, and behind it, up to
// the end of the range delete over the key, if that may be. The merge then stands on another entry.
static strata_rc live_pass_skip(struct live_pass *p, bool *skipped_out)
{
    const struct range_fragment *f = p->rule.cover;
    struct compact_progress *progress = p->live->set->progress;
    struct run_block b;
    *skipped_out = false;
    if (p->commits == NULL || f == NULL || !live_pass_goes(p, f)) {
        return STRATA_OK;
    }
    strata_rc rc = run_cursor_block(p->merge.cursors[p->merge.source], &b);
    if (rc != STRATA_OK || slice_compare(b.last_key, f->end) >= 0) {
        return rc;
    }
    *skipped_out = true;
    progress->entries_in += b.entries;
    progress->dropped += b.entries;
    progress->blocks_skipped++;
    rc = output_set_trimmed(p->live->set, p->keyspace, p->trim);
    return rc == STRATA_OK ? kv_merge_skip_source(&p->merge, f->end) : rc;
}

// Is the current entry the first one of a block that lies inside of its table's bounds?
static bool live_pass_at_block(const struct live_pass *p)
{
    const struct kv_cursor *c = p->merge.cursors[p->merge.source];
    return c->at == c->block_first;
}

// The current entry is the first of another key. *slice_out as for live_pass_begin_key; *bytes_out
// is 0 when the entry is still to be looked at: else the merge stands on the last one that is done,
// or, when *moved_out, on one that is not.
static strata_rc live_pass_key(struct live_pass *p, bool *slice_out, bool *moved_out,
                               uint64_t *bytes_out)
{
    *bytes_out = 0;
    *moved_out = false;
    strata_rc rc = live_pass_begin_key(p, kv_key(p->merge.entry), slice_out);
    if (rc != STRATA_OK || *slice_out || !live_pass_at_block(p)) {
        return rc;
    }
    rc = live_pass_skip(p, moved_out);
    if (rc >= 0 && *moved_out) {
        *bytes_out = LIVE_PASS_SKIP_BYTES;
    } else if (rc == STRATA_OK) {
        rc = live_pass_block(p, bytes_out);
    }
    return rc;
}

strata_rc live_pass_run(struct live_pass *p, uint64_t budget_bytes, enum pass_stop *stop_out)
{
    uint64_t used = 0;
    const struct kv_entry *e;
    while ((e = p->merge.entry) != NULL) {
        if (used >= budget_bytes) {
            *stop_out = PASS_BUDGET;
            return STRATA_OK;
        }
        strata_rc rc = STRATA_OK;
        uint64_t done = 0;
        bool moved = false;
        if (!p->any || !slice_equal(kv_key(e), buffer_slice(&p->key))) {
            bool slice = false;
            rc = live_pass_key(p, &slice, &moved, &done);
            used += done;
            if (rc == STRATA_OK && slice) {
                *stop_out = PASS_SLICE;
                return STRATA_OK;
            }
        }
        if (rc == STRATA_OK && done == 0) {
            used += pass_entry_bytes(e);
            rc = live_pass_entry(p, e);
        }
        if (rc == STRATA_OK && !moved) {
            rc = kv_merge_next(&p->merge);
        }
        if (rc < 0) {
            return rc;
        }
    }
    *stop_out = PASS_END;
    return live_pass_cut(p, slice_of(NULL, 0));
}

// ---- range deletes

static strata_rc live_pass_push(struct live_pass_ranges *to, struct range_del r)
{
    if (to->count == to->capacity) {
        size_t capacity = to->capacity == 0 ? 64 : to->capacity * 2;
        struct range_del *list = alloc_resize(to->list, capacity, sizeof *list);
        if (list == NULL) {
            return alloc_failed("range deletes of a job", capacity * sizeof *list);
        }
        to->list = list;
        to->capacity = capacity;
    }
    to->list[to->count++] = r;
    return STRATA_OK;
}

strata_rc live_pass_collect(struct live_pass_ranges *to, const struct range_dels *dels,
                            struct slice lower, struct slice upper)
{
    size_t count = range_dels_count(dels);
    size_t at = lower.data == NULL ? 0 : range_dels_find(dels, lower);
    for (; at < count; at++) {
        const struct range_fragment *f = range_dels_at(dels, at);
        struct slice begin = f->begin;
        struct slice end = f->end;
        if (lower.data != NULL && slice_compare(begin, lower) < 0) {
            begin = lower;
        }
        if (upper.data != NULL && slice_compare(upper, end) < 0) {
            end = upper;
        }
        if (slice_compare(begin, end) >= 0) {
            break;
        }
        for (uint32_t i = 0; i < f->count; i++) {
            strata_rc rc = live_pass_push(to, (struct range_del){begin, end, f->commits[i]});
            if (rc != STRATA_OK) {
                return rc;
            }
        }
    }
    return STRATA_OK;
}
