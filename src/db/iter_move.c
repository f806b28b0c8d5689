// What an iterator shows of the merge of its sources.
//
// The merge hands out every version of every source in order; the iterator shows, for each key, the
// newest one at or before its commit, unless that is a delete, has expired, or a range delete is
// newer. When it is what trimming left in the place of a version the answer is not known.
//
// Forwards, without history, the first acceptable version of a key is the newest (sources come
// newest first): it is shown where it lies, and its key is passed over when the iterator moves on.
// Backwards, or with history cursors, all versions of a key are looked at and the best is kept, so
// the merge stands behind the key already while it is shown (ITER_BEHIND).
#include "db/iter_impl.h"

#include "base/alloc.h"
#include "base/fail.h"
#include "base/mutant.h"

#define SEA_STEPS 4096u // between two entries that are shown

// ---- sources

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

static void set_bound_heads(strata_iter *it)
{
    // With bytes skipped, the head of a bound says something only if it shares those bytes; without
    // it every entry takes the full comparison.
    it->upper_head = 0;
    if (it->has_upper && it->sources.head_skip == 0) {
        it->upper_head = slice_head(buffer_slice(&it->upper), 0);
    }
    it->lower_head = UINT64_MAX;
    if (it->has_lower && it->sources.head_skip == 0) {
        it->lower_head = slice_head(buffer_slice(&it->lower), 0);
    }
}

strata_rc iter_open_sources(strata_iter *it)
{
    strata_rc rc = sources_open(it->db, it->seat.view, &it->seat.at, false, &it->sources);
    if (rc == STRATA_OK) {
        rc = open_merge(it);
    }
    if (rc != STRATA_OK) {
        iter_close_sources(it);
        return rc;
    }
    set_bound_heads(it);
    it->place = ITER_LOST;
    it->plain = false;
    it->plain_sources = !it->sources.history && it->sources.range_count == 0 &&
                        it->filter == NULL && it->budget == 0;
    return STRATA_OK;
}

void iter_close_sources(strata_iter *it)
{
    if (it->merge_ready) {
        kv_merge_release(&it->merge);
    }
    sources_release(&it->sources, !it->merge_ready);
    it->merge_ready = false;
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
    bool has_value = e->kind == KV_PUT || e->kind == KV_PUT_SEPARATED;
    if (it->sources.list[it->merge.source].stable || !has_value) {
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

// Is the newest acceptable version of a key, which is no plain put, to be shown? STRATA_NOT_FOUND
// when it is not.
static strata_rc judge_other(strata_iter *it, const struct kv_entry *e)
{
    if (e->kind == KV_FLOOR && !MUTANT(80)) {
        return fail(STRATA_TRIMMED, "a version of a key at commit %llu is not kept any more",
                    (unsigned long long)it->at);
    }
    if (e->kind != KV_PUT_SEPARATED) {
        return STRATA_NOT_FOUND;
    }
    it->separated.known = false;
    return it->filter == NULL ? STRATA_OK : iter_read_value(it, e);
}

static int64_t expiry_time(strata_iter *it)
{
    if (it->time_s == 0) {
        it->time_s = it->now ? db_now_s(it->db) : time_of_commit_s(it->db, it->at);
    }
    return it->time_s;
}

// Is the newest acceptable version of a key to be shown? STRATA_NOT_FOUND when it is not.
static strata_rc judge(strata_iter *it, const struct kv_entry *e)
{
    const struct range_source *by = NULL;
    // No range delete hides a floor: one that is newer than its begin was superseded inside of it.
    if (e->kind == KV_DELETE || (it->sources.range_count > 0 && e->kind != KV_FLOOR &&
                                 sources_cover(&it->sources, kv_key(e), it->at, &by) > e->commit)) {
        return STRATA_NOT_FOUND;
    }
    if (e->expiry != 0 && is_expired(e->expiry, expiry_time(it))) {
        return STRATA_NOT_FOUND;
    }
    struct slice value = kv_value(e);
    if (e->kind != KV_PUT) {
        strata_rc rc = judge_other(it, e);
        if (rc != STRATA_OK) {
            return rc;
        }
        value = buffer_slice(&it->separated.bytes);
    }
    bool shown =
        it->filter == NULL || it->filter(it->filter_ctx, (strata_slice){e->key, e->key_bytes},
                                         (strata_slice){value.data, value.bytes});
    return shown ? STRATA_OK : STRATA_NOT_FOUND;
}

// One step of settling: looks at the current entry of the merge. STRATA_OK and *found_out when
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
        e = &it->entry;
        if (rc == STRATA_OK && e->commit == 0) {
            return STRATA_OK;
        }
    } else if (e->commit > it->at) {
        return kv_merge_next(&it->merge);
    }
    rc = rc == STRATA_OK ? judge(it, e) : rc;
    if (rc == STRATA_OK) {
        it->shown = e;
        it->place = gather ? ITER_BEHIND : ITER_AT;
        *found_out = true;
        return STRATA_OK;
    }
    return rc != STRATA_NOT_FOUND ? rc : gather ? STRATA_OK : pass_key(it);
}

