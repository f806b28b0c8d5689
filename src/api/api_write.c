// strata.h: single writes, batches, commits, put streams.
#include "api/api_check.h"
#include "base/alloc.h"
#include "base/buffer.h"
#include "base/fail.h"
#include "db/db.h"
#include "kv/batch.h"

struct strata_batch {
    strata_db *db;
    struct buffer ops;
    uint32_t count;
    bool committed;
};

static strata_rc check_write_call(strata_db *db, const strata_write *how)
{
    strata_rc rc = db_usable(db);
    return rc == STRATA_OK ? api_check_write(how) : rc;
}

strata_rc strata_put(strata_db *db, const strata_write *how, strata_slice key, strata_slice value)
{
    strata_rc rc = check_write_call(db, how);
    if (rc == STRATA_OK) {
        rc = api_check_key(key);
    }
    if (rc == STRATA_OK) {
        rc = api_check_value(value);
    }
    return rc == STRATA_OK ? db_commit_one(db, how, KV_PUT, api_slice(key), api_slice(value)) : rc;
}

strata_rc strata_delete(strata_db *db, const strata_write *how, strata_slice key)
{
    strata_rc rc = check_write_call(db, how);
    if (rc == STRATA_OK) {
        rc = api_check_key(key);
    }
    return rc == STRATA_OK ? db_commit_one(db, how, KV_DELETE, api_slice(key), slice_of(NULL, 0))
                           : rc;
}

strata_rc strata_delete_range(strata_db *db, const strata_write *how, strata_slice begin,
                              strata_slice end)
{
    strata_rc rc = check_write_call(db, how);
    if (rc == STRATA_OK) {
        rc = api_check_range(begin, end);
    }
    return rc == STRATA_OK
               ? db_commit_one(db, how, KV_RANGE_DELETE, api_slice(begin), api_slice(end))
               : rc;
}

strata_rc strata_batch_new(strata_db *db, strata_batch **batch_out)
{
    if (batch_out == NULL) {
        return api_null("strata_batch_new", "batch_out");
    }
    *batch_out = NULL;
    strata_rc rc = db_usable(db);
    if (rc != STRATA_OK) {
        return rc;
    }
    strata_batch *batch = alloc_zeroed(1, sizeof *batch);
    if (batch == NULL) {
        return alloc_failed("a batch", sizeof *batch);
    }
    batch->db = db;
    *batch_out = batch;
    return STRATA_OK;
}

