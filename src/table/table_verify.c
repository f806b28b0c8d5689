// Reading and checking every byte of a table file, past the cache: checksums, order, counts,
// bounds, that the filter and the index lead to every entry, and that the lists of ordinals are
// those of the entries' separated values.
//
// Thread rule: one call belongs to one thread; the table may be in use by others.
#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/hash.h"
#include "table/table_file.h"
#include "table/value_list.h"

struct verification {
    struct table_file *tf;
    void (*fault)(void *ctx, const char *text);
    void *ctx;
    uint64_t faults;

    uint8_t *image;   // as stored
    uint8_t *decoded; // 64-byte aligned, with CACHE_PADDING behind it
    struct block view;
    struct filter filter;

    uint8_t *key; // of the last entry
    size_t key_bytes;
    uint64_t commit;
    struct kv_entry entry; // the present one; its key is in `next_key`
    uint8_t *next_key;

    uint64_t entries, deletes, keys, raw_bytes, expiring;
    struct value_list values;
    bool values_lost; // an entry's reference could not be read
    uint64_t commit_least, commit_greatest, end_greatest;
};

// Passes on the thread's error text.
static void fault_last(struct verification *v)
{
    v->faults++;
    v->fault(v->ctx, fail_text());
}

// Damage is a fault and verification goes on; any other error ends it.
static strata_rc fault_or_end(struct verification *v, strata_rc rc)
{
    if (rc != STRATA_CORRUPT && rc != STRATA_VERSION) {
        return rc;
    }
    fault_last(v);
    return STRATA_OK;
}

static void fault_at(struct verification *v, uint32_t block, uint32_t pos, const char *what)
{
    struct section_place place = table_block_place(v->tf, block);
    (void)!fail(STRATA_CORRUPT, "%s, offset %llu, block %u, entry %u: %s", place.name,
                (unsigned long long)place.offset, block, pos, what);
    fault_last(v);
}

