// Recovery: the log behind the flushed commit is replayed into memtables, and into tables where it
// is long. Nothing that is on disk is changed here: tables that recovery writes become part of the
// database with the new manifest that the open writes at its end, and a log tail that stays in
// memtables is logged again in new segments before the old ones may go (architecture, section 11).
#include "db/db.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/mutant.h"
#include "kv/batch.h"

#define GENERATION_SLOTS_LEAST 16u

struct recovery {
    strata_db *db;
    struct buffer tail; // the records replayed, to be logged again: struct tail_record + payload
    bool tail_too_long;
    uint64_t last; // the last commit whose values are all there
    bool values;   // there may be separated values that are not in the catalog
};

struct tail_record {
    uint64_t commit;
    int64_t time_us;
    uint64_t payload_bytes;
    uint64_t count;
};

// The next catalog of a database that nobody else sees yet: only in memory.
static strata_rc recover_install_edit(strata_db *db, struct edit *e)
{
    struct catalog *next;
    e->next_file = atomic_load(&db->next_file);
    e->next_run = atomic_load(&db->next_run);
    e->next_keyspace = db->next_keyspace;
    strata_rc rc = catalog_apply(db->edit.catalog, e, &db->tables, &next);
    if (rc == STRATA_OK) {
        catalog_unref(db->edit.catalog);
        db->edit.catalog = next;
    }
    return rc;
}

static strata_rc recover_install(void *ctx, struct edit *e)
{
    return recover_install_edit(ctx, e);
}

static strata_rc fresh_generation(strata_db *db)
{
    uint32_t slots = db->space_count * 2;
    return generation_new(slots < GENERATION_SLOTS_LEAST ? GENERATION_SLOTS_LEAST : slots,
                          &db->commit.active);
}

// Writes what is in memtables to tables and begins a fresh generation.
static strata_rc recover_flush(struct recovery *r)
{
    strata_db *db = r->db;
    struct generation *g = db->commit.active;
    struct flush *flush = NULL;
    struct compact_env env = db_compact_env(db);
    env.install = recover_install;
    g->sealed_commit = db->commit.last_commit;
    struct catalog *held = db->edit.catalog;
    catalog_ref(held);
    strata_rc rc = db_flush_begin(db, &env, g, held, &flush);
    for (bool done = false; rc == STRATA_OK && !done;) {
        rc = flush_step(flush, &done);
    }
    flush_free(flush);
    catalog_unref(held);
    if (rc != STRATA_OK) {
        return rc;
    }
    if (generation_value_files(g) > 0) {
        // All of them are in the catalog now. What else refers to them must be in tables, too.
        r->tail_too_long = true;
        buffer_release(&r->tail);
    }
    generation_unref(g, &db->memory);
    db->commit.active = NULL;
    return fresh_generation(db);
}

static strata_rc recover_space(strata_db *db, const struct batch_op *op, uint64_t commit)
{
    struct edit e = {0};
    strata_rc rc = STRATA_OK;
    if (op->kind == BATCH_KEYSPACE_DROP) {
        if (catalog_space_find(db->edit.catalog, op->keyspace) != NULL && !MUTANT(46)) {
            rc = edit_drop_space(&e, op->keyspace, commit);
            struct strata_keyspace *space = space_by_number(db, op->keyspace);
            if (space != NULL) {
                atomic_store(&space->dropped, true);
            }
        }
    } else if (op->keyspace >= db->next_keyspace) {
        strata_keyspace_options options;
        char name[STRATA_KEYSPACE_NAME_BYTES_MAX + 1];
        if (op->key.bytes > STRATA_KEYSPACE_NAME_BYTES_MAX) {
            return fail(STRATA_CORRUPT, "the log creates a keyspace with a name of %zu bytes",
                        op->key.bytes);
        }
        memcpy(name, op->key.data, op->key.bytes);
        name[op->key.bytes] = '\0';
        rc = keyspace_options_decode(op->value, &options);
        if (rc == STRATA_OK) {
            rc = edit_create_space(&e, op->keyspace, name, &options, commit);
        }
        db->next_keyspace = op->keyspace + 1;
    }
    if (rc == STRATA_OK && e.space_count > 0) {
        rc = recover_install_edit(db, &e);
    }
    const struct catalog_space *in = catalog_space_find(db->edit.catalog, op->keyspace);
    if (rc == STRATA_OK && in != NULL && space_by_number(db, op->keyspace) == NULL) {
        struct strata_keyspace *space;
        rc = space_adopt_locked(db, in, &space);
    }
    edit_release(&e);
    return rc;
}

