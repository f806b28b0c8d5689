// strata.h: reads, iterators, snapshots, versions and times.
#include "api/api_check.h"
#include "base/fail.h"
#include "db/db.h"

#include <stdlib.h>

void strata_value_release(strata_value *value)
{
    if (value != NULL) {
        free(value->owner[0]);
        *value = (strata_value)STRATA_VALUE_INIT;
    }
}

strata_rc strata_get(strata_db *db, const strata_read *how, strata_slice key,
                     strata_value *value_out)
{
    struct read_at at;
    strata_rc rc = db_usable(db);
    if (rc == STRATA_OK && value_out == NULL) {
        rc = api_null("strata_get", "value_out");
    }
    if (rc == STRATA_OK) {
        rc = api_check_key(key);
    }
    if (rc == STRATA_OK) {
        rc = read_resolve(db, how, &at);
    }
    return rc == STRATA_OK ? db_get(db, &at, api_slice(key), value_out) : rc;
}

strata_rc strata_get_many(strata_db *db, const strata_read *how, size_t count,
                          const strata_slice *keys, strata_value *values_out, strata_rc *rc_out)
{
    struct read_at at;
    strata_rc rc = db_usable(db);
    if (rc == STRATA_OK && count > 0 && (keys == NULL || values_out == NULL || rc_out == NULL)) {
        rc = fail(STRATA_INVALID, "strata_get_many: keys, values_out or rc_out is NULL");
    }
    for (size_t i = 0; rc == STRATA_OK && i < count; i++) {
        rc = api_check_key(keys[i]);
    }
    if (rc == STRATA_OK) {
        rc = read_resolve(db, how, &at);
    }
    return rc == STRATA_OK ? db_get_many(db, &at, count, keys, values_out, rc_out) : rc;
}

strata_rc strata_value_open(strata_db *db, const strata_read *how, strata_slice key,
                            strata_value_reader **reader_out)
{
    struct read_at at;
    if (reader_out == NULL) {
        return api_null("strata_value_open", "reader_out");
    }
    *reader_out = NULL;
    strata_rc rc = db_usable(db);
    if (rc == STRATA_OK) {
        rc = api_check_key(key);
    }
    if (rc == STRATA_OK) {
        rc = read_resolve(db, how, &at);
    }
    return rc == STRATA_OK ? value_reader_open(db, &at, api_slice(key), reader_out) : rc;
}

uint64_t strata_value_reader_bytes(const strata_value_reader *reader)
{
    return reader == NULL ? 0 : value_reader_bytes(reader);
}

uint64_t strata_value_reader_commit(const strata_value_reader *reader)
{
    return reader == NULL ? 0 : value_reader_commit(reader);
}

strata_rc strata_value_read(strata_value_reader *reader, uint64_t offset, void *to, size_t bytes,
                            size_t *read_out)
{
    if (reader == NULL || read_out == NULL || (to == NULL && bytes > 0)) {
        return api_null("strata_value_read", reader == NULL     ? "reader"
                                             : read_out == NULL ? "read_out"
                                                                : "to");
    }
    *read_out = 0;
    strata_rc rc = db_usable(value_reader_db(reader));
    return rc == STRATA_OK ? value_reader_read(reader, offset, to, bytes, read_out) : rc;
}

void strata_value_close(strata_value_reader *reader)
{
    if (reader != NULL && db_usable(value_reader_db(reader)) == STRATA_OK) {
        value_reader_close(reader);
    }
}

strata_rc strata_iter_open(strata_db *db, const strata_read *how, strata_iter **iter_out)
{
    if (iter_out == NULL) {
        return api_null("strata_iter_open", "iter_out");
    }
    *iter_out = NULL;
    strata_rc rc = db_usable(db);
    return rc == STRATA_OK ? iter_open(db, how, iter_out) : rc;
}

static strata_rc usable_iter(const strata_iter *iter)
{
    return iter == NULL ? fail(STRATA_INVALID, "the iterator is NULL") : db_usable(iter_db(iter));
}

// Of the calls that are made for every entry: the whole check only after a fork.
static strata_rc usable_step(const strata_iter *iter)
{
    return iter != NULL && db_fork_count == 0 ? STRATA_OK : usable_iter(iter);
}

strata_rc strata_iter_first(strata_iter *iter)
{
    strata_rc rc = usable_iter(iter);
    return rc == STRATA_OK ? iter_first(iter) : rc;
}

strata_rc strata_iter_last(strata_iter *iter)
{
    strata_rc rc = usable_iter(iter);
    return rc == STRATA_OK ? iter_last(iter) : rc;
}

strata_rc strata_iter_seek(strata_iter *iter, strata_slice key)
{
    strata_rc rc = usable_iter(iter);
    if (rc == STRATA_OK) {
        rc = api_check_key(key);
    }
    return rc == STRATA_OK ? iter_seek(iter, api_slice(key)) : rc;
}

strata_rc strata_iter_seek_before(strata_iter *iter, strata_slice key)
{
    strata_rc rc = usable_iter(iter);
    if (rc == STRATA_OK) {
        rc = api_check_key(key);
    }
    return rc == STRATA_OK ? iter_seek_before(iter, api_slice(key)) : rc;
}

strata_rc strata_iter_next(strata_iter *iter)
{
    strata_rc rc = usable_step(iter);
    return rc == STRATA_OK ? iter_next(iter) : rc;
}

