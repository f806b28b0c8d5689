#include "model/compare.h"

#include "lib/test_lib.h"
#include "model/store.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define GETS_AT_ONCE 16

static struct slice from_public(strata_slice s)
{
    return slice_of(s.data, s.bytes);
}

static strata_slice to_public(struct slice s)
{
    return (strata_slice){s.data, s.bytes};
}

const char *compare_text(struct slice s)
{
    static char buffers[8][96];
    static unsigned next;
    char *to = buffers[next++ % 8];
    size_t used = 0;
    size_t shown = 0;
    to[0] = '\0';
    while (shown < s.bytes && used < 60) {
        uint8_t c = s.data[shown++];
        bool plain = c >= 32 && c < 127 && c != '\\';
        used += (size_t)snprintf(to + used, 8, plain ? "%c" : "\\x%02x", c);
    }
    if (shown < s.bytes) {
        snprintf(to + used, 30, "..(%zu)", s.bytes);
    }
    return to;
}

__attribute__((format(printf, 3, 4))) static bool differs(const struct compare *c, char *fault_out,
                                                          const char *format, ...)
{
    char what[400];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    snprintf(fault_out, STORE_FAULT_BYTES, "%s at commit %llu (floor %llu): %s", c->space->name,
             (unsigned long long)c->at, (unsigned long long)c->floor, what);
    return false;
}

// ---- what retention allows

static void init(struct compare *c, strata_db *db, strata_keyspace *keyspace, const struct model *m,
                 size_t space, uint64_t at)
{
    *c = (struct compare){
        .db = db, .model = m, .space = &m->spaces[space], .at = at, .how = STRATA_READ_INIT};
    c->how.keyspace = keyspace;
}

void compare_init(struct compare *c, strata_db *db, strata_keyspace *keyspace,
                  const struct model *m, size_t space, uint64_t at, int64_t wall_us)
{
    init(c, db, keyspace, m, space, at);
    c->time_us = model_time_s(m, at);
    c->floor = model_floor(m, space, wall_us);
    c->how.as_of = at;
    c->how.as_of_zero = at == 0;
}

void compare_init_now(struct compare *c, strata_db *db, strata_keyspace *keyspace,
                      const struct model *m, size_t space, int64_t wall_us)
{
    init(c, db, keyspace, m, space, m->newest);
    c->time_us = model_now_s(m, wall_us);
    c->floor = model_floor(m, space, wall_us);
    c->registered = true;
}

void compare_init_snapshot(struct compare *c, strata_db *db, strata_keyspace *keyspace,
                           const struct model *m, size_t space, uint64_t at,
                           strata_snapshot *snapshot)
{
    compare_init(c, db, keyspace, m, space, at, INT64_MIN);
    c->how.as_of = 0;
    c->how.as_of_zero = false;
    c->how.snapshot = snapshot;
    c->registered = true;
}

const struct model_version *compare_value(const struct compare *c, const struct model_key *key)
{
    return model_value_at(c->space, key, c->at, c->time_us);
}

bool compare_may_be_trimmed(const struct compare *c, const struct model_key *key)
{
    if (c->registered) {
        return false;
    }
    if (c->at < c->floor) {
        return true;
    }
    for (size_t i = 0; key == NULL && i < c->space->key_count; i++) {
        if (model_may_forget(c->model, c->space, &c->space->keys[i], c->at, false)) {
            return true;
        }
    }
    return key != NULL && model_may_forget(c->model, c->space, key, c->at, false);
}

// STRATA_TRIMMED where it may be the answer.
static bool is_trimmed(const struct compare *c, const struct model_key *key, strata_rc rc)
{
    return rc == STRATA_TRIMMED && compare_may_be_trimmed(c, key);
}

bool compare_oldest(struct compare *c, char *fault_out)
{
    uint64_t oldest = 0;
    strata_rc rc = strata_oldest_commit(c->db, c->how.keyspace, &oldest);
    if (rc != STRATA_OK) {
        return differs(c, fault_out, "oldest_commit: %d, %s", (int)rc, strata_error_text());
    }
    if (oldest > c->floor) {
        return differs(c, fault_out, "oldest_commit is %llu, retention so far allows %llu",
                       (unsigned long long)oldest, (unsigned long long)c->floor);
    }
    c->floor = oldest;
    return true;
}