// Keeps the ops that concern keyspaces that still exist; handles the ones on keyspaces themselves.
static strata_rc recover_filter(strata_db *db, struct batch_op *ops, uint32_t *count,
                                uint64_t commit)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < *count; i++) {
        struct batch_op *op = &ops[i];
        if (op->kind == BATCH_KEYSPACE_CREATE || op->kind == BATCH_KEYSPACE_DROP) {
            strata_rc rc = recover_space(db, op, commit);
            if (rc != STRATA_OK) {
                return rc;
            }
            continue;
        }
        const struct strata_keyspace *space = space_by_number(db, op->keyspace);
        if (space == NULL && op->keyspace >= db->next_keyspace) {
            return fail(STRATA_CORRUPT,
                        "commit %llu in the log names keyspace %llu, which never was",
                        (unsigned long long)commit, (unsigned long long)op->keyspace);
        }
        if (space != NULL && !atomic_load(&space->dropped)) {
            ops[kept++] = *op;
        }
    }
    *count = kept;
    return STRATA_OK;
}

static strata_rc keep_tail(struct recovery *r, const struct wal_record *record)
{
    if (r->tail_too_long) {
        return STRATA_OK;
    }
    struct tail_record head = {record->commit, record->time_us, record->payload.bytes,
                               record->count};
    if (r->tail.bytes + sizeof head + record->payload.bytes > DB_RELOG_BYTES_MAX) {
        r->tail_too_long = true;
        buffer_release(&r->tail);
        return STRATA_OK;
    }
    strata_rc rc = buffer_append(&r->tail, &head, sizeof head);
    return rc == STRATA_OK ? buffer_append(&r->tail, record->payload.data, record->payload.bytes)
                           : rc;
}

// STRATA_NOT_FOUND when a value of the commit is not there.
static strata_rc expect_values(const struct recovery *r, const struct wal_record *record,
                               const struct batch_op *ops, uint32_t count)
{
    bool missing = record->commit > r->last;
    for (uint32_t i = 0; i < count && !r->values && !missing; i++) {
        const struct strata_keyspace *space = space_by_number(r->db, ops[i].keyspace);
        missing = ops[i].kind == BATCH_PUT_SEPARATED &&
                  (space == NULL ? ops[i].keyspace >= r->db->next_keyspace
                                 : !atomic_load(&space->dropped));
    }
    return missing ? fail(STRATA_NOT_FOUND, "a value of commit %llu is not there",
                          (unsigned long long)record->commit)
                   : STRATA_OK;
}