// Counts the steps that showed nothing. What is dead in tables merges end by themselves; what is
// dead in memtables has to get there.
static void note_sea(strata_iter *it, uint64_t steps_before, bool is_over)
{
    it->sea += it->steps - steps_before;
    if (it->sea >= SEA_STEPS) {
        atomic_store_explicit(&it->db->seal_wanted, true, memory_order_relaxed);
    }
    it->sea = is_over ? 0 : it->sea;
}

strata_rc iter_settle(strata_iter *it)
{
    bool gather = it->backward || it->sources.history;
    bool found = false;
    uint64_t before = it->steps;
    while (!found) {
        const struct kv_entry *e = it->merge.entry;
        if (e == NULL || (it->backward ? below_lower(it, e) : beyond_upper(it, e))) {
            note_sea(it, before, true);
            return at_end(it);
        }
        if (it->budget != 0 && it->steps_left-- == 0) {
            it->state = ITER_YIELDED;
            it->steps_left = it->budget;
            note_sea(it, before, false);
            return STRATA_YIELD;
        }
        it->steps++;
        strata_rc rc = look(it, gather, &found);
        if (rc < 0) {
            it->state = ITER_UNSET;
            return rc;
        }
    }
    note_sea(it, before, true);
    it->state = ITER_ON;
    it->plain = it->plain_sources;
    if (it->shown->kind == KV_PUT_SEPARATED) {
        iter_note_separated(it);
    }
    return STRATA_OK;
}

strata_rc iter_start(strata_iter *it, struct slice key, bool backward)
{
    it->backward = backward;
    it->steps_left = it->budget;
    iter_window_clear(it);
    it->place = ITER_BEHIND;
    strata_rc rc = kv_merge_seek(&it->merge, key, backward);
    if (rc < 0) {
        it->state = ITER_UNSET;
        return rc;
    }
    return iter_settle(it);
}

strata_rc iter_start_past(strata_iter *it, struct slice key, bool backward)
{
    buffer_clear(&it->target);
    strata_rc rc = buffer_append(&it->target, key.data, key.bytes);
    if (rc == STRATA_OK && !backward) {
        rc = buffer_append_u8(&it->target, 0); // the least key behind it
    }
    return rc == STRATA_OK ? iter_start(it, buffer_slice(&it->target), backward) : rc;
}

strata_rc iter_move_on(strata_iter *it)
{
    it->steps_left = it->budget;
    if (it->place == ITER_LOST) {
        return iter_start_past(it, iter_last_key(it), it->backward);
    }
    if (it->place == ITER_AT) {
        strata_rc rc = pass_key(it);
        if (rc < 0) {
            it->state = ITER_UNSET;
            return rc;
        }
        it->place = ITER_BEHIND;
    }
    return iter_settle(it);
}
