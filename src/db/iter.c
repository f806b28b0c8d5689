// Iterators: the live entries of one keyspace at one commit, in both directions.
//
// The merge hands out every version of every source in order; the iterator shows, for each key, the
// newest one at or before its commit, unless that is a delete, or a range delete is newer.
//
// Forwards, without history, the first acceptable version of a key is the newest (sources come
// newest first): it is shown where it lies, and its key is passed over when the iterator moves on.
// Backwards, or with history cursors, all versions of a key are looked at and the best is kept, so
// the merge stands behind the key already while it is shown (`ahead`).
#include "db/iter_sources.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/mutant.h"
#include "kv/merge.h"

enum iter_state {
    ITER_UNSET,
    ITER_ON,
    ITER_PAST_END,
    ITER_BEFORE_FIRST,
    ITER_YIELDED,
};

struct strata_iter {
    strata_db *db;
    struct registration registration;
    struct view *view;
    struct sources sources;
    struct kv_merge merge;
    bool merge_ready;
    uint64_t at;
    enum iter_state state;
    bool backward;
    bool ahead;
    const struct kv_entry *shown; // in state ITER_ON: in its cursor's window, or `entry`
    struct kv_entry entry;        // the best version of a key whose versions were gathered
    bool plain; // nothing but points of live sources to look at, no filter, no budget
    struct buffer lower, upper;
    bool has_lower, has_upper;
    uint64_t upper_head; // entries with a smaller head lie below the upper bound for certain
    strata_filter_fn filter;
    void *filter_ctx;
    uint64_t budget;      // 0: none
    uint64_t steps_left;  // of the budget
    uint64_t steps;       // for the metrics
    struct buffer key;    // the shown key, when ahead; else scratch for passing over
    struct buffer value;  // the shown value, when ahead and its source is not stable
    struct buffer target; // scratch for seeks
};

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

static strata_rc open_merge(strata_iter *it)
{
    struct sources *s = &it->sources;
    struct kv_cursor **cursors = alloc_array(s->count, sizeof(struct kv_cursor *));
    if (cursors == NULL) {
        return alloc_failed("an iterator", s->count * sizeof *cursors);
    }
    for (uint32_t i = 0; i < s->count; i++) {
        cursors[i] = s->list[i].cursor;
    }
    strata_rc rc = kv_merge_init(&it->merge, cursors, s->count, s->head_skip);
    free(cursors);
    it->merge_ready = true; // it owns the cursors, whatever it returned
    return rc;
}

static void set_upper_head(strata_iter *it)
{
    // With bytes skipped, the head of the bound says something only if it shares those bytes; 0
    // makes every entry take the full comparison.
    it->upper_head = 0;
    if (it->has_upper && it->sources.head_skip == 0) {
        it->upper_head = slice_head(buffer_slice(&it->upper), 0);
    }
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
    uint64_t visible;
    it->db = db;
    rc = read_register(db, &at, &it->registration);
    if (rc != STRATA_OK) {
        free(it);
        return rc;
    }
    it->view = view_pin(db, &visible);
    it->at = at.commit = it->registration.commit;
    if (how != NULL) {
        it->filter = how->filter;
        it->filter_ctx = how->filter_ctx;
        it->budget = it->steps_left = how->step_budget;
        rc = copy_bound(how->lower, &it->lower, &it->has_lower);
        if (rc == STRATA_OK) {
            rc = copy_bound(how->upper, &it->upper, &it->has_upper);
        }
    }
    if (rc == STRATA_OK && (at.space->slot >= it->view->space_count ||
                            it->view->spaces[at.space->slot].keyspace == NULL)) {
        rc = fail(STRATA_INVALID, "keyspace \"%s\" was dropped", at.space->name);
    }
    if (rc == STRATA_OK) {
        rc = sources_open(db, it->view, &at, false, &it->sources);
    }
    if (rc == STRATA_OK) {
        rc = open_merge(it);
    }
    if (rc != STRATA_OK) {
        iter_close(it);
        return rc;
    }
    set_upper_head(it);
    it->plain = !it->sources.history && it->sources.range_count == 0 && it->filter == NULL &&
                it->budget == 0;
    metrics_add(&db->metrics, METRIC_iterators, 1);
    *iter_out = it;
    return STRATA_OK;
}

void iter_close(strata_iter *it)
{
    strata_db *db = it->db;
    metrics_add(&db->metrics, METRIC_iterator_steps, it->steps);
    if (it->merge_ready) {
        kv_merge_release(&it->merge);
    }
    sources_release(&it->sources, !it->merge_ready);
    view_unref(db, it->view);
    buffer_release(&it->lower);
    buffer_release(&it->upper);
    buffer_release(&it->key);
    buffer_release(&it->value);
    buffer_release(&it->target);
    unregister_commit(db, &it->registration);
    free(it);
}

