// strata_verify: value files, and what tables and the log refer to in them.
#include "db/verify.h"

#include "base/alloc.h"
#include "base/fail.h"
#include "kv/batch.h"

strata_rc verify_value_files(struct verifier *v)
{
    for (uint32_t i = 0; i < v->catalog->value_file_count; i++) {
        struct value_file *f = v->catalog->value_files[i];
        const struct value_meta *m = value_file_meta(f);
        strata_rc rc = value_file_verify(f, verify_fault, NULL, v);
        v->report->files++;
        v->report->bytes += m->bytes;
        for (uint32_t l = 0; l < m->logical_count; l++) {
            v->report->records += m->logicals[l].records;
        }
        if (rc != STRATA_OK && rc != STRATA_CORRUPT) {
            return rc;
        }
    }
    return STRATA_OK;
}

// ---- what tables refer to

struct reference {
    const struct catalog_value *value;
    uint64_t table;
};

static strata_rc verify_ordinals(void *ctx, uint32_t ordinal, uint32_t chunks)
{
    const struct reference *r = ctx;
    strata_rc rc = STRATA_OK;
    for (uint32_t i = 0; i < chunks && rc == STRATA_OK; i++) {
        bool holds = false;
        rc = value_file_holds(r->value->in, r->value->file, ordinal + i, &holds);
        if (rc == STRATA_OK && !holds) {
            rc = fail(STRATA_CORRUPT,
                      "table %llu refers to ordinal %u of value file %llu, which file %llu does "
                      "not hold",
                      (unsigned long long)r->table, ordinal + i, (unsigned long long)r->value->file,
                      (unsigned long long)value_file_meta(r->value->in)->file);
        }
    }
    return rc;
}

strata_rc verify_references(struct verifier *v, struct table *t)
{
    const struct table_meta *m = table_meta(t);
    strata_rc rc = STRATA_OK;
    for (uint32_t i = 0; i < m->use_count && rc == STRATA_OK; i++) {
        struct reference r = {catalog_value_find(v->catalog, m->uses[i].file), m->file};
        if (r.value == NULL) {
            rc = fail(STRATA_CORRUPT, "table %llu refers to value file %llu, which is not there",
                      (unsigned long long)m->file, (unsigned long long)m->uses[i].file);
        } else {
            rc = table_value_ordinals(t, m->uses[i].file, verify_ordinals, &r);
        }
        rc = verify_note(v, rc);
    }
    return rc;
}

// ---- what the log refers to

static strata_rc logged_file(struct verifier *v, const struct batch_op *op,
                             struct value_file **file_out)
{
    for (uint32_t i = 0; i < v->file_count; i++) {
        if (v->files[i].number == op->ref.file) {
            *file_out = v->files[i].file;
            return STRATA_OK;
        }
    }
    if (v->file_count == v->file_capacity) {
        uint32_t more = v->file_capacity * 2 + DB_GENERATION_VALUE_FILES_MAX;
        struct generation_value *files = alloc_resize(v->files, more, sizeof *files);
        if (files == NULL) {
            return alloc_failed("value files of the log", more * sizeof *files);
        }
        v->files = files;
        v->file_capacity = more;
    }
    strata_rc rc = value_file_recover(&v->env, op->ref.file, file_out);
    if (rc == STRATA_OK) {
        v->files[v->file_count++] =
            (struct generation_value){op->ref.file, op->keyspace, *file_out};
        v->report->files++;
        // Of an unfinished one, what the log refers to is read; an index is only looked into.
        if (value_file_is_finished(*file_out)) {
            v->report->bytes += value_file_bytes(*file_out);
            rc = value_file_verify(*file_out, verify_fault, NULL, v);
            rc = rc == STRATA_CORRUPT ? STRATA_OK : rc;
        }
    }
    return rc;
}

static strata_rc verify_logged_value(struct verifier *v, const struct batch_op *op)
{
    struct value_file *file;
    strata_rc rc = logged_file(v, op, &file);
    if (rc == STRATA_OK && value_file_keyspace(file) != op->keyspace) {
        rc = STRATA_NOT_FOUND;
    }
    return rc == STRATA_OK ? value_file_recover_add(file, &op->ref, op->value_offset) : rc;
}

// Of a keyspace that was dropped since the value files may be gone.
static bool space_counts(const struct catalog *c, uint64_t number)
{
    return number >= c->next_keyspace || catalog_space_find(c, number) != NULL;
}

strata_rc verify_logged_values(struct verifier *v, const struct wal_record *record)
{
    if (record->count > record->payload.bytes) {
        return fail(STRATA_CORRUPT, "commit %llu in the log says %u operations in %zu bytes",
                    (unsigned long long)record->commit, record->count, record->payload.bytes);
    }
    if (record->count > v->ops_capacity) {
        struct batch_op *ops = alloc_resize(v->ops, record->count, sizeof *ops);
        if (ops == NULL) {
            return alloc_failed("reading a batch", record->count * sizeof *ops);
        }
        v->ops = ops;
        v->ops_capacity = record->count;
    }
    uint32_t kept = 0;
    strata_rc rc = batch_normalise(record->payload, record->count, v->ops, &kept);
    for (uint32_t i = 0; i < kept && rc == STRATA_OK; i++) {
        const struct batch_op *op = &v->ops[i];
        if (op->kind == BATCH_PUT_SEPARATED && space_counts(v->catalog, op->keyspace)) {
            rc = verify_logged_value(v, op);
        }
    }
    return rc;
}

void verify_release(struct verifier *v)
{
    for (uint32_t i = 0; i < v->file_count; i++) {
        value_file_unref(v->files[i].file);
    }
    free(v->files);
    free(v->ops);
    v->files = NULL;
    v->ops = NULL;
    v->file_count = v->file_capacity = v->ops_capacity = 0;
}
