// Writing a table: entries in order go in, blocks go out as they fill. In memory are one block, the
// index's entries, the filter's hashes (8 bytes a key) and the buffer of the file.
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
#include "base/compress.h"
#include "base/fail.h"
#include "base/hash.h"
#include "base/mutant.h"
#include "kv/file_name.h"
#include "table/block.h"
#include "table/filter.h"
#include "table/footer.h"
#include "table/index.h"
#include "table/table.h"

#define OUT_BYTES ((size_t)512 << 10)
// Raw bytes a block may gather, for keys that share long prefixes.
#define GATHER_BYTES_LEAST ((size_t)256 << 10)
#define PASS_WINDOW 64u   // entries of a block of another table that are looked at together
#define ENTRY_OVERHEAD 10 // head, offset, commit, and a share of the block's head

struct table_writer {
    struct os_dir *dir;
    struct os_file *file;
    uint64_t number;
    struct table_options options;
    char *keyspace_name;
    char name[FILE_NAME_BYTES];
    strata_rc rc; // the first error

    struct compressor *compressor;
    struct buffer image;  // a section being made
    struct buffer packed; // the same, compressed
    struct buffer keys;   // of a block of another table
    struct buffer out;    // for the file
    uint64_t written;     // bytes of the file before `out`

    // The block that is being gathered.
    struct kv_entry *entries;
    uint32_t count, capacity;
    struct buffer gathered; // their bytes; its capacity does not change
    size_t prefix_bytes;    // shared by all
    uint64_t key_bytes, value_bytes;
    struct buffer separator;
    uint64_t separator_commit;

    struct buffer last_key;
    uint64_t last_commit;
    struct index_builder index;
    struct buffer hashes;
    struct buffer ranges; // the payload behind the count
    struct buffer range_lower, range_upper;
    struct buffer lower;
    struct table_properties properties;
};

static void writer_free(struct table_writer *w)
{
    compressor_free(w->compressor);
    index_builder_release(&w->index);
    struct buffer *const buffers[] = {&w->image,     &w->packed,      &w->out,         &w->gathered,
                                      &w->separator, &w->last_key,    &w->hashes,      &w->ranges,
                                      &w->lower,     &w->range_lower, &w->range_upper, &w->keys};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        buffer_release(buffers[i]);
    }
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
    strata_rc rc = buffer_reserve(&w->out, OUT_BYTES);
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

// ---- the file

static uint64_t writer_offset(const struct table_writer *w)
{
    return w->written + w->out.bytes;
}

static strata_rc writer_flush(struct table_writer *w)
{
    strata_rc rc = os_file_write(w->file, w->written, w->out.data, w->out.bytes);
    if (rc == STRATA_OK) {
        w->written += w->out.bytes;
        buffer_clear(&w->out);
    }
    return rc;
}

static strata_rc writer_emit(struct table_writer *w, const uint8_t *bytes, size_t count)
{
    strata_rc rc = STRATA_OK;
    if (w->out.bytes + count > OUT_BYTES) {
        rc = writer_flush(w);
    }
    if (rc == STRATA_OK && count > OUT_BYTES) {
        rc = os_file_write(w->file, w->written, bytes, count);
        w->written += rc == STRATA_OK ? count : 0;
        return rc;
    }
    return rc == STRATA_OK ? buffer_append(&w->out, bytes, count) : rc;
}

// Makes room for a header; the payload is appended behind it.
static strata_rc image_begin(struct table_writer *w)
{
    buffer_clear(&w->image);
    strata_rc rc = buffer_reserve(&w->image, SECTION_HEADER_BYTES);
    if (rc == STRATA_OK) {
        w->image.bytes = SECTION_HEADER_BYTES;
    }
    return rc;
}