// Reads block `number` into v->decoded.
static strata_rc read_block(struct verification *v, uint32_t number, const struct index_block *said)
{
    struct section_place place = table_block_place(v->tf, number);
    struct section_header header;
    free(v->image);
    free(v->decoded);
    v->decoded = NULL;
    v->image = alloc_array((size_t)place.bytes, 1);
    if (v->image == NULL) {
        return alloc_failed("a block", (size_t)place.bytes);
    }
    strata_rc rc = table_file_read(v->tf, place.offset, v->image, (size_t)place.bytes);
    if (rc == STRATA_OK) {
        rc = section_check(v->image, &place, SECTION_BLOCK, &header);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    if (header.raw != said->raw_bytes) {
        return fail(STRATA_CORRUPT, "%s, offset %llu: raw size %llu, the index says %llu",
                    place.name, (unsigned long long)place.offset, (unsigned long long)header.raw,
                    (unsigned long long)said->raw_bytes);
    }
    size_t bytes = SECTION_HEADER_BYTES + (size_t)header.raw;
    v->decoded = alloc_aligned(64, bytes + CACHE_PADDING);
    if (v->decoded == NULL) {
        return alloc_failed("a block", bytes);
    }
    memset(v->decoded + bytes, 0, CACHE_PADDING);
    rc = section_unpack(v->image, &place, &header, v->decoded + SECTION_HEADER_BYTES);
    if (rc == STRATA_OK) {
        rc = block_check(v->decoded, bytes);
    }
    if (rc == STRATA_OK) {
        block_view(&v->view, v->decoded, bytes);
    }
    return rc;
}

// The order of the entry and what leads to it.
static void check_entry(struct verification *v, uint32_t number, uint32_t pos)
{
    const struct kv_entry *e = &v->entry;
    const struct table_file *tf = v->tf;
    int order = v->entries == 0 ? 1 : slice_compare(kv_key(e), slice_of(v->key, v->key_bytes));
    bool history = tf->properties.history;
    if (order < 0 || (order == 0 && (!history || e->commit >= v->commit))) {
        fault_at(v, number, pos, "out of order");
    }
    if (history && (e->end < e->commit || (order == 0 && e->end > v->commit))) {
        fault_at(v, number, pos, "its interval overlaps that of the version before");
    }
    if (order != 0) {
        v->keys++;
        if (!filter_may_hold(&v->filter, hash_key(kv_key(e)))) {
            fault_at(v, number, pos, "the filter denies the key");
        }
    }
    if (slice_compare(kv_key(e), tf->properties.lower) < 0 ||
        slice_compare(kv_key(e), tf->properties.upper) >= 0) {
        fault_at(v, number, pos, "outside of the bounds");
    }
    if (index_find(&tf->index, kv_key(e), e->commit) != number ||
        block_seek(&v->view, kv_key(e), e->commit) != pos) {
        fault_at(v, number, pos, "a search does not lead to it");
    }
}

// STRATA_CORRUPT is a fault of this entry.
static strata_rc note_value(struct verification *v, uint32_t block, uint32_t pos)
{
    const struct kv_entry *e = &v->entry;
    strata_rc rc = STRATA_OK;
    if (e->kind == KV_PUT_SEPARATED) {
        rc = value_list_note(&v->values, kv_value(e));
    }
    if (rc == STRATA_CORRUPT) {
        v->values_lost = true;
        fault_at(v, block, pos, "its reference to a separated value is malformed");
        rc = STRATA_OK;
    }
    return rc;
}

static void count_entry(struct verification *v)
{
    const struct kv_entry *e = &v->entry;
    v->entries++;
    v->deletes += e->kind == KV_DELETE;
    v->expiring += e->expiry != 0;
    v->raw_bytes += (uint64_t)e->key_bytes + e->value_bytes;
    v->commit_least = e->commit < v->commit_least ? e->commit : v->commit_least;
    v->commit_greatest = e->commit > v->commit_greatest ? e->commit : v->commit_greatest;
    v->end_greatest = e->end > v->end_greatest ? e->end : v->end_greatest;
    uint8_t *last = v->key;
    v->key = v->next_key;
    v->next_key = last;
    v->key_bytes = e->key_bytes;
    v->commit = e->commit;
}

static strata_rc verify_block(void *ctx, uint32_t number, const struct index_block *said)
{
    struct verification *v = ctx;
    strata_rc rc = read_block(v, number, said);
    if (rc != STRATA_OK) {
        v->values_lost = true;
        return fault_or_end(v, rc);
    }
    uint64_t least = UINT64_MAX;
    uint64_t greatest = 0;
    uint64_t deletes = v->deletes;
    for (uint32_t pos = 0; pos < v->view.count; pos++) {
        struct kv_entry *e = &v->entry;
        block_entry(&v->view, pos, e);
        block_key(&v->view, pos, v->next_key);
        e->key = v->next_key;
        least = e->commit < least ? e->commit : least;
        greatest = e->commit > greatest ? e->commit : greatest;
        check_entry(v, number, pos);
        rc = note_value(v, number, pos);
        if (rc != STRATA_OK) {
            return rc;
        }
        count_entry(v);
    }
    if (said->count != v->view.count || said->deletes != v->deletes - deletes ||
        said->commit_least != least || said->commit_greatest != greatest) {
        fault_at(v, number, 0, "the index's counts of the block are wrong");
    }
    return STRATA_OK;
}

// Reads a section again; it was right when the table was opened.
static strata_rc verify_section(struct verification *v, struct section_handle handle,
                                enum section_kind kind)
{
    uint8_t *payload = NULL;
    size_t bytes;
    if (handle.bytes == 0) {
        return STRATA_OK;
    }
    strata_rc rc = table_read_section(v->tf, handle, kind, &payload, &bytes);
    if (rc == STRATA_OK && kind == SECTION_INDEX) {
        rc = index_visit(slice_of(payload, bytes), verify_block, v);
    }
    free(payload);
    return fault_or_end(v, rc);
}

// A filter that is whole is pinned for the keys to be asked for; else every key passes.
static strata_rc verify_filter(struct verification *v, struct cache_block **filter_out)
{
    struct table_file *tf = v->tf;
    uint64_t faults = v->faults;
    strata_rc rc = verify_section(v, tf->footer.filter, SECTION_FILTER);
    if (rc != STRATA_OK || v->faults != faults || tf->footer.filter.bytes == 0) {
        return rc;
    }
    rc = fault_or_end(v, table_load_filter(tf, filter_out));
    v->filter = table_filter(tf, *filter_out);
    return rc;
}

static strata_rc verify_footer(struct verification *v)
{
    uint8_t footer[FOOTER_BYTES];
    struct footer f;
    struct section_place place = {v->tf->name, v->tf->number, v->tf->bytes - FOOTER_BYTES,
                                  FOOTER_BYTES};
    strata_rc rc = table_file_read(v->tf, place.offset, footer, FOOTER_BYTES);
    if (rc == STRATA_OK) {
        rc = footer_decode(footer, &place, &f);
    }
    return fault_or_end(v, rc);
}

static void verify_counts(struct verification *v)
{
    const struct table_properties *p = &v->tf->properties;
    uint64_t least = v->commit_least;
    uint64_t greatest = v->commit_greatest;
    for (size_t i = 0; i < range_dels_count(v->tf->ranges); i++) {
        const struct range_fragment *f = range_dels_at(v->tf->ranges, i);
        least = f->commits[f->count - 1] < least ? f->commits[f->count - 1] : least;
        greatest = f->commits[0] > greatest ? f->commits[0] : greatest;
    }
    if (v->entries != p->entries || v->deletes != p->deletes || v->keys != p->keys ||
        v->raw_bytes != p->raw_bytes || v->expiring != p->expiring ||
        v->end_greatest != p->end_greatest || least != p->commit_least ||
        greatest != p->commit_greatest) {
        (void)!fail(STRATA_CORRUPT,
                    "%s: the properties' counts are wrong: %llu entries, the properties say %llu",
                    v->tf->name, (unsigned long long)v->entries, (unsigned long long)p->entries);
        fault_last(v);
    }
}

// The list of one value file, as stored, beside the one of the entries.
static strata_rc verify_ordinals(struct verification *v, const struct table_value_use *said,
                                 uint32_t index)
{
    struct table_ordinals o;
    struct buffer expected = {0};
    strata_rc rc = table_read_ordinals(v->tf, said->file, &o);
    if (rc == STRATA_OK && index < v->values.file_count && !v->values_lost) {
        const struct table_value_use *found = &v->values.files[index].use;
        rc = value_list_encode(&v->values, index, &expected);
        bool same = found->file == said->file && found->records == said->records &&
                    found->bytes == said->bytes && slice_equal(o.list, buffer_slice(&expected));
        if (rc == STRATA_OK && !same) {
            rc = fail(STRATA_CORRUPT,
                      "%s: its ordinals of value file %llu are not those of its entries",
                      v->tf->name, (unsigned long long)said->file);
        }
    }
    buffer_release(&expected);
    free(o.memory);
    return rc;
}

static strata_rc verify_values(struct verification *v)
{
    struct value_files_reader files = value_files_reader_of(v->tf->properties.value_files);
    strata_rc rc = value_list_sort(&v->values);
    if (rc == STRATA_OK && files.count != v->values.file_count && !v->values_lost) {
        rc = fail(STRATA_CORRUPT, "%s: entries refer to %u value files, the properties name %llu",
                  v->tf->name, v->values.file_count, (unsigned long long)files.count);
        rc = fault_or_end(v, rc);
    }
    for (uint32_t i = 0; rc == STRATA_OK && i < files.count; i++) {
        struct table_value_use said = value_files_next(&files).use;
        rc = fault_or_end(v, verify_ordinals(v, &said, i));
    }
    return rc;
}

strata_rc table_verify(struct table *t, void (*fault)(void *ctx, const char *text), void *ctx,
                       uint64_t *blocks_out)
{
    struct table_file *tf = t->file;
    struct cache_block *filter = NULL;
    struct verification v = {.tf = tf, .fault = fault, .ctx = ctx, .commit_least = UINT64_MAX};
    *blocks_out = tf->index.count;
    v.key = alloc_array(KV_KEY_BYTES_MAX + CACHE_PADDING, 1);
    v.next_key = alloc_array(KV_KEY_BYTES_MAX + CACHE_PADDING, 1);
    strata_rc rc = STRATA_OK;
    if (v.key == NULL || v.next_key == NULL) {
        rc = alloc_failed("a verification", KV_KEY_BYTES_MAX);
    }
    if (rc == STRATA_OK) {
        rc = verify_footer(&v);
    }
    if (rc == STRATA_OK) {
        rc = verify_section(&v, tf->footer.properties, SECTION_PROPERTIES);
    }
    if (rc == STRATA_OK) {
        rc = verify_filter(&v, &filter);
    }
    if (rc == STRATA_OK) {
        rc = verify_section(&v, tf->footer.ranges, SECTION_RANGES);
    }
    if (rc == STRATA_OK) {
        rc = verify_section(&v, tf->footer.index, SECTION_INDEX);
    }
    if (rc == STRATA_OK) {
        verify_counts(&v);
        rc = verify_values(&v);
    }
    if (filter != NULL) {
        cache_unpin(tf->env.cache, filter);
    }
    value_list_release(&v.values);
    free(v.image);
    free(v.decoded);
    free(v.key);
    free(v.next_key);
    if (rc == STRATA_OK && v.faults != 0) {
        rc = fail(STRATA_CORRUPT, "%s: %llu faults", tf->name, (unsigned long long)v.faults);
    }
    return rc;
}