// ---- gets

// What the floor trimmed once stays trimmed.
static bool stays_trimmed(const struct compare *c, const struct model_key *key, strata_rc rc,
                          char *fault_out)
{
    if (c->trimmed_below == NULL || c->registered) {
        return true;
    }
    if (rc == STRATA_TRIMMED && !model_may_forget(c->model, c->space, key, c->at, false) &&
        c->at >= *c->trimmed_below) {
        *c->trimmed_below = c->at + 1;
    }
    return rc == STRATA_TRIMMED || c->at >= *c->trimmed_below ||
           differs(c, fault_out, "get %s: rc %d, but what is older than commit %llu was trimmed",
                   compare_text(key->key), (int)rc, (unsigned long long)*c->trimmed_below);
}

static const struct model_key *key_of(const struct compare *c, struct slice key)
{
    size_t i = model_key_index(c->space, key);
    bool there = i < c->space->key_count && slice_equal(c->space->keys[i].key, key);
    return there ? &c->space->keys[i] : NULL;
}

static bool check_value(const struct compare *c, struct slice key, strata_rc rc,
                        const strata_value *value, char *fault_out)
{
    static const struct model_key never_written = {.count = 0};
    const struct model_key *k = key_of(c, key);
    const struct model_version *want = k == NULL ? NULL : compare_value(c, k);
    if (!stays_trimmed(c, k == NULL ? &never_written : k, rc, fault_out)) {
        return false;
    }
    if (is_trimmed(c, k == NULL ? &never_written : k, rc)) {
        return true;
    }
    if (want == NULL) {
        return rc == STRATA_NOT_FOUND ||
               differs(c, fault_out, "get %s: rc %d (%s), expected nothing; got the value of %llu",
                       compare_text(key), (int)rc, rc < 0 ? strata_error_text() : "",
                       (unsigned long long)(rc == STRATA_OK ? value->commit : 0));
    }
    if (rc != STRATA_OK) {
        return differs(c, fault_out, "get %s: rc %d (%s), expected the value of commit %llu",
                       compare_text(key), (int)rc, rc < 0 ? strata_error_text() : "",
                       (unsigned long long)want->commit);
    }
    if (value->commit != want->commit ||
        !slice_equal(slice_of(value->data, value->bytes), want->value)) {
        return differs(c, fault_out, "get %s: the value of commit %llu, expected that of %llu",
                       compare_text(key), (unsigned long long)value->commit,
                       (unsigned long long)want->commit);
    }
    return true;
}

bool compare_get(const struct compare *c, struct slice key, char *fault_out)
{
    strata_value value = STRATA_VALUE_INIT;
    strata_rc rc = strata_get(c->db, &c->how, to_public(key), &value);
    bool same = check_value(c, key, rc, &value, fault_out);
    strata_value_release(&value);
    return same;
}

static bool compare_some_gets(const struct compare *c, size_t first, size_t count, char *fault_out)
{
    strata_slice keys[GETS_AT_ONCE];
    strata_value values[GETS_AT_ONCE];
    strata_rc outcomes[GETS_AT_ONCE];
    for (size_t i = 0; i < count; i++) {
        keys[i] = to_public(c->space->keys[first + i].key);
        values[i] = (strata_value)STRATA_VALUE_INIT;
    }
    strata_rc rc = strata_get_many(c->db, &c->how, count, keys, values, outcomes);
    strata_rc worst = STRATA_OK;
    for (size_t i = 0; i < count; i++) {
        worst = worst == STRATA_OK && outcomes[i] < 0 ? outcomes[i] : worst;
    }
    bool same = rc == worst && (rc == STRATA_OK || rc == STRATA_TRIMMED);
    if (!same) {
        differs(c, fault_out, "get_many: %d, %s", (int)rc, strata_error_text());
    }
    for (size_t i = 0; i < count; i++) {
        same = same &&
               check_value(c, c->space->keys[first + i].key, outcomes[i], &values[i], fault_out);
        strata_value_release(&values[i]);
    }
    return same;
}