// Writes the image whose payload is complete.
static strata_rc image_end(struct table_writer *w, enum section_kind kind, bool pack,
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

static void count_in_block(struct index_block *b, const struct kv_entry *e)
{
    b->count++;
    b->deletes += e->kind == KV_DELETE;
    b->commit_least = e->commit < b->commit_least ? e->commit : b->commit_least;
    b->commit_greatest = e->commit > b->commit_greatest ? e->commit : b->commit_greatest;
}

// The block's image is in the file: its index entry, and no more memory than is needed.
static strata_rc end_block(struct table_writer *w, struct index_block *b,
                           const struct section_handle *handle)
{
    b->image_bytes = handle->bytes;
    if (w->image.capacity + w->packed.capacity > 4 * OUT_BYTES) { // a large value went through
        buffer_release(&w->image);
        buffer_release(&w->packed);
    }
    return index_add(&w->index, buffer_slice(&w->separator), w->separator_commit, b);
}

static strata_rc write_block(struct table_writer *w, const struct kv_entry *entries, uint32_t count)
{
    struct index_block b = {.commit_least = UINT64_MAX};
    for (uint32_t i = 0; i < count; i++) {
        count_in_block(&b, entries + i);
    }
    strata_rc rc = image_begin(w);
    if (rc == STRATA_OK) {
        rc = block_encode(&w->image, entries, count, w->options.history);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    b.raw_bytes = w->image.bytes - SECTION_HEADER_BYTES;
    struct section_handle handle;
    rc = image_end(w, SECTION_BLOCK, true, &handle);
    return rc == STRATA_OK ? end_block(w, &b, &handle) : rc;
}

static strata_rc finish_block(struct table_writer *w)
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

// The shortest separator between the last entry and this one, which begins a block.
static strata_rc begin_block(struct table_writer *w, const struct kv_entry *e, size_t shared)
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

static strata_rc place_entry(struct table_writer *w, const struct kv_entry *e, size_t shared)
{
    strata_rc rc = STRATA_OK;
    bool alone = (uint64_t)e->key_bytes + e->value_bytes >= w->options.block_bytes;
    if (w->count != 0 && (alone || block_is_full(w, e, shared))) {
        rc = finish_block(w);
    }
    if (rc == STRATA_OK && w->count == 0) {
        rc = begin_block(w, e, shared);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    return alone ? write_block(w, e, 1) : gather(w, e, shared);
}

// Invariant 1. *new_key_out: the key is not the last one.
static strata_rc check_order(const struct table_writer *w, const struct kv_entry *e, size_t shared,
                             bool *new_key_out)
{
    bool bad = e->key_bytes == 0 || e->key_bytes > KV_KEY_BYTES_MAX ||
               (w->options.history && e->end < e->commit);
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

// Notes an entry that has its place in a block: what filter, bounds and properties need of it.
static strata_rc note_entry(struct table_writer *w, const struct kv_entry *e, uint64_t hash,
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
    if (rc != STRATA_OK) {
        return rc;
    }
    w->last_commit = e->commit;
    p->entries++;
    p->keys += new_key;
    p->deletes += e->kind == KV_DELETE;
    p->raw_bytes += (uint64_t)e->key_bytes + e->value_bytes;
    p->end_greatest = e->end > p->end_greatest ? e->end : p->end_greatest;
    count_commits(p, e->commit, e->commit);
    return STRATA_OK;
}

static strata_rc add_entry(struct table_writer *w, const struct kv_entry *e, uint64_t hash)
{
    size_t shared = keys_shared(buffer_slice(&w->last_key), kv_key(e));
    bool new_key;
    strata_rc rc = check_order(w, e, shared, &new_key);
    if (rc == STRATA_OK) {
        rc = place_entry(w, e, shared);
    }
    return rc == STRATA_OK ? note_entry(w, e, hash, shared, new_key) : rc;
}

strata_rc table_writer_add(struct table_writer *w, const struct kv_entry *e, uint64_t hash)
{
    if (w->rc == STRATA_OK) {
        w->rc = add_entry(w, e, hash);
    }
    return w->rc;
}

// ---- blocks of other tables

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
            size_t shared = keys_shared(buffer_slice(&w->last_key), kv_key(e));
            bool new_key;
            rc = check_order(w, e, shared, &new_key);
            if (rc == STRATA_OK && at + i == 0) {
                rc = begin_block(w, e, shared);
            }
            if (rc == STRATA_OK) {
                uint64_t hash = w->options.filter_bits != 0 ? hash_key(kv_key(e)) : 0;
                rc = note_entry(w, e, hash, shared, new_key);
            }
            if (rc != STRATA_OK) {
                return rc;
            }
            count_in_block(counts, e);
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
    strata_rc rc = image_begin(w);
    if (!keeps_method(w, header.method)) {
        if (rc == STRATA_OK) {
            rc = buffer_append(&w->image, b->decoded + SECTION_HEADER_BYTES,
                               (size_t)b->decoded_bytes - SECTION_HEADER_BYTES);
        }
        return rc == STRATA_OK ? image_end(w, SECTION_BLOCK, true, handle_out) : rc;
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
    strata_rc rc = finish_block(w);
    if (rc == STRATA_OK) {
        rc = pass_image(w, b, &handle);
    }
    if (rc == STRATA_OK) {
        rc = note_block(w, &view, &counts);
    }
    return rc == STRATA_OK ? end_block(w, &counts, &handle) : rc;
}

strata_rc table_writer_add_block(struct table_writer *w, const struct table_raw_block *b)
{
    ASSERT(b->decoded_bytes > BLOCK_HEADS_AT);
    if (w->rc == STRATA_OK) {
        w->rc = add_block(w, b);
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
    strata_rc rc = image_begin(w);
    if (rc == STRATA_OK) {
        rc = index_encode(&w->index, &w->image);
    }
    return rc == STRATA_OK ? image_end(w, SECTION_INDEX, true, &f->index) : rc;
}

static strata_rc write_filter(struct table_writer *w, struct footer *f)
{
    uint64_t keys = w->hashes.bytes / sizeof(uint64_t);
    if (keys == 0) {
        return STRATA_OK;
    }
    size_t bytes = filter_payload_bytes(keys, w->options.filter_bits);
    strata_rc rc = image_begin(w);
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
    return image_end(w, SECTION_FILTER, false, &f->filter);
}

static strata_rc write_ranges(struct table_writer *w, struct footer *f)
{
    if (w->properties.range_fragments == 0) {
        return STRATA_OK;
    }
    strata_rc rc = image_begin(w);
    if (rc == STRATA_OK) {
        rc = buffer_append_varint(&w->image, w->properties.range_fragments);
    }
    if (rc == STRATA_OK) {
        rc = buffer_append(&w->image, w->ranges.data, w->ranges.bytes);
    }
    return rc == STRATA_OK ? image_end(w, SECTION_RANGES, true, &f->ranges) : rc;
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
    strata_rc rc = finish_block(w);
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
        rc = image_begin(w);
    }
    if (rc == STRATA_OK) {
        rc = properties_encode(&w->image, &w->properties);
    }
    if (rc == STRATA_OK) {
        rc = image_end(w, SECTION_PROPERTIES, false, &f.properties);
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
    };
    return table_meta_copy(&m, meta_out);
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
