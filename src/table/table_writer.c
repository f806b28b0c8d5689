// Writing a table: entries in order go in, blocks go out as they fill. In memory are one block, the
// index's entries, the filter's hashes (8 bytes a key), the ordinals of separated values (8 bytes
// for each chunk of one, twice that at the end) and the buffer of the file.
//
// Invariants
//   1. Entries come in the order (key ascending, commit descending); in a live table a key comes
//      once. In a history table the intervals of a key do not overlap: an entry's end is at most
//      the commit of the entry before it. (A lookup stops at the first candidate.) What breaks them
//      is refused with STRATA_INTERNAL: a table out of order is damage that nothing would detect.
//   2. A block is cut when it would grow over block_bytes; an entry that is larger by itself gets
//      a block of its own. A block of another table that is taken over stays as it is: a payload
//      says nothing of where it lies.
//   3. After an error every further call gives that error, until the writer is finished or
//      abandoned; both remove the file.
//
// Thread rule: one thread at a time.
#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/mutant.h"
#include "table/filter.h"
#include "table/writer.h"

// Raw bytes a block may gather, for keys that share long prefixes.
#define GATHER_BYTES_LEAST ((size_t)256 << 10)

static void writer_free(struct table_writer *w)
{
    compressor_free(w->compressor);
    index_builder_release(&w->index);
    struct buffer *const buffers[] = {
        &w->image,       &w->packed, &w->out,        &w->gathered, &w->separator,
        &w->last_key,    &w->hashes, &w->ranges,     &w->lower,    &w->range_lower,
        &w->range_upper, &w->keys,   &w->value_files};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        buffer_release(buffers[i]);
    }
    value_list_release(&w->values);
    free(w->entries);
    free(w->keyspace_name);
    free(w);
}

static enum compress_method method_of(strata_compression c)
{
    switch (c) {
    case STRATA_COMPRESSION_NONE:
        return COMPRESS_NONE;
    case STRATA_COMPRESSION_ZSTD:
        return COMPRESS_ZSTD;
    default:
        return COMPRESS_LZ4;
    }
}

static size_t gather_capacity(const struct table_options *o)
{
    size_t bytes = 4 * (size_t)o->block_bytes;
    return (bytes > GATHER_BYTES_LEAST ? bytes : GATHER_BYTES_LEAST) + KV_KEY_BYTES_MAX;
}

static strata_rc writer_init(struct table_writer *w)
{
    const char *name = w->options.keyspace_name == NULL ? "" : w->options.keyspace_name;
    size_t name_bytes = strlen(name) + 1;
    w->keyspace_name = alloc_array(name_bytes, 1);
    if (w->keyspace_name == NULL) {
        return alloc_failed("a table writer", name_bytes);
    }
    memcpy(w->keyspace_name, name, name_bytes);
    w->properties = (struct table_properties){
        .keyspace = w->options.keyspace,
        .keyspace_name = slice_of(w->keyspace_name, name_bytes - 1),
        .history = w->options.history,
        .level = w->options.level,
        .incarnation = w->options.incarnation,
        .commit_least = UINT64_MAX,
    };
    strata_rc rc = buffer_reserve(&w->out, WRITER_OUT_BYTES);
    if (rc == STRATA_OK) {
        rc = buffer_reserve(&w->gathered, gather_capacity(&w->options));
    }
    if (rc == STRATA_OK) {
        rc = compressor_new(method_of(w->options.compression), &w->compressor);
    }
    if (rc == STRATA_OK) {
        rc = os_file_open(w->dir, w->name, OS_OPEN_WRITE | OS_OPEN_CREATE | OS_OPEN_EXCLUSIVE,
                          &w->file);
    }
    return rc;
}

strata_rc table_writer_new(struct os_dir *dir, uint64_t file, const struct table_options *options,
                           struct table_writer **writer_out)
{
    ASSERT(options->block_bytes > 0);
    struct table_writer *w = alloc_zeroed(1, sizeof *w);
    if (w == NULL) {
        return alloc_failed("a table writer", sizeof *w);
    }
    w->dir = dir;
    w->number = file;
    w->options = *options;
    file_name_make(w->name, FILE_TABLE, file);
    strata_rc rc = writer_init(w);
    if (rc != STRATA_OK) {
        writer_free(w);
        return rc;
    }
    *writer_out = w;
    return STRATA_OK;
}

// ---- entries

