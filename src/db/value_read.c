// Reading one value piece by piece: the reader holds the file of a separated value, or a copy of
// one that stands beside its key. A separated value is verified by chunks, so what is left of a
// chunk that was read for a small piece is kept for the next one: memory is at most a chunk.
#include "db/db.h"

#include "base/alloc.h"
#include "base/fail.h"

struct strata_value_reader {
    strata_db *db;
    struct registration registration;
    struct value_found found;
    uint64_t bytes;
    uint8_t *chunk; // bytes of the value from chunk_at on; or NULL
    uint64_t chunk_at;
    size_t chunk_bytes; // that are there
    size_t capacity;
};

strata_rc value_reader_open(strata_db *db, const struct read_at *at, struct slice key,
                            strata_value_reader **reader_out)
{
    *reader_out = NULL;
    strata_value_reader *r = alloc_zeroed(1, sizeof *r);
    if (r == NULL) {
        return alloc_failed("a value reader", sizeof *r);
    }
    r->db = db;
    r->found.value = (strata_value)STRATA_VALUE_INIT;
    strata_rc rc = read_register(db, at, &r->registration);
    if (rc != STRATA_OK) {
        free(r);
        return rc;
    }
    struct read_at registered = *at;
    registered.registered = true;
    rc = db_find_value(db, &registered, key, &r->found);
    if (rc != STRATA_OK) {
        value_reader_close(r);
        return rc;
    }
    r->bytes = r->found.file != NULL ? r->found.ref.bytes : r->found.value.bytes;
    *reader_out = r;
    return STRATA_OK;
}

void value_reader_close(strata_value_reader *r)
{
    value_file_unref(r->found.file);
    free(r->found.value.owner[0]);
    if (r->chunk != NULL) {
        os_memory_refund(&r->db->memory, OS_MEMORY_READERS, r->capacity);
        free(r->chunk);
    }
    unregister_commit(r->db, &r->registration);
    free(r);
}

uint64_t value_reader_bytes(const strata_value_reader *r)
{
    return r->bytes;
}

uint64_t value_reader_commit(const strata_value_reader *r)
{
    return r->found.commit;
}

strata_db *value_reader_db(const strata_value_reader *r)
{
    return r->db;
}

// Reads the chunk that `offset` lies in.
static strata_rc load_chunk(strata_value_reader *r, uint64_t offset)
{
    uint64_t at = offset - offset % KV_VALUE_CHUNK_BYTES;
    size_t bytes =
        r->bytes - at < KV_VALUE_CHUNK_BYTES ? (size_t)(r->bytes - at) : KV_VALUE_CHUNK_BYTES;
    if (r->chunk == NULL) {
        size_t capacity = r->bytes < KV_VALUE_CHUNK_BYTES ? (size_t)r->bytes : KV_VALUE_CHUNK_BYTES;
        r->chunk = alloc_array(capacity, 1);
        if (r->chunk == NULL) {
            return alloc_failed("a value reader", capacity);
        }
        r->capacity = capacity;
        os_memory_charge(&r->db->memory, OS_MEMORY_READERS, capacity);
    }
    r->chunk_bytes = 0;
    strata_rc rc = value_file_read(r->found.file, &r->found.ref, at, r->chunk, bytes);
    if (rc == STRATA_OK) {
        r->chunk_at = at;
        r->chunk_bytes = bytes;
    }
    return rc;
}

// Reads a piece, or the beginning of it; *done_out is how much.
static strata_rc read_some(strata_value_reader *r, uint64_t offset, uint8_t *to, size_t bytes,
                           size_t *done_out)
{
    if (offset % KV_VALUE_CHUNK_BYTES == 0 &&
        (bytes >= KV_VALUE_CHUNK_BYTES || offset + bytes == r->bytes)) {
        // Whole chunks need no memory in between.
        *done_out =
            offset + bytes == r->bytes ? bytes : bytes - bytes % (size_t)KV_VALUE_CHUNK_BYTES;
        return value_file_read(r->found.file, &r->found.ref, offset, to, *done_out);
    }
    bool there = offset >= r->chunk_at && offset < r->chunk_at + r->chunk_bytes;
    strata_rc rc = there ? STRATA_OK : load_chunk(r, offset);
    if (rc != STRATA_OK) {
        return rc;
    }
    size_t left = (size_t)(r->chunk_at + r->chunk_bytes - offset);
    *done_out = bytes < left ? bytes : left;
    memcpy(to, r->chunk + (offset - r->chunk_at), *done_out);
    return STRATA_OK;
}

strata_rc value_reader_read(strata_value_reader *r, uint64_t offset, void *to, size_t bytes,
                            size_t *read_out)
{
    *read_out = 0;
    if (offset >= r->bytes || bytes == 0) {
        return STRATA_OK;
    }
    bytes = bytes < r->bytes - offset ? bytes : (size_t)(r->bytes - offset);
    if (r->found.file == NULL) {
        memcpy(to, (const uint8_t *)r->found.value.data + offset, bytes);
        *read_out = bytes;
        return STRATA_OK;
    }
    size_t done = 0;
    while (done < bytes) {
        size_t some = 0;
        strata_rc rc = read_some(r, offset + done, (uint8_t *)to + done, bytes - done, &some);
        if (rc != STRATA_OK) {
            return rc;
        }
        done += some;
    }
    *read_out = bytes;
    return STRATA_OK;
}
