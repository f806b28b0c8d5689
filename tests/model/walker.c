#include "model/walker.h"

#include "lib/test_lib.h"
#include "model/store.h"

#include <stdio.h>

static const char *const move_names[WALKER_MOVES] = {"first",       "last", "seek",
                                                     "seek_before", "next", "prev"};

static strata_slice copy_bound(uint8_t *to, strata_slice from)
{
    if (from.data == NULL) {
        return from;
    }
    if (from.bytes > WALKER_KEY_BYTES) {
        test_fatal("a bound of %zu bytes", from.bytes);
    }
    memcpy(to, from.data, from.bytes);
    return (strata_slice){to, from.bytes};
}

bool walker_open(struct walker *w, const struct compare *c, char *fault_out)
{
    *w = (struct walker){.c = *c, .times = {c->time_us}, .time_count = 1};
    w->now = c->registered && c->how.snapshot == NULL;
    strata_rc rc = strata_iter_open(c->db, &c->how, &w->iter);
    w->c.how.lower = copy_bound(w->lower, c->how.lower);
    w->c.how.upper = copy_bound(w->upper, c->how.upper);
    if (rc != STRATA_OK) {
        w->iter = NULL;
        if (rc == STRATA_TRIMMED && c->at < c->floor && !c->registered) {
            return false;
        }
        snprintf(fault_out, STORE_FAULT_BYTES, "iter_open: %d, %s", (int)rc, strata_error_text());
        return false;
    }
    return true;
}

void walker_close(struct walker *w)
{
    strata_iter_close(w->iter);
    w->iter = NULL;
}

// The model's entry at or after index `from` (or before it, when backwards) that the iterator
// shows; SIZE_MAX when there is none. `from` counts keys: backwards starts at from - 1.
static size_t find_shown(const struct compare *c, size_t from, bool backwards)
{
    const struct model_space *s = c->space;
    const strata_read *how = &c->how;
    size_t first = how->lower.data == NULL
                       ? 0
                       : model_key_index(s, slice_of(how->lower.data, how->lower.bytes));
    size_t stop = how->upper.data == NULL
                      ? s->key_count
                      : model_key_index(s, slice_of(how->upper.data, how->upper.bytes));
    size_t i = from < first ? first : from;
    i = backwards && from > stop ? stop : i;
    while (backwards ? i > first && from > first : i < stop) {
        const struct model_key *k = &s->keys[backwards ? i - 1 : i];
        const struct model_version *v = compare_value(c, k);
        bool shown = v != NULL;
        if (shown && how->filter != NULL) {
            strata_slice key = {k->key.data, k->key.bytes};
            strata_slice value = {v->value.data, v->value.bytes};
            shown = how->filter(how->filter_ctx, key, value);
        }
        if (shown) {
            return backwards ? i - 1 : i;
        }
        i = backwards ? i - 1 : i + 1;
    }
    return SIZE_MAX;
}

static enum walker_move possible_move(const struct walker *w, enum walker_move move)
{
    if (move == WALKER_NEXT && w->place != WALKER_ON && w->place != WALKER_AT_END) {
        return WALKER_FIRST;
    }
    if (move == WALKER_PREV && w->place != WALKER_ON && w->place != WALKER_AT_BEGIN) {
        return WALKER_LAST;
    }
    return move;
}

static size_t model_move(const struct walker *w, enum walker_move move, struct slice key)
{
    const struct model_space *s = w->c.space;
    struct slice now = slice_of(w->key, w->key_bytes);
    switch (move) {
    case WALKER_FIRST:
        return find_shown(&w->c, 0, false);
    case WALKER_LAST:
        return find_shown(&w->c, s->key_count, true);
    case WALKER_SEEK:
        return find_shown(&w->c, model_key_index(s, key), false);
    case WALKER_SEEK_BEFORE:
        return find_shown(&w->c, model_key_index(s, key), true);
    case WALKER_NEXT:
        return w->place == WALKER_AT_END ? SIZE_MAX
                                         : find_shown(&w->c, model_key_index(s, now) + 1, false);
    default:
        return w->place == WALKER_AT_BEGIN ? SIZE_MAX
                                           : find_shown(&w->c, model_key_index(s, now), true);
    }
}