bool compare_all_gets(const struct compare *c, char *fault_out)
{
    size_t count = c->space->key_count;
    for (size_t i = 0; i < count; i += GETS_AT_ONCE) {
        size_t some = count - i < GETS_AT_ONCE ? count - i : GETS_AT_ONCE;
        if (!compare_some_gets(c, i, some, fault_out)) {
            return false;
        }
    }
    return true;
}

// ---- scans

// The range of the model's keys between the bounds.
static void bounds_of(const struct compare *c, size_t *first_out, size_t *stop_out)
{
    const strata_read *how = &c->how;
    *first_out = how->lower.data == NULL ? 0 : model_key_index(c->space, from_public(how->lower));
    *stop_out = how->upper.data == NULL ? c->space->key_count
                                        : model_key_index(c->space, from_public(how->upper));
    if (*stop_out < *first_out) {
        *stop_out = *first_out;
    }
}

static strata_rc resumed(strata_iter *iter, strata_rc rc)
{
    while (rc == STRATA_YIELD) {
        rc = strata_iter_resume(iter);
    }
    return rc;
}

static bool check_entry(const struct compare *c, strata_iter *iter, strata_rc rc,
                        const struct model_key *key, const struct model_version *want,
                        char *fault_out)
{
    struct slice got = from_public(strata_iter_key(iter));
    if (rc != STRATA_OK) {
        return differs(c, fault_out, "scan: rc %d (%s), expected %s of commit %llu", (int)rc,
                       rc < 0 ? strata_error_text() : "", compare_text(key->key),
                       (unsigned long long)want->commit);
    }
    if (!slice_equal(got, key->key) || strata_iter_commit(iter) != want->commit) {
        return differs(c, fault_out, "scan: %s of commit %llu, expected %s of commit %llu",
                       compare_text(got), (unsigned long long)strata_iter_commit(iter),
                       compare_text(key->key), (unsigned long long)want->commit);
    }
    if (!slice_equal(from_public(strata_iter_value(iter)), want->value)) {
        strata_rc value_rc = strata_iter_value_error(iter);
        return differs(c, fault_out, "scan: another value of %s, commit %llu: rc %d (%s)",
                       compare_text(key->key), (unsigned long long)want->commit, (int)value_rc,
                       value_rc < 0 ? strata_error_text() : "");
    }
    return true;
}

static bool is_shown(const struct compare *c, const struct model_key *key,
                     const struct model_version *v)
{
    return v != NULL &&
           (c->how.filter == NULL ||
            c->how.filter(c->how.filter_ctx, to_public(key->key), to_public(v->value)));
}

static bool scan_with(const struct compare *c, strata_iter *iter, bool reverse, char *fault_out)
{
    size_t first;
    size_t stop;
    bounds_of(c, &first, &stop);
    strata_rc rc = resumed(iter, reverse ? strata_iter_last(iter) : strata_iter_first(iter));
    for (size_t n = 0; n < stop - first; n++) {
        const struct model_key *key = &c->space->keys[reverse ? stop - 1 - n : first + n];
        const struct model_version *want = compare_value(c, key);
        if (!is_shown(c, key, want)) {
            continue;
        }
        if (is_trimmed(c, NULL, rc)) {
            return true;
        }
        if (!check_entry(c, iter, rc, key, want, fault_out)) {
            return false;
        }
        rc = resumed(iter, reverse ? strata_iter_prev(iter) : strata_iter_next(iter));
    }
    if (rc != STRATA_END && !is_trimmed(c, NULL, rc)) {
        return differs(c, fault_out, "%s scan: rc %d at its end (%s), key %s",
                       reverse ? "reverse" : "forward", (int)rc, rc < 0 ? strata_error_text() : "",
                       compare_text(from_public(strata_iter_key(iter))));
    }
    return true;
}

bool compare_scan(const struct compare *c, bool reverse, char *fault_out)
{
    strata_iter *iter = NULL;
    strata_rc rc = strata_iter_open(c->db, &c->how, &iter);
    if (rc == STRATA_TRIMMED && c->at < c->floor && !c->registered) {
        return true;
    }
    if (rc != STRATA_OK) {
        return differs(c, fault_out, "iter_open: %d, %s", (int)rc, strata_error_text());
    }
    bool same = scan_with(c, iter, reverse, fault_out);
    strata_iter_close(iter);
    return same;
}

// ---- histories