// ---- moving

static bool same_key(const struct kv_entry *e, struct slice key, uint64_t head)
{
    return e->head == head && e->key_bytes == key.bytes && memcmp(e->key, key.data, key.bytes) == 0;
}

static bool beyond_upper(const strata_iter *it, const struct kv_entry *e)
{
    return it->has_upper && e->head >= it->upper_head &&
           slice_compare(kv_key(e), buffer_slice(&it->upper)) >= 0;
}

static bool below_lower(const strata_iter *it, const struct kv_entry *e)
{
    return it->has_lower && slice_compare(kv_key(e), buffer_slice(&it->lower)) < 0;
}

static strata_rc at_end(strata_iter *it)
{
    it->state = it->backward ? ITER_BEFORE_FIRST : ITER_PAST_END;
    return STRATA_END;
}

// Moves the merge behind every version of the current entry's key.
static strata_rc pass_key(strata_iter *it)
{
    struct kv_merge *m = &it->merge;
    struct slice key = kv_key(m->entry);
    uint64_t head = m->entry->head;
    // The bytes of the key stay where they are until the cursor refills, and a run holds a key
    // once; a memtable holds it several times, but never moves it.
    if (kv_merge_at_window_end(m) && !it->sources.list[m->source].stable) {
        buffer_clear(&it->key);
        strata_rc rc = buffer_append(&it->key, key.data, key.bytes);
        if (rc != STRATA_OK) {
            return rc;
        }
        key = buffer_slice(&it->key);
    }
    do {
        strata_rc rc = kv_merge_next(m);
        if (rc != STRATA_OK) {
            return rc;
        }
    } while (same_key(m->entry, key, head) && !MUTANT(27));
    return STRATA_OK;
}

// When the current entry's source is older than a range delete over the entry, the source jumps to
// the end of the range. *jumped_out says whether it did.
static strata_rc jump_range(strata_iter *it, const struct kv_entry *e, bool *jumped_out)
{
    const struct range_source *by = NULL;
    uint64_t cover = sources_cover(&it->sources, kv_key(e), it->at, &by);
    *jumped_out = false;
    if (cover <= e->commit || by->rank >= it->sources.list[it->merge.source].rank ||
        it->sources.list[it->merge.source].rank == SOURCE_RANK_HISTORY) {
        return STRATA_OK;
    }
    *jumped_out = true;
    return kv_merge_skip_source(&it->merge, it->backward ? by->lower : by->upper);
}

static bool acceptable(const strata_iter *it, const struct kv_entry *e)
{
    bool past = it->sources.list[it->merge.source].rank == SOURCE_RANK_HISTORY;
    return e->commit <= it->at && (!past || it->at < e->end || MUTANT(47));
}

// Keeps `e` as the best version so far of the key in it->key.
static strata_rc keep_best(strata_iter *it, const struct kv_entry *e)
{
    it->entry = *e;
    it->entry.key = it->key.data;
    if (it->sources.list[it->merge.source].stable || e->kind != KV_PUT) {
        return STRATA_OK;
    }
    buffer_clear(&it->value);
    strata_rc rc = buffer_reserve(&it->value, e->value_bytes + 1);
    if (rc == STRATA_OK) {
        rc = buffer_append(&it->value, e->value, e->value_bytes);
        it->entry.value = it->value.data;
    }
    return rc;
}

// Looks at every version of the current key and leaves the merge behind it. it->entry is the newest
// acceptable one; its commit is 0 when there is none.
static strata_rc gather_key(strata_iter *it)
{
    struct kv_merge *m = &it->merge;
    uint64_t head = m->entry->head;
    buffer_clear(&it->key);
    strata_rc rc = buffer_append(&it->key, m->entry->key, m->entry->key_bytes);
    it->entry = (struct kv_entry){0};
    while (rc == STRATA_OK && same_key(m->entry, buffer_slice(&it->key), head)) {
        if (acceptable(it, m->entry) && m->entry->commit > it->entry.commit) {
            rc = keep_best(it, m->entry);
        }
        if (rc == STRATA_OK) {
            it->steps++;
            rc = kv_merge_next(m);
        }
    }
    return rc == STRATA_END ? STRATA_OK : rc;
}

// Is the newest acceptable version of a key to be shown?
static bool is_shown(strata_iter *it, const struct kv_entry *e)
{
    const struct range_source *by = NULL;
    if (e->kind != KV_PUT || (it->sources.range_count > 0 &&
                              sources_cover(&it->sources, kv_key(e), it->at, &by) > e->commit)) {
        return false;
    }
    return it->filter == NULL || it->filter(it->filter_ctx, (strata_slice){e->key, e->key_bytes},
                                            (strata_slice){e->value, e->value_bytes});
}

