// The database as a store of the crash and fault tests.
#include "db/db.h"
#include "lib/test_lib.h"
#include "model/compare.h"
#include "model/store.h"

#include <stdlib.h>

struct subject {
    struct store base; // first
    strata_db *db;
    struct os_machine *machine;
    strata_keyspace_options keyspace; // of keyspaces that are created
};

static strata_db *db_of(struct store *s)
{
    return ((struct subject *)s)->db;
}

static strata_rc subject_open(struct os_machine *machine, const struct store_config *config,
                              struct store **store_out)
{
    strata_db *db = NULL;
    strata_options options = config->options;
    options.flags |= STRATA_OPEN_CREATE;
    *store_out = NULL;
    strata_rc rc = db_open(machine, "db", &options, &db);
    if (rc != STRATA_OK) {
        return rc;
    }
    struct subject *s = test_alloc(1, sizeof *s);
    s->base.ops = &store_strata;
    s->db = db;
    s->machine = machine;
    s->keyspace = options.keyspace;
    *store_out = &s->base;
    return STRATA_OK;
}

static strata_rc subject_close(struct store *s)
{
    strata_rc rc = strata_close(db_of(s));
    if (rc == STRATA_BUSY) {
        test_fatal("a store is closed while something of it is open");
    }
    free(s);
    return rc;
}

static strata_slice to_public(struct slice s)
{
    return (strata_slice){s.data, s.bytes};
}

static strata_rc keyspace_of(strata_db *db, const struct model *m, size_t space,
                             strata_keyspace **keyspace_out)
{
    return strata_keyspace_open(db, m->spaces[space].name, keyspace_out);
}

static strata_rc put_streamed(strata_db *db, const strata_write *how, const struct model_op *op)
{
    strata_put_stream *stream = NULL;
    strata_rc rc = strata_put_begin(db, how, to_public(op->key), &stream);
    size_t piece = op->value.bytes / 3 + 1;
    for (size_t at = 0; at < op->value.bytes && rc == STRATA_OK; at += piece) {
        size_t left = op->value.bytes - at;
        rc = strata_put_append(stream, op->value.data + at, piece < left ? piece : left);
    }
    if (rc != STRATA_OK) {
        strata_put_abort(stream);
        return rc;
    }
    return strata_put_finish(stream);
}

static strata_rc commit_one(strata_db *db, const strata_write *how, const struct model_op *op)
{
    switch (op->kind) {
    case MODEL_PUT:
        return strata_put(db, how, to_public(op->key), to_public(op->value));
    case MODEL_DELETE:
        return strata_delete(db, how, to_public(op->key));
    default:
        return strata_delete_range(db, how, to_public(op->key), to_public(op->value));
    }
}

static strata_rc fill_batch(strata_db *db, strata_batch *batch, const struct model *m,
                            const struct model_op *ops, size_t count)
{
    strata_rc rc = STRATA_OK;
    for (size_t i = 0; i < count && rc == STRATA_OK; i++) {
        strata_keyspace *keyspace = NULL;
        rc = keyspace_of(db, m, ops[i].space, &keyspace);
        if (rc != STRATA_OK) {
            break;
        }
        strata_slice key = to_public(ops[i].key);
        strata_slice value = to_public(ops[i].value);
        if (ops[i].kind == MODEL_PUT && ops[i].expires_us != 0) {
            rc = strata_batch_put_expiring(batch, keyspace, key, value, ops[i].expires_us);
            continue;
        }
        rc = ops[i].kind == MODEL_PUT      ? strata_batch_put(batch, keyspace, key, value)
             : ops[i].kind == MODEL_DELETE ? strata_batch_delete(batch, keyspace, key)
                                           : strata_batch_delete_range(batch, keyspace, key, value);
    }
    return rc;
}

static strata_rc subject_commit(struct store *s, const struct model *m, const struct model_op *ops,
                                size_t count, strata_durability durability, bool streamed,
                                uint64_t *commit_out)
{
    strata_db *db = db_of(s);
    strata_batch *batch = NULL;
    strata_write how = STRATA_WRITE_INIT;
    how.durability = durability;
    if (count == 1) {
        how.commit_out = commit_out;
        how.expires_unix_us = ops[0].expires_us;
        strata_rc one = keyspace_of(db, m, ops[0].space, &how.keyspace);
        if (one != STRATA_OK) {
            return one;
        }
        return streamed ? put_streamed(db, &how, &ops[0]) : commit_one(db, &how, &ops[0]);
    }
    strata_rc rc = strata_batch_new(db, &batch);
    if (rc == STRATA_OK) {
        rc = fill_batch(db, batch, m, ops, count);
    }
    if (rc == STRATA_OK) {
        rc = strata_commit(db, &how, batch, commit_out);
    }
    strata_batch_free(batch);
    return rc;
}

static strata_rc subject_space_create(struct store *s, const char *name)
{
    strata_keyspace *keyspace = NULL;
    return strata_keyspace_create(db_of(s), name, &((struct subject *)s)->keyspace, &keyspace);
}

static strata_rc subject_space_drop(struct store *s, const char *name)
{
    return strata_keyspace_drop(db_of(s), name);
}

static strata_rc subject_space_alter(struct store *s, const char *name,
                                     const strata_keyspace_options *change)
{
    strata_keyspace *keyspace = NULL;
    strata_rc rc = strata_keyspace_open(db_of(s), name, &keyspace);
    if (rc == STRATA_OK) {
        rc = strata_keyspace_alter(db_of(s), keyspace, change);
    }
    return rc;
}

static strata_rc subject_sync(struct store *s)
{
    return strata_sync(db_of(s));
}

static strata_rc subject_flush(struct store *s)
{
    return strata_flush(db_of(s));
}

static strata_rc subject_compact(struct store *s, bool values)
{
    if (values) {
        return strata_compact_values(db_of(s), NULL, NULL, NULL);
    }
    return strata_compact(db_of(s), NULL, NULL, NULL);
}

static strata_rc subject_check(struct store *s)
{
    return strata_check(db_of(s));
}

static uint64_t subject_newest(struct store *s)
{
    return strata_newest_commit(db_of(s));
}

static int64_t subject_time_of(struct store *s, uint64_t commit)
{
    int64_t time_us = 0;
    return strata_commit_time(db_of(s), commit, &time_us) == STRATA_OK ? time_us : 0;
}

static bool subject_agrees(struct store *s, const struct model *m, uint64_t at, bool deep,
                           char *fault_out)
{
    struct os_clock *clock = ((struct subject *)s)->machine->clock;
    return compare_db(db_of(s), m, at, clock->wall_us(clock), deep, fault_out);
}

const struct store_ops store_strata = {
    .name = "strata",
    .open = subject_open,
    .close = subject_close,
    .commit = subject_commit,
    .space_create = subject_space_create,
    .space_drop = subject_space_drop,
    .space_alter = subject_space_alter,
    .sync = subject_sync,
    .flush = subject_flush,
    .compact = subject_compact,
    .check = subject_check,
    .newest = subject_newest,
    .time_of = subject_time_of,
    .agrees = subject_agrees,
};
