// Iterators: the live entries of one keyspace at one commit, in both directions. What they show
// is found in iter_move.c; here are the calls, each of which enters the seat, but for the step that
// is taken most: to the next entry of a window.
#include "db/iter_impl.h"

#include "base/alloc.h"
#include "base/fail.h"

// ---- opening

static strata_rc copy_bound(strata_slice from, struct buffer *to, bool *has_out)
{
    *has_out = from.data != NULL;
    if (from.data == NULL) {
        return STRATA_OK;
    }
    strata_rc rc = buffer_reserve(to, from.bytes + 1); // never a NULL for an empty bound
    return rc == STRATA_OK ? buffer_append(to, from.data, from.bytes) : rc;
}

static strata_rc copy_bounds(strata_iter *it, const strata_read *how)
{
    if (how == NULL) {
        return STRATA_OK;
    }
    it->filter = how->filter;
    it->filter_ctx = how->filter_ctx;
    it->budget = it->steps_left = how->step_budget;
    strata_rc rc = copy_bound(how->lower, &it->lower, &it->has_lower);
    return rc == STRATA_OK ? copy_bound(how->upper, &it->upper, &it->has_upper) : rc;
}

strata_rc iter_open(strata_db *db, const strata_read *how, strata_iter **iter_out)
{
    struct read_at at;
    *iter_out = NULL;
    strata_rc rc = read_resolve(db, how, &at);
    if (rc != STRATA_OK) {
        return rc;
    }
    strata_iter *it = alloc_zeroed(1, sizeof *it);
    if (it == NULL) {
        return alloc_failed("an iterator", sizeof *it);
    }
    it->db = db;
    it->now = at.commit == STRATA_NOW;
    rc = seat_open(db, &at, &it->seat);
    if (rc != STRATA_OK) {
        free(it);
        return rc;
    }
    it->at = it->seat.at.commit;
    rc = copy_bounds(it, how);
    if (rc == STRATA_OK) {
        rc = iter_open_sources(it);
    }
    seat_leave(&it->seat);
    if (rc != STRATA_OK) {
        iter_close(it);
        return rc;
    }
    metrics_add(&db->metrics, METRIC_iterators, 1);
    *iter_out = it;
    return STRATA_OK;
}

void iter_close(strata_iter *it)
{
    strata_db *db = it->db;
    metrics_add(&db->metrics, METRIC_iterator_steps, it->steps);
    iter_close_sources(it);
    iter_window_release(it);
    seat_close(&it->seat);
    buffer_release(&it->lower);
    buffer_release(&it->upper);
    buffer_release(&it->key);
    buffer_release(&it->value);
    buffer_release(&it->target);
    buffer_release(&it->separated.bytes);
    free(it);
}

// ---- entering

// The view was taken: keeps what is needed to find the place again. Cursors still have it.
static strata_rc keep_place(strata_iter *it)
{
    strata_rc rc = STRATA_OK;
    if (it->state == ITER_YIELDED && it->place != ITER_LOST) {
        // The merge stands at the entry to look at next.
        buffer_clear(&it->target);
        rc = buffer_append(&it->target, it->merge.entry->key, it->merge.entry->key_bytes);
        if (rc == STRATA_OK && it->backward) {
            rc = buffer_append_u8(&it->target, 0);
        }
    } else if (it->state == ITER_ON && !iter_in_window(it)) {
        const struct kv_entry *e = it->shown;
        if (e != &it->entry) {
            buffer_clear(&it->key);
            rc = buffer_append(&it->key, e->key, e->key_bytes);
        }
        if (rc == STRATA_OK) {
            // A call that needs no more of it than its key: the next one, or the one before.
            it->entry = (struct kv_entry){
                .key = it->key.data, .key_bytes = e->key_bytes, .commit = e->commit};
            it->shown = &it->entry;
        }
    }
    return rc;
}

static strata_rc sit_down(strata_iter *it)
{
    strata_rc rc = it->merge_ready ? keep_place(it) : STRATA_OK;
    if (rc != STRATA_OK) {
        return rc;
    }
    iter_close_sources(it);
    if (it->seat.view == NULL) {
        it->windows[0].is_stale = it->windows[1].is_stale = true;
        rc = seat_again(&it->seat);
    }
    if (rc == STRATA_OK) {
        rc = iter_open_sources(it);
    }
    if (rc != STRATA_OK) {
        it->state = ITER_UNSET;
    }
    return rc;
}

// Begins a call that moves the merge.
static strata_rc enter(strata_iter *it)
{
    seat_enter(&it->seat);
    if (__builtin_expect(it->seat.view != NULL && it->merge_ready, 1)) {
        return STRATA_OK;
    }
    strata_rc rc = sit_down(it);
    if (rc != STRATA_OK) {
        seat_leave(&it->seat);
    }
    return rc;
}

// ---- positioning

static struct slice bound_or_null(const struct buffer *bound, bool has)
{
    return has ? buffer_slice(bound) : slice_of(NULL, 0);
}

static strata_rc start(strata_iter *it, struct slice key, bool backward)
{
    strata_rc rc = enter(it);
    if (rc != STRATA_OK) {
        return rc;
    }
    rc = iter_start(it, key, backward);
    seat_leave(&it->seat);
    return rc;
}

strata_rc iter_first(strata_iter *it)
{
    return start(it, bound_or_null(&it->lower, it->has_lower), false);
}

strata_rc iter_last(strata_iter *it)
{
    return start(it, bound_or_null(&it->upper, it->has_upper), true);
}