static strata_rc real_move(struct walker *w, enum walker_move move, struct slice key)
{
    strata_slice to = {key.data, key.bytes};
    strata_rc rc = move == WALKER_FIRST         ? strata_iter_first(w->iter)
                   : move == WALKER_LAST        ? strata_iter_last(w->iter)
                   : move == WALKER_SEEK        ? strata_iter_seek(w->iter, to)
                   : move == WALKER_SEEK_BEFORE ? strata_iter_seek_before(w->iter, to)
                   : move == WALKER_NEXT        ? strata_iter_next(w->iter)
                                                : strata_iter_prev(w->iter);
    while (rc == STRATA_YIELD) {
        rc = strata_iter_resume(w->iter);
    }
    return rc;
}

// Does the iterator stand where the model does at index `i` of its keys (SIZE_MAX: at an end)?
static bool stands_at(const struct walker *w, size_t i, strata_rc rc)
{
    strata_slice at = strata_iter_key(w->iter);
    if (i == SIZE_MAX) {
        return rc == STRATA_END && at.bytes == 0;
    }
    const struct model_key *k = &w->c.space->keys[i];
    const struct model_version *v = compare_value(&w->c, k);
    strata_slice value = strata_iter_value(w->iter);
    return rc == STRATA_OK && v != NULL && slice_equal(slice_of(at.data, at.bytes), k->key) &&
           strata_iter_commit(w->iter) == v->commit &&
           slice_equal(slice_of(value.data, value.bytes), v->value);
}

static void say_difference(const struct walker *w, const char *move, struct slice key, size_t i,
                           strata_rc rc, char *fault_out)
{
    strata_slice at = strata_iter_key(w->iter);
    const struct model_key *k = i == SIZE_MAX ? NULL : &w->c.space->keys[i];
    const struct model_version *v = k == NULL ? NULL : compare_value(&w->c, k);
    snprintf(fault_out, STORE_FAULT_BYTES,
             "%s at commit %llu, %s %s: rc %d key %s commit %llu, expected %s %s commit %llu",
             w->c.space->name, (unsigned long long)w->c.at, move, compare_text(key), (int)rc,
             compare_text(slice_of(at.data, at.bytes)),
             (unsigned long long)strata_iter_commit(w->iter), k == NULL ? "the end" : "key",
             k == NULL ? "" : compare_text(k->key),
             (unsigned long long)(v == NULL ? 0 : v->commit));
}

void walker_note_time(struct walker *w, int64_t now_s)
{
    bool known = w->time_count > 0 && w->times[w->time_count - 1] == now_s;
    if (w->now && !known && w->time_count < WALKER_TIMES_MAX) {
        w->times[w->time_count++] = now_s;
    }
}

bool walker_move(struct walker *w, enum walker_move wanted, struct slice key, char *fault_out)
{
    enum walker_move move = possible_move(w, wanted);
    if (w->place == WALKER_TRIMMED) {
        return true;
    }
    strata_rc rc = real_move(w, move, key);
    if (rc == STRATA_TRIMMED && compare_may_be_trimmed(&w->c, NULL)) {
        w->place = WALKER_TRIMMED;
        return true;
    }
    size_t there = SIZE_MAX;
    size_t i = SIZE_MAX;
    size_t kept = 0;
    for (size_t t = 0; t < w->time_count; t++) {
        w->c.time_us = w->times[t];
        i = model_move(w, move, key);
        if (stands_at(w, i, rc)) {
            there = i;
            w->times[kept++] = w->times[t];
        }
    }
    if (kept == 0) {
        say_difference(w, move_names[move], key, i, rc, fault_out);
        return false;
    }
    w->time_count = kept;
    if (there == SIZE_MAX) {
        bool backwards = move == WALKER_LAST || move == WALKER_PREV || move == WALKER_SEEK_BEFORE;
        w->place = backwards ? WALKER_AT_BEGIN : WALKER_AT_END;
        return true;
    }
    const struct model_key *k = &w->c.space->keys[there];
    w->place = WALKER_ON;
    w->key_bytes = k->key.bytes;
    memcpy(w->key, k->key.data, k->key.bytes);
    return true;
}