// One step of settle: looks at the current entry of the merge. STRATA_OK and *found_out when
// something is shown.
static strata_rc look(strata_iter *it, bool gather, bool *found_out)
{
    const struct kv_entry *e = it->merge.entry;
    strata_rc rc = STRATA_OK;
    *found_out = false;
    if (it->sources.range_count > 0) {
        bool jumped;
        rc = jump_range(it, e, &jumped);
        if (rc != STRATA_OK || jumped) {
            return rc;
        }
    }
    if (gather) {
        rc = gather_key(it);
        *found_out = rc == STRATA_OK && it->entry.commit != 0 && is_shown(it, &it->entry);
        it->shown = &it->entry;
        it->ahead = true;
        return rc;
    }
    if (e->commit > it->at) {
        return kv_merge_next(&it->merge);
    }
    it->ahead = false;
    if (is_shown(it, e)) {
        it->shown = e;
        *found_out = true;
        return STRATA_OK;
    }
    return pass_key(it);
}

// Finds the next entry to show from where the merge stands.
static strata_rc settle(strata_iter *it)
{
    bool gather = it->backward || it->sources.history;
    bool found = false;
    while (!found) {
        const struct kv_entry *e = it->merge.entry;
        if (e == NULL || (it->backward ? below_lower(it, e) : beyond_upper(it, e))) {
            return at_end(it);
        }
        if (it->budget != 0 && it->steps_left-- == 0) {
            it->state = ITER_YIELDED;
            it->steps_left = it->budget;
            return STRATA_YIELD;
        }
        it->steps++;
        strata_rc rc = look(it, gather, &found);
        if (rc < 0) {
            it->state = ITER_UNSET;
            return rc;
        }
    }
    it->state = ITER_ON;
    return STRATA_OK;
}

static strata_rc start(strata_iter *it, struct slice key, bool backward)
{
    it->backward = backward;
    it->steps_left = it->budget;
    strata_rc rc = kv_merge_seek(&it->merge, key, backward);
    if (rc < 0) {
        it->state = ITER_UNSET;
        return rc;
    }
    return settle(it);
}

static struct slice bound_or_null(const struct buffer *bound, bool has)
{
    return has ? buffer_slice(bound) : slice_of(NULL, 0);
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

// Turns round: positions behind (forward) or before (backward) the shown key.
static strata_rc turn(strata_iter *it, bool backward)
{
    struct slice key = kv_key(it->shown);
    buffer_clear(&it->target);
    strata_rc rc = buffer_append(&it->target, key.data, key.bytes);
    if (rc == STRATA_OK && !backward) {
        rc = buffer_append_u8(&it->target, 0); // the least key behind it
    }
    return rc == STRATA_OK ? start(it, buffer_slice(&it->target), backward) : rc;
}

static strata_rc not_positioned(const strata_iter *it)
{
    if (it->state == ITER_YIELDED) {
        return fail(STRATA_INVALID, "the iterator used up its step budget: resume it");
    }
    return fail(STRATA_INVALID, "position the iterator first: first, last, seek or seek_before");
}

// The next entry where nothing stands in the way: the merge moves within a window to another key,
// with a live point below the bound. False, with nothing moved, when it is not as simple as that.
static inline bool next_plain(strata_iter *it)
{
    if (it->state != ITER_ON || !it->plain || it->backward) {
        return false;
    }
    const struct kv_entry *e = kv_merge_peek(&it->merge);
    if (e == NULL || e->head == it->shown->head || e->commit > it->at || e->kind != KV_PUT ||
        (it->has_upper && e->head >= it->upper_head)) {
        return false;
    }
    kv_merge_take(&it->merge, e);
    it->shown = e;
    it->steps++;
    return true;
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
    if (it->backward) {
        return turn(it, false);
    }
    it->steps_left = it->budget;
    if (!it->ahead) {
        strata_rc rc = pass_key(it);
        if (rc < 0) {
            it->state = ITER_UNSET;
            return rc;
        }
    }
    return settle(it);
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
    if (!it->backward) {
        return turn(it, true);
    }
    it->steps_left = it->budget;
    return settle(it);
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
    it->steps_left = it->budget;
    return settle(it);
}

const struct kv_entry *iter_entry(const strata_iter *it)
{
    return it->state == ITER_ON ? it->shown : NULL;
}

strata_db *iter_db(const strata_iter *it)
{
    return it->db;
}
