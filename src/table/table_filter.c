// The filter of an open table: a block of the cache, so that it is within the budget and may be
// evicted. Lookups then go on without it, with the same answers.
//
// Its shape (lines and probes) is read when the table is opened and stays; whenever the payload is
// loaded again it must have that shape, on which the places of the bits depend.
#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "table/table_file.h"

// Unpacks a checked image into a pinned block that is in no slot yet, and sees that it is a filter.
static strata_rc unpack_filter(struct table_file *tf, const struct section_place *place,
                               const uint8_t *image, const struct section_header *header,
                               struct cache_block **block_out)
{
    struct cache_block *b = cache_block_new(tf->env.cache, header->raw);
    if (b == NULL) {
        return alloc_failed("the filter of a table", (size_t)header->raw);
    }
    struct filter f = {0};
    strata_rc rc = section_unpack(image, place, header, b->data);
    if (rc == STRATA_OK) {
        rc = filter_open(&f, slice_of(b->data, (size_t)header->raw));
        rc = rc == STRATA_OK ? rc : fail_in(rc, "%s", tf->name);
    }
    if (rc == STRATA_OK && tf->filter.line_count == 0) {
        tf->filter = f; // the table is being opened: nobody else knows it
        tf->filter.lines = NULL;
    }
    if (rc == STRATA_OK &&
        (f.line_count != tf->filter.line_count || f.probes != tf->filter.probes)) {
        rc = fail(STRATA_CORRUPT, "%s: its filter is not the one that was there", tf->name);
    }
    if (rc != STRATA_OK) {
        table_discard(tf, b);
        return rc;
    }
    *block_out = b;
    return STRATA_OK;
}

strata_rc table_load_filter(struct table_file *tf, struct cache_block **block_out)
{
    ASSERT(tf->footer.filter.bytes != 0);
    os_epoch_enter();
    struct cache_block *b = cache_pin(&tf->filter_slot);
    os_epoch_leave();
    if (b != NULL) {
        *block_out = b;
        return STRATA_OK;
    }
    struct section_place place = {tf->name, tf->number, tf->footer.filter.offset,
                                  tf->footer.filter.bytes};
    uint8_t *image = alloc_array((size_t)place.bytes, 1);
    if (image == NULL) {
        return alloc_failed("the filter of a table", (size_t)place.bytes);
    }
    struct section_header header;
    strata_rc rc = table_file_read(tf, place.offset, image, (size_t)place.bytes);
    if (rc == STRATA_OK) {
        rc = section_check(image, &place, SECTION_FILTER, &header);
    }
    if (rc == STRATA_OK) {
        rc = unpack_filter(tf, &place, image, &header, &b);
    }
    free(image);
    if (rc == STRATA_OK) {
        *block_out = cache_attach(tf->env.cache, &tf->filter_slot, b, true);
    }
    return rc;
}

strata_rc table_regain_filter(struct table_file *tf, uint64_t block_bytes)
{
    uint64_t filter_bytes = tf->footer.filter.bytes;
    if (filter_bytes == 0 || atomic_load_explicit(&tf->filter_slot, memory_order_relaxed) != NULL) {
        return STRATA_OK;
    }
    uint64_t before =
        atomic_fetch_add_explicit(&tf->missed_bytes, block_bytes, memory_order_relaxed);
    if (before + block_bytes < filter_bytes) {
        return STRATA_OK;
    }
    atomic_store_explicit(&tf->missed_bytes, 0, memory_order_relaxed);
    struct cache_block *b;
    strata_rc rc = table_load_filter(tf, &b);
    if (rc == STRATA_OK) {
        cache_unpin(tf->env.cache, b);
    }
    return rc;
}