static strata_rc apply_record(struct recovery *r, const struct wal_record *record,
                              struct batch_op *ops)
{
    strata_db *db = r->db;
    uint32_t kept = 0;
    strata_rc rc = batch_normalise(record->payload, record->count, ops, &kept);
    if (rc == STRATA_OK) {
        rc = expect_values(r, record, ops, kept);
    }
    if (rc == STRATA_OK) {
        rc = keep_tail(r, record);
    }
    if (rc == STRATA_OK) {
        rc = recover_filter(db, ops, &kept, record->commit);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    if (db->space_count > db->commit.active->capacity) {
        rc = recover_flush(r);
    }
    if (rc == STRATA_OK) {
        rc = db_reserve_ops(db, db->commit.active, ops, kept);
    }
    if (rc == STRATA_OK) {
        db_apply_ops(db, db->commit.active, ops, kept, record->commit);
        times_add(db, record->commit, record->time_us);
        db->commit.last_commit = record->commit;
        db->commit.last_time_us = record->time_us;
        metrics_add(&db->metrics, METRIC_recovered_commits, 1);
    }
    return rc;
}

static strata_rc recover_record(void *ctx, const struct wal_record *record)
{
    struct recovery *r = ctx;
    strata_db *db = r->db;
    struct batch_op one;
    struct batch_op *ops = &one;
    if (record->count > record->payload.bytes) {
        return fail(STRATA_CORRUPT, "commit %llu in the log says %u operations in %zu bytes",
                    (unsigned long long)record->commit, record->count, record->payload.bytes);
    }
    if (record->count > 1) {
        ops = alloc_array(record->count, sizeof *ops);
        if (ops == NULL) {
            return alloc_failed("replaying a batch", record->count * sizeof *ops);
        }
    }
    strata_rc rc = apply_record(r, record, ops);
    if (rc == STRATA_OK && !db->read_only &&
        atomic_load(&db->commit.active->bytes) >= db->options.memtable_bytes) {
        r->tail_too_long = true;
        buffer_release(&r->tail);
        rc = recover_flush(r);
    }
    if (ops != &one) {
        free(ops);
    }
    return rc;
}

// Opens the new log and puts the tail into it, synced.
static strata_rc relog(struct recovery *r, uint64_t last_commit)
{
    strata_db *db = r->db;
    uint64_t first = db->edit.catalog->flushed_commit + 1;
    struct wal_config config = {.dir = db->dir,
                                .executor = db->executor,
                                .clock = db->machine->clock,
                                .incarnation = db->incarnation,
                                .mapped = db->log_mapped,
                                .segment_bytes_first = db->log_segment_bytes_first,
                                .segment_bytes_max = db->options.log_segment_bytes,
                                .new_file_number = db_new_file_number,
                                .before_sync = values_sync,
                                .ctx = db};
    strata_rc rc = wal_open(&config, first, &db->wal);
    if (rc != STRATA_OK) {
        return rc;
    }
    for (size_t at = 0; rc == STRATA_OK && at < r->tail.bytes;) {
        struct tail_record head;
        memcpy(&head, r->tail.data + at, sizeof head);
        at += sizeof head;
        struct wal_record record = {.commit = head.commit,
                                    .time_us = head.time_us,
                                    .count = (uint32_t)head.count,
                                    .payload =
                                        slice_of(r->tail.data + at, (size_t)head.payload_bytes)};
        at += (size_t)head.payload_bytes;
        if (record.commit >= first) {
            rc = wal_append(db->wal, &record);
        }
    }
    if (rc == STRATA_OK && last_commit >= first && !MUTANT(31)) {
        rc = wal_sync(db->wal, last_commit);
    }
    return rc;
}

strata_rc db_compare_log(const struct os_dir *dir, const struct catalog *catalog, uint64_t edits,
                         const struct wal_recovery *found)
{
    if (found->edits_marked > edits) {
        return fail(STRATA_CORRUPT,
                    "the manifest of %s holds %llu edits, but the log says that %llu were synced",
                    dir->path, (unsigned long long)edits, (unsigned long long)found->edits_marked);
    }
    for (uint32_t i = 0; i < catalog->space_count; i++) {
        const struct catalog_space *space = &catalog->spaces[i];
        if (space->created_commit > found->last_commit) {
            return fail(STRATA_CORRUPT,
                        "the log of %s ends at commit %llu, but keyspace \"%s\" was created by "
                        "commit %llu, which was synced",
                        dir->path, (unsigned long long)found->last_commit, space->name,
                        (unsigned long long)space->created_commit);
        }
    }
    return STRATA_OK;
}

strata_rc db_recover(strata_db *db)
{
    struct recovery r = {.db = db};
    struct wal_recovery found;
    uint64_t flushed = db->edit.catalog->flushed_commit;
    uint64_t edits = db->edit.catalog->edits; // of the manifest; replay adds more in memory
    size_t seconds = db->times.count;
    db->commit.last_commit = flushed;
    db->commit.last_time_us = seconds == 0 ? 0 : db->times.seconds[seconds - 1].last_time_us;
    strata_rc rc = fresh_generation(db);
    if (rc == STRATA_OK) {
        rc = db_recover_values(db, &r.last, &r.values);
    }
    if (rc == STRATA_OK) {
        rc = wal_recover(db->dir, flushed, db->edit.catalog->log_first_segment, recover_record, &r,
                         &found);
    }
    if (rc == STRATA_OK) {
        rc = db_compare_log(db->dir, db->edit.catalog, edits, &found);
    }
    if (rc == STRATA_OK && found.incarnation_max >= db->incarnation) {
        db->incarnation = found.incarnation_max + 1;
    }
    if (rc == STRATA_OK) {
        metrics_add(&db->metrics, METRIC_recovered_cut_bytes, found.cut_bytes);
    }
    if (rc == STRATA_OK && !db->read_only) {
        if (r.tail_too_long && db->commit.last_commit > db->edit.catalog->flushed_commit) {
            rc = recover_flush(&r);
        }
        if (rc == STRATA_OK) {
            rc = relog(&r, db->commit.last_commit);
        }
    }
    buffer_release(&r.tail);
    return rc;
}