static bool check_version(const struct compare *c, const struct model_key *key,
                          const struct model_seen *want, const strata_version_info *got,
                          char *fault_out)
{
    bool same = slice_equal(from_public(got->key), key->key) && got->commit == want->commit &&
                (int)got->kind == (int)want->kind &&
                slice_equal(from_public(got->value), want->value);
    // Of a version that ended after the commit that is read, either may be said.
    bool end =
        got->end == want->end || (got->end == 0 && want->end > c->at) || want->kind != MODEL_PUT;
    if (same && end) {
        return true;
    }
    return differs(c, fault_out,
                   "history: %s commit %llu end %llu kind %d (%s), expected %s commit %llu end "
                   "%llu kind %d (%s)",
                   compare_text(from_public(got->key)), (unsigned long long)got->commit,
                   (unsigned long long)got->end, (int)got->kind,
                   compare_text(from_public(got->value)), compare_text(key->key),
                   (unsigned long long)want->commit, (unsigned long long)want->end, (int)want->kind,
                   compare_text(want->value));
}

// Did the put expire before the floor? Then it counts as a delete.
static bool is_expired_put(const struct compare *c, const struct model_seen *v)
{
    return v->kind == MODEL_PUT && v->expiry_us != 0 && v->commit <= c->floor &&
           v->expiry_us <= model_time_s(c->model, c->floor);
}

// May a history leave the version out? What ended by the floor may be gone, deletes of before it
// too; so may what RETENTION_VERSIONS let go.
static bool may_be_missing(const struct compare *c, const struct model_key *key,
                           const struct model_seen *v)
{
    if (v->optional || model_may_forget(c->model, c->space, key, v->commit, v->kind != MODEL_PUT)) {
        return true;
    }
    if (v->kind != MODEL_PUT) {
        return v->commit <= c->floor;
    }
    return (v->end != 0 && v->end <= c->floor) || is_expired_put(c, v);
}

// The versions of one key; *rc_inout and *got_inout are what the database shows next.
static bool check_key_history(const struct compare *c, strata_history *history,
                              const struct model_key *key, strata_rc *rc_inout,
                              strata_version_info *got_inout, char *fault_out)
{
    struct model_seen *seen = NULL;
    size_t count = model_history(c->space, key, c->at, &seen);
    bool same = true;
    for (size_t i = 0; i < count && same; i++) {
        bool there = *rc_inout == STRATA_OK && slice_equal(from_public(got_inout->key), key->key) &&
                     got_inout->commit == seen[i].commit;
        if (there && got_inout->kind == STRATA_VERSION_DELETE && is_expired_put(c, &seen[i])) {
            *rc_inout = strata_history_next(history, got_inout);
            continue;
        }
        // Of a delete that retention let go only the end of what it deleted tells, as of a range.
        if (there && got_inout->kind == STRATA_VERSION_DELETE_RANGE &&
            seen[i].kind == MODEL_DELETE && may_be_missing(c, key, &seen[i])) {
            *rc_inout = strata_history_next(history, got_inout);
            continue;
        }
        there = there && (int)got_inout->kind == (int)seen[i].kind;
        if (!there && may_be_missing(c, key, &seen[i])) {
            continue;
        }
        if (*rc_inout != STRATA_OK) {
            same = differs(c, fault_out, "history: rc %d (%s), expected %s of commit %llu",
                           (int)*rc_inout, *rc_inout < 0 ? strata_error_text() : "",
                           compare_text(key->key), (unsigned long long)seen[i].commit);
            break;
        }
        same = check_version(c, key, &seen[i], got_inout, fault_out);
        if (same) {
            *rc_inout = strata_history_next(history, got_inout);
        }
    }
    free(seen);
    return same;
}

static bool check_history(const struct compare *c, strata_history *history, size_t first,
                          size_t stop, char *fault_out)
{
    strata_version_info got;
    strata_rc rc = strata_history_next(history, &got);
    for (size_t i = first; i < stop; i++) {
        if (!check_key_history(c, history, &c->space->keys[i], &rc, &got, fault_out)) {
            return false;
        }
    }
    if (rc == STRATA_OK) {
        return differs(c, fault_out, "history: %s of commit %llu kind %d, expected nothing more",
                       compare_text(from_public(got.key)), (unsigned long long)got.commit,
                       (int)got.kind);
    }
    return rc == STRATA_END ||
           differs(c, fault_out, "history: rc %d, %s", (int)rc, strata_error_text());
}