strata_rc iter_seek(strata_iter *it, struct slice key)
{
    struct slice lower = buffer_slice(&it->lower);
    return start(it, it->has_lower && slice_compare(key, lower) < 0 ? lower : key, false);
}

strata_rc iter_seek_before(strata_iter *it, struct slice key)
{
    struct slice upper = buffer_slice(&it->upper);
    return start(it, it->has_upper && slice_compare(upper, key) < 0 ? upper : key, true);
}

static strata_rc not_positioned(const strata_iter *it)
{
    if (it->state == ITER_YIELDED) {
        return fail(STRATA_INVALID, "the iterator used up its step budget: resume it");
    }
    return fail(STRATA_INVALID, "position the iterator first: first, last, seek or seek_before");
}

// ---- moving

// The next entry where nothing stands in the way: the merge moves within a window to another key,
// with a live point below the bound. False, with nothing moved, when it is not as simple as that.
static inline bool next_plain(strata_iter *it)
{
    if (it->state != ITER_ON || !it->plain || it->backward) {
        return false;
    }
    const struct kv_entry *e = kv_merge_peek(&it->merge);
    if (e == NULL || e->head == it->shown->head || e->commit > it->at || e->kind != KV_PUT ||
        e->expiry != 0 || (it->has_upper && e->head >= it->upper_head)) {
        return false;
    }
    kv_merge_take(&it->merge, e);
    it->shown = e;
    it->steps++;
    return true;
}

static bool same_key(const struct kv_entry *a, const struct kv_entry *b)
{
    return a->head == b->head && a->key_bytes == b->key_bytes &&
           memcmp(a->key, b->key, a->key_bytes) == 0;
}

// The same for keys whose heads are equal.
static __attribute__((noinline)) bool next_plain_by_key(strata_iter *it)
{
    if (!it->plain || it->backward) {
        return false;
    }
    const struct kv_entry *e = kv_merge_peek(&it->merge);
    if (e == NULL || e->commit > it->at || e->kind != KV_PUT || e->expiry != 0 ||
        (it->has_upper && e->head >= it->upper_head) || same_key(e, it->shown)) {
        return false;
    }
    kv_merge_take(&it->merge, e);
    it->shown = e;
    it->steps++;
    return true;
}

// The same backwards, where the merge stands at the next entry already: it is shown when it is the
// only version of its key.
static bool prev_plain(strata_iter *it)
{
    if (!it->plain || !it->backward) {
        return false;
    }
    const struct kv_entry *e = it->merge.entry;
    if (e == NULL || e->commit > it->at || e->kind != KV_PUT || e->expiry != 0 ||
        (it->has_lower && e->head <= it->lower_head)) {
        return false;
    }
    const struct kv_entry *behind = kv_merge_peek(&it->merge);
    if (behind == NULL || same_key(behind, e)) {
        return false;
    }
    kv_merge_take(&it->merge, behind);
    it->shown = e;
    it->steps++;
    return true;
}

// Moves on from the entry shown, or turns round.
static strata_rc step(strata_iter *it, bool backward)
{
    strata_rc rc = enter(it);
    if (rc != STRATA_OK) {
        return rc;
    }
    if (it->backward != backward) {
        rc = iter_start_past(it, kv_key(it->shown), backward);
    } else {
        rc = iter_move_on(it);
        iter_window_clear(it);
        if (rc == STRATA_OK && it->shown->kind == KV_PUT_SEPARATED && it->separated.streak > 0) {
            iter_window_begin(it);
        }
    }
    seat_leave(&it->seat);
    return rc;
}

strata_rc iter_next(strata_iter *it)
{
    if (next_plain(it)) {
        return STRATA_OK;
    }
    if (it->state == ITER_PAST_END) {
        return STRATA_END;
    }
    if (it->state == ITER_BEFORE_FIRST) {
        return iter_first(it);
    }
    if (it->state != ITER_ON) {
        return not_positioned(it);
    }
    if (next_plain_by_key(it) || (!it->backward && iter_window_next(it))) {
        return STRATA_OK;
    }
    return step(it, false);
}

strata_rc iter_prev(strata_iter *it)
{
    if (it->state == ITER_BEFORE_FIRST) {
        return STRATA_END;
    }
    if (it->state == ITER_PAST_END) {
        return iter_last(it);
    }
    if (it->state != ITER_ON) {
        return not_positioned(it);
    }
    if (prev_plain(it) || (it->backward && iter_window_next(it))) {
        return STRATA_OK;
    }
    return step(it, true);
}

strata_rc iter_resume(strata_iter *it)
{
    if (it->state == ITER_ON) {
        return STRATA_OK;
    }
    if (it->state == ITER_PAST_END || it->state == ITER_BEFORE_FIRST) {
        return STRATA_END;
    }
    if (it->state != ITER_YIELDED) {
        return not_positioned(it);
    }
    strata_rc rc = enter(it);
    if (rc != STRATA_OK) {
        return rc;
    }
    it->steps_left = it->budget;
    rc = it->place == ITER_LOST ? iter_start(it, buffer_slice(&it->target), it->backward)
                                : iter_settle(it);
    seat_leave(&it->seat);
    return rc;
}

// ---- what it stands on

const struct kv_entry *iter_entry(const strata_iter *it)
{
    return it->state == ITER_ON ? it->shown : NULL;
}

strata_db *iter_db(const strata_iter *it)
{
    return it->db;
}
