// A value that comes in pieces. Up to a chunk of it is collected in memory; a value that is not
// longer is then put like any other. A longer one goes chunk by chunk to a value file of its own,
// which nothing knows of before the commit: the stream's end finishes the file and commits one
// reference. A stream that is given up, or is cut off by a crash, leaves a file that nothing refers
// to, which is removed.
#include "db/commit.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"

struct strata_put_stream {
    strata_db *db;
    strata_write how;
    struct strata_keyspace *space;
    struct buffer key;
    uint8_t *chunk; // KV_VALUE_CHUNK_BYTES
    size_t chunk_bytes;
    uint64_t bytes; // in all
    bool failed;
    char failure[512]; // and why
    strata_compression compression;
    struct value_own own;     // file NULL: the value is not longer than a chunk so far
    struct value_place first; // of the first chunk
};

strata_db *put_stream_db(const strata_put_stream *s)
{
    return s->db;
}

static void put_stream_count(strata_db *db, int more)
{
    os_mutex_lock(&db->values.lock);
    ASSERT(more > 0 || db->values.streams > 0);
    db->values.streams = (uint32_t)((int)db->values.streams + more);
    os_mutex_unlock(&db->values.lock);
}

strata_rc put_stream_begin(strata_db *db, const strata_write *how, struct slice key,
                           strata_put_stream **stream_out)
{
    *stream_out = NULL;
    struct strata_keyspace *space;
    strata_rc rc = space_resolve(db, how == NULL ? NULL : how->keyspace, &space);
    uint64_t expiry;
    if (rc == STRATA_OK) {
        rc = db_expiry(db, space, how == NULL ? 0 : how->expires_unix_us, &expiry);
    }
    if (rc == STRATA_OK) {
        rc = db_writable(db);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    strata_put_stream *s = alloc_zeroed(1, sizeof *s);
    if (s == NULL) {
        return alloc_failed("a put stream", sizeof *s);
    }
    s->db = db;
    s->space = space;
    s->how = how == NULL ? (strata_write)STRATA_WRITE_INIT : *how;
    s->compression =
        (strata_compression)atomic_load_explicit(&space->value_compression, memory_order_relaxed);
    put_stream_count(db, 1);
    s->chunk = alloc_array(KV_VALUE_CHUNK_BYTES, 1);
    rc = s->chunk == NULL ? alloc_failed("a put stream", KV_VALUE_CHUNK_BYTES)
                          : buffer_append(&s->key, key.data, key.bytes);
    if (rc != STRATA_OK) {
        put_stream_abort(s);
        return rc;
    }
    *stream_out = s;
    return STRATA_OK;
}

// The chunk that was collected goes to the file.
static strata_rc put_stream_spill(strata_put_stream *s)
{
    struct value_place place;
    strata_rc rc = db_writable(s->db);
    if (rc == STRATA_OK) {
        rc = db_admit(s->db, &s->how, s->chunk_bytes);
    }
    if (rc == STRATA_OK && s->own.file == NULL) {
        s->own.keyspace = s->space->number;
        rc = values_new_file(s->db, s->own.keyspace, &s->own.number, &s->own.file);
    }
    if (rc == STRATA_OK) {
        rc = value_file_append_chunk(s->own.file, slice_of(s->chunk, s->chunk_bytes),
                                     s->compression, &place);
    }
    if (rc == STRATA_OK && s->own.bytes == 0) {
        s->first = place;
    }
    if (rc == STRATA_OK) {
        s->own.bytes += s->chunk_bytes;
        s->chunk_bytes = 0;
    }
    return rc;
}

static strata_rc put_stream_failed(strata_put_stream *s, strata_rc rc)
{
    s->failed = true;
    memcpy(s->failure, fail_text(), strnlen(fail_text(), sizeof s->failure - 1));
    return rc;
}

static strata_rc put_stream_expect_whole(const strata_put_stream *s)
{
    return s->failed ? fail(STRATA_INVALID, "the stream can only be aborted, it failed before: %s",
                            s->failure)
                     : STRATA_OK;
}

strata_rc put_stream_append(strata_put_stream *s, struct slice bytes)
{
    strata_rc rc = put_stream_expect_whole(s);
    if (rc != STRATA_OK) {
        return rc;
    }
    if (bytes.bytes > KV_VALUE_BYTES_MAX - s->bytes) {
        return put_stream_failed(s, fail(STRATA_TOO_LARGE,
                                         "a value of %llu and %zu bytes is over "
                                         "%u",
                                         (unsigned long long)s->bytes, bytes.bytes,
                                         KV_VALUE_BYTES_MAX));
    }
    size_t done = 0;
    while (done < bytes.bytes) {
        if (s->chunk_bytes == KV_VALUE_CHUNK_BYTES) {
            rc = put_stream_spill(s);
            if (rc != STRATA_OK) {
                return put_stream_failed(s, rc);
            }
        }
        size_t room = KV_VALUE_CHUNK_BYTES - s->chunk_bytes;
        size_t piece = bytes.bytes - done < room ? bytes.bytes - done : room;
        memcpy(s->chunk + s->chunk_bytes, bytes.data + done, piece);
        s->chunk_bytes += piece;
        done += piece;
    }
    s->bytes += bytes.bytes;
    return STRATA_OK;
}

static void put_stream_free(strata_put_stream *s)
{
    value_file_unref(s->own.file);
    put_stream_count(s->db, -1);
    buffer_release(&s->key);
    free(s->chunk);
    free(s);
}

void put_stream_abort(strata_put_stream *s)
{
    if (s->own.file != NULL) {
        value_file_delete_at_close(s->own.file);
    }
    put_stream_free(s);
}

// Finishes the file and commits the reference to what is in it.
static strata_rc put_stream_commit(strata_put_stream *s)
{
    uint64_t commit = 0;
    struct strata_keyspace *space;
    struct batch_op op = {.kind = BATCH_PUT_SEPARATED,
                          .keyspace = s->space->number,
                          .key = buffer_slice(&s->key),
                          .ref = {.file = s->first.ref.file,
                                  .ordinal = s->first.ref.ordinal,
                                  .bytes = (uint32_t)s->bytes},
                          .value_offset = s->first.offset};
    strata_rc rc = space_resolve(s->db, s->space, &space);
    if (rc == STRATA_OK) {
        rc = db_expiry(s->db, space, s->how.expires_unix_us, &op.expiry);
    }
    if (rc == STRATA_OK && s->chunk_bytes > 0) {
        rc = put_stream_spill(s);
    }
    if (rc == STRATA_OK) {
        rc = value_file_finish_alone(s->own.file);
    }
    if (rc == STRATA_OK) {
        rc = db_writable(s->db);
    }
    if (rc == STRATA_OK) {
        rc = commit_own_value(s->db, &s->how, &op, &s->own, &commit);
    }
    if (commit == 0) {
        value_file_delete_at_close(s->own.file);
    }
    return rc;
}

strata_rc put_stream_finish(strata_put_stream *s)
{
    strata_rc rc = put_stream_expect_whole(s);
    if (rc != STRATA_OK) {
        put_stream_abort(s);
        return rc;
    }
    if (s->own.file == NULL) {
        rc = db_commit_one(s->db, &s->how, KV_PUT, buffer_slice(&s->key),
                           slice_of(s->chunk, s->chunk_bytes));
    } else {
        rc = put_stream_commit(s);
    }
    put_stream_free(s);
    return rc;
}