bool compare_history(const struct compare *c, char *fault_out)
{
    strata_history *history = NULL;
    strata_rc rc = strata_history_open(c->db, &c->how, &history);
    if (rc == STRATA_TRIMMED && c->at < c->floor && !c->registered) {
        return true;
    }
    if (rc != STRATA_OK) {
        return differs(c, fault_out, "history_open: %d, %s", (int)rc, strata_error_text());
    }
    size_t first;
    size_t stop;
    bounds_of(c, &first, &stop);
    bool same = check_history(c, history, first, stop, fault_out);
    strata_history_close(history);
    return same;
}

bool compare_history_key(const struct compare *c, struct slice key, char *fault_out)
{
    strata_history *history = NULL;
    strata_rc rc = strata_history_open_key(c->db, &c->how, to_public(key), &history);
    if (rc == STRATA_TRIMMED && c->at < c->floor && !c->registered) {
        return true;
    }
    if (rc != STRATA_OK) {
        return differs(c, fault_out, "history_open_key: %d, %s", (int)rc, strata_error_text());
    }
    size_t i = model_key_index(c->space, key);
    bool there = i < c->space->key_count && slice_equal(c->space->keys[i].key, key);
    bool same = check_history(c, history, i, there ? i + 1 : i, fault_out);
    strata_history_close(history);
    return same;
}

// ---- everything

struct name_check {
    const struct model *m;
    uint64_t at;
    size_t count;
    char last[STRATA_KEYSPACE_NAME_BYTES_MAX + 1];
    bool same;
};

static bool check_name(void *ctx, const strata_keyspace_info *info)
{
    struct name_check *n = ctx;
    n->count++;
    n->same = n->same && strcmp(n->last, info->name) < 0 &&
              model_space_named(n->m, info->name, n->at) != SIZE_MAX;
    snprintf(n->last, sizeof n->last, "%s", info->name);
    return true;
}

static bool compare_names(strata_db *db, const struct model *m, uint64_t at, char *fault_out)
{
    struct name_check n = {m, at, 0, "", true};
    strata_rc rc = strata_keyspace_list(db, check_name, &n);
    size_t there = 0;
    for (size_t i = 0; i < m->space_count; i++) {
        there += model_space_is_there(m, i, at) ? 1 : 0;
    }
    if (rc == STRATA_OK && n.same && n.count == there) {
        return true;
    }
    snprintf(fault_out, STORE_FAULT_BYTES,
             "keyspace_list: rc %d, %zu keyspaces up to \"%s\", expected %zu", (int)rc, n.count,
             n.last, there);
    return false;
}

static bool compare_space(const struct compare *c, bool deep, char *fault_out)
{
    return compare_scan(c, false, fault_out) && compare_scan(c, true, fault_out) &&
           compare_all_gets(c, fault_out) && (!deep || compare_history(c, fault_out));
}

bool compare_db(strata_db *db, const struct model *m, uint64_t at, int64_t wall_us, bool deep,
                char *fault_out)
{
    uint64_t newest = strata_newest_commit(db);
    if (at == newest && !compare_names(db, m, at, fault_out)) {
        return false;
    }
    for (size_t i = 0; i < m->space_count; i++) {
        strata_keyspace *keyspace = NULL;
        // Only what is there now can be read, also as of then.
        if (!model_space_is_there(m, i, at) || !model_space_is_there(m, i, newest)) {
            continue;
        }
        strata_rc rc = strata_keyspace_open(db, m->spaces[i].name, &keyspace);
        if (rc != STRATA_OK) {
            snprintf(fault_out, STORE_FAULT_BYTES, "keyspace_open %s: %d, %s", m->spaces[i].name,
                     (int)rc, strata_error_text());
            return false;
        }
        struct compare c;
        if (at == newest && m->newest == newest) {
            compare_init_now(&c, db, keyspace, m, i, wall_us);
        } else {
            compare_init(&c, db, keyspace, m, i, at, wall_us);
        }
        if (!compare_oldest(&c, fault_out) || !compare_space(&c, deep, fault_out)) {
            return false;
        }
    }
    return true;
}