// As slice_shared, 8 bytes at a time.
static size_t keys_shared(struct slice a, struct slice b)
{
    size_t limit = a.bytes < b.bytes ? a.bytes : b.bytes;
    size_t n = 0;
    while (n + 8 <= limit) {
        uint64_t differ = load_u64(a.data + n) ^ load_u64(b.data + n);
        if (differ != 0) {
            return n + (size_t)__builtin_ctzll(differ) / 8;
        }
        n += 8;
    }
    while (n < limit && a.data[n] == b.data[n]) {
        n++;
    }
    return n;
}

size_t writer_shared(const struct table_writer *w, struct slice key)
{
    return keys_shared(buffer_slice(&w->last_key), key);
}

strata_rc writer_check(const struct table_writer *w, const struct kv_entry *e, size_t shared,
                       bool *new_key_out)
{
    bool bad = e->key_bytes == 0 || e->key_bytes > KV_KEY_BYTES_MAX ||
               (w->options.history && e->end < e->commit) ||
               (e->kind == KV_FLOOR && (!w->options.history || e->value_bytes != 0));
    *new_key_out = true;
    if (w->properties.entries != 0) {
        size_t last = w->last_key.bytes;
        if (shared == last && shared == e->key_bytes) {
            *new_key_out = false;
            bad = bad || !w->options.history || e->commit >= w->last_commit ||
                  e->end > w->last_commit;
        } else if (shared < last) {
            bad = bad || shared == e->key_bytes || w->last_key.data[shared] > e->key[shared];
        }
    }
    return bad ? fail(STRATA_INTERNAL, "%s: entry %llu (commit %llu) is out of order", w->name,
                      (unsigned long long)w->properties.entries, (unsigned long long)e->commit)
               : STRATA_OK;
}

static void count_commits(struct table_properties *p, uint64_t least, uint64_t greatest)
{
    p->commit_least = least < p->commit_least ? least : p->commit_least;
    p->commit_greatest = greatest > p->commit_greatest ? greatest : p->commit_greatest;
}

