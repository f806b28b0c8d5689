// Blocks of other tables, taken over whole.
#include "base/assert.h"
#include "base/fail.h"
#include "base/hash.h"
#include "table/writer.h"

#define PASS_WINDOW 64u // entries of a block of another table that are looked at together

// Notes all entries of the block, which is about to be written.
static strata_rc note_block(struct table_writer *w, const struct block *view,
                            struct index_block *counts)
{
    struct kv_entry entries[PASS_WINDOW];
    for (uint32_t at = 0; at < view->count; at += PASS_WINDOW) {
        uint32_t count = view->count - at < PASS_WINDOW ? view->count - at : PASS_WINDOW;
        buffer_clear(&w->keys);
        strata_rc rc = buffer_reserve(&w->keys, block_window_bytes(view, at, count));
        if (rc != STRATA_OK) {
            return rc;
        }
        block_window(view, at, count, false, 0, entries, w->keys.data);
        for (uint32_t i = 0; i < count; i++) {
            const struct kv_entry *e = entries + i;
            size_t shared = writer_shared(w, kv_key(e));
            bool new_key;
            rc = writer_check(w, e, shared, &new_key);
            if (rc == STRATA_OK && at + i == 0) {
                rc = writer_begin_block(w, e, shared);
            }
            if (rc == STRATA_OK) {
                uint64_t hash = w->options.filter_bits != 0 ? hash_key(kv_key(e)) : 0;
                rc = writer_note(w, e, hash, shared, new_key);
            }
            if (rc != STRATA_OK) {
                return rc;
            }
            writer_count_in_block(counts, e);
        }
    }
    return STRATA_OK;
}

// Is a block that is stored with this method good enough for this table?
static bool keeps_method(const struct table_writer *w, enum compress_method method)
{
    enum compress_method wish = compressor_method(w->compressor);
    return method == wish || (wish == COMPRESS_LZ4 && method == COMPRESS_ZSTD);
}

// Writes the block's image under a checksum of its new place.
static strata_rc pass_image(struct table_writer *w, const struct table_raw_block *b,
                            struct section_handle *handle_out)
{
    struct section_place from = {b->name, b->file, b->offset, b->bytes};
    struct section_header header = {.method = COMPRESS_METHODS};
    if (b->image != NULL) {
        strata_rc rc = section_check(b->image, &from, SECTION_BLOCK, &header);
        if (rc == STRATA_OK && header.raw != b->decoded_bytes - SECTION_HEADER_BYTES) {
            rc = fail(STRATA_CORRUPT, "%s, offset %llu: the block changed while it was read",
                      b->name, (unsigned long long)b->offset);
        }
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    strata_rc rc = writer_begin_image(w);
    if (!keeps_method(w, header.method)) {
        if (rc == STRATA_OK) {
            rc = buffer_append(&w->image, b->decoded + SECTION_HEADER_BYTES,
                               (size_t)b->decoded_bytes - SECTION_HEADER_BYTES);
        }
        return rc == STRATA_OK ? writer_end_image(w, SECTION_BLOCK, true, handle_out) : rc;
    }
    size_t stored = (size_t)b->bytes - SECTION_HEADER_BYTES;
    if (rc == STRATA_OK) {
        rc = buffer_append(&w->image, b->image + SECTION_HEADER_BYTES, stored);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    *handle_out = (struct section_handle){writer_offset(w), b->bytes};
    section_seal(w->image.data, stored, header.raw, SECTION_BLOCK, header.method,
                 checksum_seed(w->number, handle_out->offset));
    return writer_emit(w, w->image.data, w->image.bytes);
}

static strata_rc add_block(struct table_writer *w, const struct table_raw_block *b)
{
    struct block view;
    block_view(&view, b->decoded, b->decoded_bytes);
    if (w->options.history || (view.flags & BLOCK_HISTORY) != 0) {
        return fail(STRATA_INVALID, "%s: only a live table takes blocks of live tables", w->name);
    }
    struct index_block counts = {.commit_least = UINT64_MAX,
                                 .raw_bytes = b->decoded_bytes - SECTION_HEADER_BYTES};
    struct section_handle handle;
    strata_rc rc = writer_finish_block(w);
    if (rc == STRATA_OK) {
        rc = pass_image(w, b, &handle);
    }
    if (rc == STRATA_OK) {
        rc = note_block(w, &view, &counts);
    }
    return rc == STRATA_OK ? writer_end_block(w, &counts, &handle) : rc;
}

strata_rc table_writer_add_block(struct table_writer *w, const struct table_raw_block *b)
{
    ASSERT(b->decoded_bytes > BLOCK_HEADS_AT);
    if (w->rc == STRATA_OK) {
        w->rc = add_block(w, b);
    }
    return w->rc;
}