// `expires_unix_us`: of a put, as in strata_write; 0 for other operations.
static strata_rc batch_add(strata_batch *batch, strata_keyspace *keyspace, struct batch_op *op,
                           int64_t expires_unix_us)
{
    struct strata_keyspace *space;
    if (batch->committed) {
        return fail(STRATA_INVALID, "the batch was committed: reset it before it is filled again");
    }
    if (batch->count == UINT32_MAX) {
        return fail(STRATA_TOO_LARGE, "the batch holds %u operations already", UINT32_MAX);
    }
    strata_rc rc = db_usable(batch->db);
    if (rc == STRATA_OK) {
        rc = space_resolve(batch->db, keyspace, &space);
    }
    if (rc == STRATA_OK && op->kind == BATCH_PUT) {
        rc = db_expiry(batch->db, space, expires_unix_us, &op->expiry);
        op->kind = op->expiry == 0 ? BATCH_PUT : BATCH_PUT_EXPIRING;
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    op->keyspace = space->number;
    uint64_t most = db_batch_bytes_max(batch->db);
    if (batch->ops.bytes + batch_op_bytes_max(op) > most) {
        return fail(STRATA_TOO_LARGE,
                    "the batch would be over %llu bytes (a quarter of memory_bytes)",
                    (unsigned long long)most);
    }
    rc = batch_append(&batch->ops, op);
    if (rc == STRATA_OK) {
        batch->count++;
    }
    return rc;
}

static strata_rc batch_add_put(strata_batch *batch, strata_keyspace *keyspace, strata_slice key,
                               strata_slice value, int64_t expires_unix_us)
{
    strata_rc rc = api_check_key(key);
    if (rc == STRATA_OK) {
        rc = api_check_value(value);
    }
    struct batch_op op = {.kind = BATCH_PUT, .key = api_slice(key), .value = api_slice(value)};
    return rc == STRATA_OK ? batch_add(batch, keyspace, &op, expires_unix_us) : rc;
}

strata_rc strata_batch_put(strata_batch *batch, strata_keyspace *keyspace, strata_slice key,
                           strata_slice value)
{
    return batch == NULL ? api_null("strata_batch_put", "batch")
                         : batch_add_put(batch, keyspace, key, value, 0);
}

strata_rc strata_batch_put_expiring(strata_batch *batch, strata_keyspace *keyspace,
                                    strata_slice key, strata_slice value, int64_t expires_unix_us)
{
    return batch == NULL ? api_null("strata_batch_put_expiring", "batch")
                         : batch_add_put(batch, keyspace, key, value, expires_unix_us);
}

strata_rc strata_batch_delete(strata_batch *batch, strata_keyspace *keyspace, strata_slice key)
{
    if (batch == NULL) {
        return api_null("strata_batch_delete", "batch");
    }
    strata_rc rc = api_check_key(key);
    struct batch_op op = {.kind = BATCH_DELETE, .key = api_slice(key)};
    return rc == STRATA_OK ? batch_add(batch, keyspace, &op, 0) : rc;
}

strata_rc strata_batch_delete_range(strata_batch *batch, strata_keyspace *keyspace,
                                    strata_slice begin, strata_slice end)
{
    if (batch == NULL) {
        return api_null("strata_batch_delete_range", "batch");
    }
    strata_rc rc = api_check_range(begin, end);
    struct batch_op op = {
        .kind = BATCH_RANGE_DELETE, .key = api_slice(begin), .value = api_slice(end)};
    return rc == STRATA_OK ? batch_add(batch, keyspace, &op, 0) : rc;
}

uint64_t strata_batch_count(const strata_batch *batch)
{
    return batch == NULL ? 0 : batch->count;
}

void strata_batch_reset(strata_batch *batch)
{
    if (batch != NULL) {
        buffer_clear(&batch->ops);
        batch->count = 0;
        batch->committed = false;
    }
}

void strata_batch_free(strata_batch *batch)
{
    if (batch != NULL) {
        buffer_release(&batch->ops);
        free(batch);
    }
}

strata_rc strata_commit(strata_db *db, const strata_write *how, strata_batch *batch,
                        uint64_t *commit_out)
{
    if (commit_out != NULL) {
        *commit_out = 0;
    }
    strata_rc rc = check_write_call(db, how);
    if (rc != STRATA_OK) {
        return rc;
    }
    if (batch == NULL) {
        return api_null("strata_commit", "batch");
    }
    if (batch->db != db) {
        return fail(STRATA_INVALID, "the batch was made for another database");
    }
    if (batch->committed || batch->count == 0) {
        return fail(STRATA_INVALID,
                    batch->committed ? "the batch was committed already" : "the batch is empty");
    }
    uint64_t commit = 0;
    rc = db_commit(db, how, buffer_slice(&batch->ops), batch->count, &commit);
    // A commit that has its number stands, or may stand: it must not be made twice.
    batch->committed = commit != 0;
    if (commit_out != NULL) {
        *commit_out = commit;
    }
    return rc;
}

strata_rc strata_put_begin(strata_db *db, const strata_write *how, strata_slice key,
                           strata_put_stream **stream_out)
{
    if (stream_out == NULL) {
        return api_null("strata_put_begin", "stream_out");
    }
    *stream_out = NULL;
    strata_rc rc = check_write_call(db, how);
    if (rc == STRATA_OK) {
        rc = api_check_key(key);
    }
    return rc == STRATA_OK ? put_stream_begin(db, how, api_slice(key), stream_out) : rc;
}

strata_rc strata_put_append(strata_put_stream *stream, const void *data, size_t bytes)
{
    if (stream == NULL || (data == NULL && bytes != 0)) {
        return api_null("strata_put_append", stream == NULL ? "stream" : "data");
    }
    strata_rc rc = db_usable(put_stream_db(stream));
    return rc == STRATA_OK ? put_stream_append(stream, slice_of(data, bytes)) : rc;
}

strata_rc strata_put_finish(strata_put_stream *stream)
{
    if (stream == NULL) {
        return api_null("strata_put_finish", "stream");
    }
    strata_rc rc = db_usable(put_stream_db(stream));
    return rc == STRATA_OK ? put_stream_finish(stream) : rc;
}

void strata_put_abort(strata_put_stream *stream)
{
    if (stream != NULL && db_usable(put_stream_db(stream)) == STRATA_OK) {
        put_stream_abort(stream);
    }
}