strata_rc writer_note(struct table_writer *w, const struct kv_entry *e, uint64_t hash,
                      size_t shared, bool new_key)
{
    struct table_properties *p = &w->properties;
    strata_rc rc = STRATA_OK;
    if (new_key && w->options.filter_bits != 0) {
        rc = buffer_append_u64(&w->hashes, hash);
    }
    if (rc == STRATA_OK && p->entries == 0) {
        rc = buffer_append(&w->lower, e->key, e->key_bytes);
    }
    if (rc == STRATA_OK && new_key) {
        w->last_key.bytes = shared; // what is shared is there already
        rc = buffer_append(&w->last_key, e->key + shared, e->key_bytes - shared);
    }
    if (rc == STRATA_OK && e->kind == KV_PUT_SEPARATED) {
        rc = value_list_note(&w->values, kv_value(e));
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    w->last_commit = e->commit;
    p->entries++;
    p->keys += new_key;
    p->deletes += e->kind == KV_DELETE;
    p->expiring += e->expiry != 0;
    p->raw_bytes += (uint64_t)e->key_bytes + e->value_bytes;
    p->end_greatest = e->end > p->end_greatest ? e->end : p->end_greatest;
    count_commits(p, e->commit, e->commit);
    return STRATA_OK;
}

static strata_rc add_entry(struct table_writer *w, const struct kv_entry *e, uint64_t hash)
{
    size_t shared = writer_shared(w, kv_key(e));
    bool new_key;
    strata_rc rc = writer_check(w, e, shared, &new_key);
    if (rc == STRATA_OK) {
        rc = writer_place(w, e, shared);
    }
    return rc == STRATA_OK ? writer_note(w, e, hash, shared, new_key) : rc;
}

strata_rc table_writer_add(struct table_writer *w, const struct kv_entry *e, uint64_t hash)
{
    if (w->rc == STRATA_OK) {
        w->rc = add_entry(w, e, hash);
    }
    return w->rc;
}

uint32_t table_writer_blocks(const struct table_writer *w)
{
    return w->index.count;
}

uint64_t table_writer_block_bytes(const struct table_writer *w)
{
    return w->gathered.bytes;
}

// ---- range deletes

static strata_rc add_fragment(struct table_writer *w, const struct range_fragment *f)
{
    if (w->options.history) {
        return fail(STRATA_INVALID, "%s: a history table holds no range deletes", w->name);
    }
    if (f->count == 0 || slice_compare(f->begin, f->end) >= 0 ||
        (w->properties.range_fragments != 0 &&
         slice_compare(f->begin, buffer_slice(&w->range_upper)) < 0)) {
        return fail(STRATA_INTERNAL, "%s: range fragment %llu is out of order", w->name,
                    (unsigned long long)w->properties.range_fragments);
    }
    strata_rc rc = STRATA_OK;
    if (w->properties.range_fragments == 0) {
        rc = buffer_append(&w->range_lower, f->begin.data, f->begin.bytes);
    }
    buffer_clear(&w->range_upper);
    if (rc == STRATA_OK) {
        rc = buffer_append(&w->range_upper, f->end.data, f->end.bytes);
    }
    if (rc == STRATA_OK) {
        rc = buffer_append_prefixed(&w->ranges, f->begin);
    }
    if (rc == STRATA_OK) {
        rc = buffer_append_prefixed(&w->ranges, f->end);
    }
    if (rc == STRATA_OK) {
        rc = buffer_append_varint(&w->ranges, f->count);
    }
    for (uint32_t i = 0; rc == STRATA_OK && i < f->count; i++) {
        ASSERT(i == 0 || f->commits[i] < f->commits[i - 1]);
        rc = buffer_append_varint(&w->ranges, f->commits[i]);
    }
    if (rc == STRATA_OK) {
        w->properties.range_fragments++;
        count_commits(&w->properties, f->commits[f->count - 1], f->commits[0]);
    }
    return rc;
}

strata_rc table_writer_add_range(struct table_writer *w, const struct range_fragment *f)
{
    if (w->rc == STRATA_OK) {
        w->rc = add_fragment(w, f);
    }
    return w->rc;
}

uint64_t table_writer_bytes(const struct table_writer *w)
{
    return writer_offset(w) + w->gathered.bytes;
}

uint64_t table_writer_entries(const struct table_writer *w)
{
    return w->properties.entries;
}

// ---- the end

static strata_rc write_index(struct table_writer *w, struct footer *f)
{
    if (w->index.count == 0) {
        return STRATA_OK;
    }
    strata_rc rc = writer_begin_image(w);
    if (rc == STRATA_OK) {
        rc = index_encode(&w->index, &w->image);
    }
    return rc == STRATA_OK ? writer_end_image(w, SECTION_INDEX, true, &f->index) : rc;
}

static strata_rc write_filter(struct table_writer *w, struct footer *f)
{
    uint64_t keys = w->hashes.bytes / sizeof(uint64_t);
    if (keys == 0) {
        return STRATA_OK;
    }
    size_t bytes = filter_payload_bytes(keys, w->options.filter_bits);
    strata_rc rc = writer_begin_image(w);
    if (rc == STRATA_OK) {
        rc = buffer_reserve(&w->image, bytes);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    uint8_t *payload = w->image.data + SECTION_HEADER_BYTES;
    memset(payload, 0, bytes);
    filter_build(payload, (const uint64_t *)(const void *)w->hashes.data, keys,
                 w->options.filter_bits);
    w->image.bytes += bytes;
    return writer_end_image(w, SECTION_FILTER, false, &f->filter);
}

static strata_rc write_ranges(struct table_writer *w, struct footer *f)
{
    if (w->properties.range_fragments == 0) {
        return STRATA_OK;
    }
    strata_rc rc = writer_begin_image(w);
    if (rc == STRATA_OK) {
        rc = buffer_append_varint(&w->image, w->properties.range_fragments);
    }
    if (rc == STRATA_OK) {
        rc = buffer_append(&w->image, w->ranges.data, w->ranges.bytes);
    }
    return rc == STRATA_OK ? writer_end_image(w, SECTION_RANGES, true, &f->ranges) : rc;
}

// The lists of ordinals, and the property that names them.
static strata_rc write_ordinals(struct table_writer *w, struct footer *f)
{
    struct value_list *l = &w->values;
    uint64_t before = 0;
    if (l->file_count == 0) {
        return STRATA_OK;
    }
    f->ordinals.offset = writer_offset(w);
    strata_rc rc = value_list_sort(l);
    if (rc == STRATA_OK) {
        rc = buffer_append_varint(&w->value_files, l->file_count);
    }
    for (uint32_t i = 0; rc == STRATA_OK && i < l->file_count; i++) {
        struct section_handle handle = {0};
        rc = writer_begin_image(w);
        if (rc == STRATA_OK) {
            rc = value_list_encode(l, i, &w->image);
        }
        if (rc == STRATA_OK) {
            rc = writer_end_image(w, SECTION_ORDINALS, false, &handle);
        }
        if (rc == STRATA_OK) {
            struct value_file_property v = {l->files[i].use, handle.bytes};
            rc = value_file_property_encode(&w->value_files, &v, before);
            before = v.use.file;
        }
        f->ordinals.bytes += handle.bytes;
    }
    w->properties.value_files = buffer_slice(&w->value_files);
    return rc;
}

// The bounds of everything in the file.
static strata_rc finish_bounds(struct table_writer *w)
{
    struct table_properties *p = &w->properties;
    if (p->entries != 0) {
        strata_rc rc = buffer_append_u8(&w->last_key, 0);
        if (rc != STRATA_OK) {
            return rc;
        }
        p->lower = buffer_slice(&w->lower);
        p->upper = buffer_slice(&w->last_key);
    }
    if (p->range_fragments != 0) {
        struct slice lower = buffer_slice(&w->range_lower);
        struct slice upper = buffer_slice(&w->range_upper);
        if (p->entries == 0 || slice_compare(lower, p->lower) < 0) {
            p->lower = lower;
        }
        if (p->entries == 0 || slice_compare(upper, p->upper) > 0) {
            p->upper = upper;
        }
    }
    return STRATA_OK;
}

static strata_rc write_end(struct table_writer *w)
{
    struct footer f = {0};
    strata_rc rc = writer_finish_block(w);
    if (rc == STRATA_OK) {
        rc = finish_bounds(w);
    }
    if (rc == STRATA_OK) {
        rc = write_index(w, &f);
    }
    if (rc == STRATA_OK) {
        rc = write_filter(w, &f);
    }
    if (rc == STRATA_OK) {
        rc = write_ranges(w, &f);
    }
    if (rc == STRATA_OK) {
        rc = write_ordinals(w, &f);
    }
    if (rc == STRATA_OK) {
        rc = writer_begin_image(w);
    }
    if (rc == STRATA_OK) {
        rc = properties_encode(&w->image, &w->properties);
    }
    if (rc == STRATA_OK) {
        rc = writer_end_image(w, SECTION_PROPERTIES, false, &f.properties);
    }
    if (rc == STRATA_OK) {
        uint8_t footer[FOOTER_BYTES];
        footer_encode(footer, &f, w->number, writer_offset(w));
        rc = writer_emit(w, footer, FOOTER_BYTES);
    }
    return rc == STRATA_OK ? writer_flush(w) : rc;
}

static strata_rc fill_meta(const struct table_writer *w, struct table_meta *meta_out)
{
    const struct table_properties *p = &w->properties;
    struct table_meta m = {
        .file = w->number,
        .bytes = w->written,
        .keyspace = p->keyspace,
        .history = p->history,
        .lower = p->lower,
        .upper = p->upper,
        .entries = p->entries,
        .deletes = p->deletes,
        .range_fragments = p->range_fragments,
        .commit_least = p->commit_least,
        .commit_greatest = p->commit_greatest,
        .end_greatest = p->end_greatest,
        .raw_bytes = p->raw_bytes,
        .expiring = p->expiring,
        .use_count = w->values.file_count,
    };
    m.uses = alloc_array(m.use_count, sizeof *m.uses);
    if (m.uses == NULL) {
        return alloc_failed("what a table refers to", m.use_count * sizeof *m.uses);
    }
    for (uint32_t i = 0; i < m.use_count; i++) {
        m.uses[i] = w->values.files[i].use;
        m.value_bytes += m.uses[i].bytes;
    }
    strata_rc rc = table_meta_copy(&m, meta_out);
    free(m.uses);
    return rc;
}

strata_rc table_writer_finish(struct table_writer *w, struct table_meta *meta_out)
{
    strata_rc rc = w->rc;
    if (rc == STRATA_OK && w->properties.entries == 0 && w->properties.range_fragments == 0) {
        rc = fail(STRATA_INVALID, "%s: a table must hold something", w->name);
    }
    if (rc == STRATA_OK) {
        rc = write_end(w);
    }
    if (rc == STRATA_OK && !MUTANT(37)) {
        rc = os_file_sync(w->file, false);
    }
    struct table_meta meta = {0};
    if (rc == STRATA_OK) {
        rc = fill_meta(w, &meta);
    }
    if (rc == STRATA_OK) {
        rc = os_file_close(w->file);
        w->file = NULL;
    }
    if (rc != STRATA_OK) {
        table_meta_release(&meta);
        table_writer_abandon(w);
        return rc;
    }
    *meta_out = meta;
    writer_free(w);
    return STRATA_OK;
}

void table_writer_abandon(struct table_writer *w)
{
    if (w == NULL) {
        return;
    }
    // The text of the error that led here is kept for whoever reads it.
    char text[512];
    memcpy(text, fail_text(), strnlen(fail_text(), sizeof text - 1) + 1);
    text[sizeof text - 1] = '\0';
    (void)os_file_close(w->file);
    (void)!os_dir_unlink(w->dir, w->name);
    fail_restore(text);
    writer_free(w);
}