strata_rc strata_iter_prev(strata_iter *iter)
{
    strata_rc rc = usable_step(iter);
    return rc == STRATA_OK ? iter_prev(iter) : rc;
}

strata_rc strata_iter_resume(strata_iter *iter)
{
    strata_rc rc = usable_step(iter);
    return rc == STRATA_OK ? iter_resume(iter) : rc;
}

strata_slice strata_iter_key(const strata_iter *iter)
{
    const struct kv_entry *e = iter == NULL ? NULL : iter_entry(iter);
    return e == NULL ? (strata_slice){NULL, 0} : (strata_slice){e->key, e->key_bytes};
}

strata_slice strata_iter_value(const strata_iter *iter)
{
    const struct kv_entry *e = iter == NULL ? NULL : iter_entry(iter);
    if (__builtin_expect(e != NULL && e->kind == KV_PUT, 1)) {
        return (strata_slice){e->value, e->value_bytes};
    }
    if (e == NULL || usable_step(iter) != STRATA_OK) {
        return (strata_slice){NULL, 0};
    }
    // What is read on demand is no part of what the caller sees as the iterator's state.
    struct slice value = iter_value((strata_iter *)(uintptr_t)iter);
    return (strata_slice){value.data, value.bytes};
}

strata_rc strata_iter_value_error(const strata_iter *iter)
{
    strata_rc rc = usable_iter(iter);
    return rc == STRATA_OK ? iter_value_error(iter) : rc;
}

uint64_t strata_iter_commit(const strata_iter *iter)
{
    const struct kv_entry *e = iter == NULL ? NULL : iter_entry(iter);
    return e == NULL ? 0 : e->commit;
}

void strata_iter_close(strata_iter *iter)
{
    if (iter != NULL && db_usable(iter_db(iter)) == STRATA_OK) {
        iter_close(iter);
    }
}

strata_rc strata_snapshot_take(strata_db *db, strata_snapshot **snapshot_out)
{
    if (snapshot_out == NULL) {
        return api_null("strata_snapshot_take", "snapshot_out");
    }
    *snapshot_out = NULL;
    strata_rc rc = db_usable(db);
    return rc == STRATA_OK ? snapshot_take(db, snapshot_out) : rc;
}

uint64_t strata_snapshot_commit(const strata_snapshot *snapshot)
{
    return snapshot == NULL ? 0 : snapshot_commit(snapshot);
}

void strata_snapshot_release(strata_snapshot *snapshot)
{
    if (snapshot != NULL && db_usable(snapshot_db(snapshot)) == STRATA_OK) {
        snapshot_release(snapshot);
    }
}

uint64_t strata_newest_commit(strata_db *db)
{
    return db_usable(db) != STRATA_OK ? 0
                                      : atomic_load_explicit(&db->visible, memory_order_acquire);
}

strata_rc strata_oldest_commit(strata_db *db, strata_keyspace *keyspace, uint64_t *commit_out)
{
    strata_rc rc = db_usable(db);
    if (rc == STRATA_OK && commit_out == NULL) {
        rc = api_null("strata_oldest_commit", "commit_out");
    }
    return rc == STRATA_OK ? db_oldest_commit(db, keyspace, commit_out) : rc;
}

strata_rc strata_commit_at_time(strata_db *db, int64_t unix_us, uint64_t *commit_out)
{
    strata_rc rc = db_usable(db);
    if (rc == STRATA_OK && commit_out == NULL) {
        rc = api_null("strata_commit_at_time", "commit_out");
    }
    return rc == STRATA_OK ? db_commit_at_time(db, unix_us, commit_out) : rc;
}

strata_rc strata_commit_time(strata_db *db, uint64_t commit, int64_t *unix_us_out)
{
    strata_rc rc = db_usable(db);
    if (rc == STRATA_OK && unix_us_out == NULL) {
        rc = api_null("strata_commit_time", "unix_us_out");
    }
    return rc == STRATA_OK ? db_commit_time(db, commit, unix_us_out) : rc;
}

strata_rc strata_history_open(strata_db *db, const strata_read *how, strata_history **history_out)
{
    if (history_out == NULL) {
        return api_null("strata_history_open", "history_out");
    }
    *history_out = NULL;
    strata_rc rc = db_usable(db);
    return rc == STRATA_OK ? history_open(db, how, NULL, history_out) : rc;
}

strata_rc strata_history_open_key(strata_db *db, const strata_read *how, strata_slice key,
                                  strata_history **history_out)
{
    if (history_out == NULL) {
        return api_null("strata_history_open_key", "history_out");
    }
    *history_out = NULL;
    strata_rc rc = db_usable(db);
    if (rc == STRATA_OK) {
        rc = api_check_key(key);
    }
    return rc == STRATA_OK ? history_open(db, how, &key, history_out) : rc;
}

strata_rc strata_history_next(strata_history *history, strata_version_info *version_out)
{
    if (history == NULL || version_out == NULL) {
        return api_null("strata_history_next", history == NULL ? "history" : "version_out");
    }
    strata_rc rc = db_usable(history_db(history));
    return rc == STRATA_OK ? history_next(history, version_out) : rc;
}

void strata_history_close(strata_history *history)
{
    if (history != NULL && db_usable(history_db(history)) == STRATA_OK) {
        history_close(history);
    }
}
