// The first reading of the log at an open, before anything is applied: every value that a commit
// refers to is looked for in its value file and verified, and the first commit that lacks one is
// where the log ends. Only then are the files finished, in place: what no commit refers to may be
// cut off, and what was kept is found by the next recovery of the same log, should this one not
// come to its end. Nothing is removed here.
#include "db/db.h"

#include "base/alloc.h"
#include "base/fail.h"
#include "base/mutant.h"
#include "kv/batch.h"

struct value_reading {
    strata_db *db;
    struct generation_value *files; // by the order in which the log names them
    uint32_t count, capacity;
    uint32_t last; // the one that was named last
    struct batch_op *ops;
    uint32_t ops_capacity;
};

// ---- which files there are

struct unnamed {
    const struct catalog *catalog;
    bool any;
};

static int compare_file(const void *number, const void *file)
{
    uint64_t a = *(const uint64_t *)number;
    uint64_t b = value_file_meta(*(struct value_file *const *)file)->file;
    return a < b ? -1 : a > b;
}

bool catalog_names_value_file(const struct catalog *c, uint64_t number)
{
    return c->value_file_count != 0 && bsearch(&number, c->value_files, c->value_file_count,
                                               sizeof *c->value_files, compare_file) != NULL;
}

static bool see_unnamed(void *ctx, const char *name, bool regular)
{
    struct unnamed *u = ctx;
    enum file_kind kind;
    uint64_t number;
    u->any = regular && file_name_parse(name, &kind, &number) && kind == FILE_VALUE &&
             !catalog_names_value_file(u->catalog, number);
    return !u->any;
}

// ---- reading

static strata_rc open_named_file(struct value_reading *r, uint64_t number, uint64_t keyspace)
{
    if (r->count == r->capacity) {
        uint32_t more = r->capacity + DB_GENERATION_VALUE_FILES_MAX;
        struct generation_value *files = alloc_resize(r->files, more, sizeof *files);
        if (files == NULL) {
            return alloc_failed("recovered value files", more * sizeof *files);
        }
        r->files = files;
        r->capacity = more;
    }
    struct value_file *file;
    const strata_db *db = r->db;
    struct value_env env = {db->tables.dir, db->tables.cache, db->tables.memory, db->tables.files};
    strata_rc rc = value_file_recover(&env, number, &file);
    if (rc == STRATA_OK) {
        r->files[r->count] = (struct generation_value){number, keyspace, file};
        r->last = r->count++;
    }
    return rc;
}

static strata_rc named_file(struct value_reading *r, const struct batch_op *op,
                            struct generation_value **file_out)
{
    uint64_t number = op->ref.file;
    if (r->count == 0 || r->files[r->last].number != number) {
        uint32_t i = 0;
        while (i < r->count && r->files[i].number != number) {
            i++;
        }
        r->last = i;
        if (i == r->count) {
            strata_rc rc = open_named_file(r, number, op->keyspace);
            if (rc != STRATA_OK) {
                r->last = 0;
                return rc;
            }
        }
    }
    *file_out = &r->files[r->last];
    return STRATA_OK;
}

static strata_rc read_value(struct value_reading *r, const struct batch_op *op)
{
    struct generation_value *file;
    strata_rc rc = named_file(r, op, &file);
    if (rc == STRATA_OK &&
        (file->keyspace != op->keyspace || value_file_keyspace(file->file) != op->keyspace)) {
        return fail(STRATA_NOT_FOUND, "value file %llu is not of keyspace %llu",
                    (unsigned long long)op->ref.file, (unsigned long long)op->keyspace);
    }
    if (rc == STRATA_OK) {
        rc = value_file_recover_add(file->file, &op->ref, op->value_offset);
        rc = MUTANT(52) ? STRATA_OK : rc;
    }
    return rc != STRATA_NOT_FOUND
               ? rc
               : fail(rc, "value %u of value file %llu is not there, or not what was written",
                      op->ref.ordinal, (unsigned long long)op->ref.file);
}

// Will the replay apply what is written to the keyspace? Of one that was dropped since, the files
// may be gone.
static bool space_counts(const strata_db *db, uint64_t number)
{
    return number >= db->next_keyspace || catalog_space_find(db->edit.catalog, number) != NULL;
}

static strata_rc read_record(void *ctx, const struct wal_record *record)
{
    struct value_reading *r = ctx;
    if (record->count > record->payload.bytes) {
        return fail(STRATA_CORRUPT, "commit %llu in the log says %u operations in %zu bytes",
                    (unsigned long long)record->commit, record->count, record->payload.bytes);
    }
    if (record->count > r->ops_capacity) {
        struct batch_op *ops = alloc_resize(r->ops, record->count, sizeof *ops);
        if (ops == NULL) {
            return alloc_failed("reading a batch", record->count * sizeof *ops);
        }
        r->ops = ops;
        r->ops_capacity = record->count;
    }
    uint32_t kept = 0;
    strata_rc rc = batch_normalise(record->payload, record->count, r->ops, &kept);
    for (uint32_t i = 0; i < kept && rc == STRATA_OK; i++) {
        if (r->ops[i].kind == BATCH_PUT_SEPARATED && space_counts(r->db, r->ops[i].keyspace)) {
            rc = read_value(r, &r->ops[i]);
        }
    }
    return rc;
}

// Writable: the files get their indexes. Then they are the active generation's.
static strata_rc hand_over(struct value_reading *r)
{
    strata_db *db = r->db;
    struct generation *g = db->commit.active;
    strata_rc rc = STRATA_OK;
    for (uint32_t i = 0; i < r->count && rc == STRATA_OK && !db->read_only; i++) {
        rc = value_file_finish(r->files[i].file);
    }
    if (rc == STRATA_OK && r->count > 0) {
        g->value_files = r->files;
        g->value_file_capacity = r->capacity;
        atomic_store_explicit(&g->value_file_count, r->count, memory_order_release);
        for (uint32_t i = 0; i < r->count; i++) {
            atomic_fetch_add(&g->value_bytes, value_file_bytes(r->files[i].file));
        }
        r->files = NULL;
        r->count = 0;
    }
    return rc;
}

strata_rc db_recover_values(strata_db *db, uint64_t *last_out, bool *any_out)
{
    struct value_reading r = {.db = db};
    struct unnamed u = {.catalog = db->edit.catalog};
    *last_out = UINT64_MAX;
    strata_rc rc = os_dir_list(db->dir, see_unnamed, &u);
    *any_out = u.any;
    if (rc != STRATA_OK || !u.any) {
        return rc;
    }
    struct wal_recovery found;
    rc = wal_recover(db->dir, db->edit.catalog->flushed_commit, db->edit.catalog->log_first_segment,
                     read_record, &r, &found);
    if (rc == STRATA_OK) {
        *last_out = found.last_commit;
        rc = hand_over(&r);
    }
    for (uint32_t i = 0; i < r.count; i++) {
        value_file_unref(r.files[i].file);
    }
    free(r.files);
    free(r.ops);
    return rc;
}
