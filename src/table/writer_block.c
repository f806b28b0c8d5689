// Blocks and sections of a table in the making: how they are gathered, compressed, sealed and
// buffered for the file.
#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/hash.h"
#include "table/writer.h"

#define ENTRY_OVERHEAD 10 // head, offset, commit, and a share of the block's head

// ---- the file

strata_rc writer_flush(struct table_writer *w)
{
    strata_rc rc = os_file_write(w->file, w->written, w->out.data, w->out.bytes);
    if (rc == STRATA_OK) {
        w->written += w->out.bytes;
        buffer_clear(&w->out);
    }
    return rc;
}

strata_rc writer_emit(struct table_writer *w, const uint8_t *bytes, size_t count)
{
    strata_rc rc = STRATA_OK;
    if (w->out.bytes + count > WRITER_OUT_BYTES) {
        rc = writer_flush(w);
    }
    if (rc == STRATA_OK && count > WRITER_OUT_BYTES) {
        rc = os_file_write(w->file, w->written, bytes, count);
        w->written += rc == STRATA_OK ? count : 0;
        return rc;
    }
    return rc == STRATA_OK ? buffer_append(&w->out, bytes, count) : rc;
}

strata_rc writer_begin_image(struct table_writer *w)
{
    buffer_clear(&w->image);
    strata_rc rc = buffer_reserve(&w->image, SECTION_HEADER_BYTES);
    if (rc == STRATA_OK) {
        w->image.bytes = SECTION_HEADER_BYTES;
    }
    return rc;
}

strata_rc writer_end_image(struct table_writer *w, enum section_kind kind, bool pack,
                           struct section_handle *handle_out)
{
    uint64_t seed = checksum_seed(w->number, writer_offset(w));
    size_t raw = w->image.bytes - SECTION_HEADER_BYTES;
    enum compress_method method = compressor_method(w->compressor);
    size_t stored = 0;
    if (pack && method != COMPRESS_NONE && raw <= COMPRESS_BYTES_MAX) {
        buffer_clear(&w->packed);
        strata_rc rc = buffer_reserve(&w->packed, SECTION_HEADER_BYTES + compress_room(raw));
        if (rc != STRATA_OK) {
            return rc;
        }
        stored = compress_bytes(w->compressor, slice_of(w->image.data + SECTION_HEADER_BYTES, raw),
                                w->packed.data + SECTION_HEADER_BYTES);
    }
    uint8_t *image = stored != 0 ? w->packed.data : w->image.data;
    if (stored == 0) {
        stored = raw;
        method = COMPRESS_NONE;
    }
    section_seal(image, stored, raw, kind, method, seed);
    *handle_out = (struct section_handle){writer_offset(w), stored + SECTION_HEADER_BYTES};
    return writer_emit(w, image, stored + SECTION_HEADER_BYTES);
}

// ---- blocks

strata_rc writer_end_block(struct table_writer *w, struct index_block *b,
                           const struct section_handle *handle)
{
    b->image_bytes = handle->bytes;
    if (w->image.capacity + w->packed.capacity >
        4 * WRITER_OUT_BYTES) { // a large value went through
        buffer_release(&w->image);
        buffer_release(&w->packed);
    }
    return index_add(&w->index, buffer_slice(&w->separator), w->separator_commit, b);
}

static strata_rc write_block(struct table_writer *w, const struct kv_entry *entries, uint32_t count)
{
    struct index_block b = {.commit_least = UINT64_MAX};
    for (uint32_t i = 0; i < count; i++) {
        writer_count_in_block(&b, entries + i);
    }
    strata_rc rc = writer_begin_image(w);
    if (rc == STRATA_OK) {
        rc = block_encode(&w->image, entries, count, w->options.history);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    b.raw_bytes = w->image.bytes - SECTION_HEADER_BYTES;
    struct section_handle handle;
    rc = writer_end_image(w, SECTION_BLOCK, true, &handle);
    return rc == STRATA_OK ? writer_end_block(w, &b, &handle) : rc;
}

strata_rc writer_finish_block(struct table_writer *w)
{
    if (w->count == 0) {
        return STRATA_OK;
    }
    strata_rc rc = write_block(w, w->entries, w->count);
    w->count = 0;
    w->key_bytes = 0;
    w->value_bytes = 0;
    buffer_clear(&w->gathered);
    return rc;
}

// The shortest separator between the last entry and this one, which begins a block.
strata_rc writer_begin_block(struct table_writer *w, const struct kv_entry *e, size_t shared)
{
    buffer_clear(&w->separator);
    bool first = w->properties.entries == 0;
    bool same_key = !first && shared == w->last_key.bytes && shared == e->key_bytes;
    w->separator_commit = same_key ? w->last_commit - 1 : UINT64_MAX;
    size_t bytes = first || same_key ? e->key_bytes : shared + 1;
    return buffer_append(&w->separator, e->key, bytes);
}

// Does the entry, whose key shares `shared` bytes with the last one, not fit any more?
static bool block_is_full(const struct table_writer *w, const struct kv_entry *e, size_t shared)
{
    size_t prefix = w->count == 1 || shared < w->prefix_bytes ? shared : w->prefix_bytes;
    uint64_t count = (uint64_t)w->count + 1;
    uint64_t bytes = w->key_bytes + e->key_bytes + w->value_bytes + e->value_bytes +
                     count * ENTRY_OVERHEAD + BLOCK_HEADS_AT - (count - 1) * prefix;
    return bytes > w->options.block_bytes ||
           w->gathered.bytes + e->key_bytes + e->value_bytes > w->gathered.capacity ||
           count > UINT16_MAX;
}

static strata_rc gather(struct table_writer *w, const struct kv_entry *e, size_t shared)
{
    if (w->count == w->capacity) {
        uint32_t capacity = w->capacity == 0 ? 64 : 2 * w->capacity;
        struct kv_entry *entries = alloc_resize(w->entries, capacity, sizeof *entries);
        if (entries == NULL) {
            return alloc_failed("the entries of a block", capacity * sizeof *entries);
        }
        w->entries = entries;
        w->capacity = capacity;
    }
    if (w->count == 0) {
        w->prefix_bytes = e->key_bytes;
    } else if (shared < w->prefix_bytes) {
        w->prefix_bytes = shared;
    }
    struct kv_entry *to = &w->entries[w->count++];
    *to = *e;
    uint8_t *at = w->gathered.data + w->gathered.bytes;
    memcpy(at, e->key, e->key_bytes);
    to->key = at;
    at += e->key_bytes;
    if (e->value_bytes != 0) {
        memcpy(at, e->value, e->value_bytes);
    }
    to->value = at;
    w->gathered.bytes += (size_t)e->key_bytes + e->value_bytes;
    w->key_bytes += e->key_bytes;
    w->value_bytes += e->value_bytes;
    return STRATA_OK;
}

strata_rc writer_place(struct table_writer *w, const struct kv_entry *e, size_t shared)
{
    strata_rc rc = STRATA_OK;
    bool alone = (uint64_t)e->key_bytes + e->value_bytes >= w->options.block_bytes;
    if (w->count != 0 && (alone || block_is_full(w, e, shared))) {
        rc = writer_finish_block(w);
    }
    if (rc == STRATA_OK && w->count == 0) {
        rc = writer_begin_block(w, e, shared);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    return alone ? write_block(w, e, 1) : gather(w, e, shared);
}
