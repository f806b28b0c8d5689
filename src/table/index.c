// The payload of an index section:
//
//   version varint, 0 | blocks varint | prefix prefixed |
//   blocks * ( separator behind the prefix, prefixed |
//              UINT64_MAX - commit of the separator, varint |
//              bytes of the block's image varint | raw bytes varint | entries varint |
//              deletes varint | least commit varint | greatest - least commit varint )
//
// The images lie one behind the other from offset 0 of the file. "prefixed" is a varint length and
// that many bytes. The commit of a separator matters only when versions of one key (history) fill
// several blocks; it is UINT64_MAX, before all versions, otherwise.
#include "table/index.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/reader.h"

#define INDEX_VERSION 0
// What a block takes in a payload at least.
#define INDEX_BLOCK_BYTES_LEAST 8

// ---- writing

strata_rc index_add(struct index_builder *ib, struct slice separator, uint64_t separator_commit,
                    const struct index_block *block)
{
    ASSERT(block->count > 0 && block->deletes <= block->count);
    ASSERT(block->commit_least <= block->commit_greatest);
    if (ib->count == UINT32_MAX) {
        return fail(STRATA_TOO_LARGE, "a table has at most %u blocks", UINT32_MAX);
    }
    strata_rc rc = buffer_reserve(&ib->separators, 12 + separator.bytes);
    if (rc == STRATA_OK) {
        rc = buffer_reserve(&ib->blocks, sizeof *block);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    // Room was made: the appends cannot fail.
    (void)!buffer_append_u64(&ib->separators, separator_commit);
    (void)!buffer_append_u32(&ib->separators, (uint32_t)separator.bytes);
    (void)!buffer_append(&ib->separators, separator.data, separator.bytes);
    (void)!buffer_append(&ib->blocks, block, sizeof *block);
    ib->count++;
    return STRATA_OK;
}

static struct slice next_separator(struct reader *r, uint64_t *commit_out)
{
    *commit_out = reader_u64(r);
    uint32_t bytes = reader_u32(r);
    return reader_bytes(r, bytes);
}

strata_rc index_encode(const struct index_builder *ib, struct buffer *out)
{
    struct reader all = reader_of(buffer_slice(&ib->separators));
    struct slice prefix = slice_of(NULL, 0);
    uint64_t commit;
    for (uint32_t i = 0; i < ib->count; i++) {
        struct slice s = next_separator(&all, &commit);
        prefix = i == 0 ? s : slice_of(prefix.data, slice_shared(prefix, s));
    }
    strata_rc rc = buffer_reserve(out, 32 + prefix.bytes + ib->separators.bytes +
                                           (size_t)ib->count * (8 * VARINT_BYTES_MAX));
    if (rc != STRATA_OK) {
        return rc;
    }
    uint8_t *to = out->data + out->bytes;
    to = varint_encode(to, INDEX_VERSION);
    to = varint_encode(to, ib->count);
    to = varint_encode(to, prefix.bytes);
    if (prefix.data != NULL && prefix.bytes != 0) {
        memcpy(to, prefix.data, prefix.bytes);
        to += prefix.bytes;
    }
    all = reader_of(buffer_slice(&ib->separators));
    for (uint32_t i = 0; i < ib->count; i++) {
        struct slice s = next_separator(&all, &commit);
        size_t rest = s.bytes - prefix.bytes;
        to = varint_encode(to, rest);
        if (s.data != NULL && rest != 0) {
            memcpy(to, s.data + prefix.bytes, rest);
        }
        to = varint_encode(to + rest, UINT64_MAX - commit);
        struct index_block b;
        memcpy(&b, ib->blocks.data + (size_t)i * sizeof b, sizeof b);
        to = varint_encode(to, b.image_bytes);
        to = varint_encode(to, b.raw_bytes);
        to = varint_encode(to, b.count);
        to = varint_encode(to, b.deletes);
        to = varint_encode(to, b.commit_least);
        to = varint_encode(to, b.commit_greatest - b.commit_least);
    }
    ASSERT(!all.bad);
    out->bytes = (size_t)(to - out->data);
    return STRATA_OK;
}

void index_builder_release(struct index_builder *ib)
{
    buffer_release(&ib->separators);
    buffer_release(&ib->blocks);
    ib->count = 0;
}

// ---- decoding

struct index_head {
    uint64_t blocks;
    struct slice prefix;
};

static strata_rc decode_head(struct reader *r, struct index_head *h)
{
    uint64_t version = reader_varint(r);
    if (!r->bad && version != INDEX_VERSION) {
        return fail(STRATA_VERSION, "index: version %llu, this build reads %u",
                    (unsigned long long)version, INDEX_VERSION);
    }
    h->blocks = reader_varint(r);
    h->prefix = reader_prefixed(r);
    if (r->bad || h->blocks > reader_left(r) / INDEX_BLOCK_BYTES_LEAST || h->blocks > UINT32_MAX) {
        return fail(STRATA_CORRUPT, "index: bad head, %llu blocks", (unsigned long long)h->blocks);
    }
    return STRATA_OK;
}

static strata_rc decode_block(struct reader *r, struct slice *separator, uint64_t *commit,
                              struct index_block *b)
{
    *separator = reader_prefixed(r);
    *commit = UINT64_MAX - reader_varint(r);
    b->image_bytes = reader_varint(r);
    b->raw_bytes = reader_varint(r);
    uint64_t count = reader_varint(r);
    uint64_t deletes = reader_varint(r);
    b->commit_least = reader_varint(r);
    uint64_t span = reader_varint(r);
    b->commit_greatest = b->commit_least + span;
    b->count = (uint32_t)count;
    b->deletes = (uint32_t)deletes;
    if (r->bad || count == 0 || count > UINT32_MAX || deletes > count ||
        b->commit_greatest < span || b->image_bytes == 0) {
        return fail(STRATA_CORRUPT, "index: bad entry of a block");
    }
    return STRATA_OK;
}

// Fills the levels above the heads.
static void tree_build(struct index *ix, uint64_t *memory)
{
    uint32_t count = ix->count;
    uint64_t *level = memory;
    ix->tree.depth = 0;
    for (;;) {
        size_t padded = ((size_t)count + SEARCH_NODE - 1) / SEARCH_NODE * SEARCH_NODE;
        for (size_t i = count; i < padded; i++) {
            level[i] = UINT64_MAX;
        }
        ix->tree.levels[ix->tree.depth] = level;
        ix->tree.counts[ix->tree.depth] = count;
        ix->tree.depth++;
        if (count <= SEARCH_NODE) {
            return;
        }
        uint32_t above = (count + SEARCH_NODE - 1) / SEARCH_NODE;
        for (uint32_t i = 0; i < above; i++) {
            level[padded + i] = level[(size_t)i * SEARCH_NODE];
        }
        level += padded;
        count = above;
    }
}

static strata_rc index_allocate(struct index *ix, const struct index_head *h, size_t pool_bytes)
{
    size_t count = (size_t)h->blocks;
    // The levels above add a seventh, and each is padded to whole nodes.
    size_t head_count = count + count / 4 + 2 * SEARCH_NODE * SEARCH_LEVELS_MAX;
    ix->heads = alloc_aligned(64, head_count * sizeof *ix->heads);
    ix->offsets = alloc_array(count + 1, sizeof *ix->offsets);
    ix->ends = alloc_array(count, sizeof *ix->ends);
    ix->memory = alloc_array(h->prefix.bytes + pool_bytes, 1);
    ix->heap_bytes = head_count * 8 + (count + 1) * 8 + count * 4 + h->prefix.bytes + pool_bytes;
    if (ix->heads == NULL || ix->offsets == NULL || ix->ends == NULL || ix->memory == NULL) {
        return alloc_failed("the index of a table", ix->heap_bytes);
    }
    if (h->prefix.bytes != 0) {
        memcpy(ix->memory, h->prefix.data, h->prefix.bytes);
    }
    ix->prefix = ix->memory;
    ix->prefix_bytes = (uint32_t)h->prefix.bytes;
    ix->pool = ix->memory + h->prefix.bytes;
    return STRATA_OK;
}

// Bytes of all separators, and whether any has a commit.
static strata_rc index_measure(struct reader r, uint64_t blocks, size_t *pool_out,
                               bool *commits_out)
{
    *pool_out = 0;
    *commits_out = false;
    for (uint64_t i = 0; i < blocks; i++) {
        struct slice separator;
        uint64_t commit;
        struct index_block b;
        strata_rc rc = decode_block(&r, &separator, &commit, &b);
        if (rc != STRATA_OK) {
            return rc;
        }
        *pool_out += separator.bytes;
        *commits_out = *commits_out || commit != UINT64_MAX;
    }
    if (reader_left(&r) != 0 || *pool_out > UINT32_MAX) {
        return fail(STRATA_CORRUPT, "index: %zu bytes left over, %zu of separators",
                    reader_left(&r), *pool_out);
    }
    return STRATA_OK;
}

static strata_rc index_fill(struct index *ix, struct reader *r)
{
    uint8_t *pool = ix->memory + ix->prefix_bytes;
    uint64_t offset = 0;
    uint32_t end = 0;
    for (uint32_t i = 0; i < ix->count; i++) {
        struct slice separator;
        uint64_t commit;
        struct index_block b;
        strata_rc rc = decode_block(r, &separator, &commit, &b);
        if (rc != STRATA_OK) {
            return rc;
        }
        if (separator.bytes != 0) {
            memcpy(pool + end, separator.data, separator.bytes);
        }
        ix->heads[i] = slice_head(separator, 0);
        end += (uint32_t)separator.bytes;
        ix->ends[i] = end;
        ix->offsets[i] = offset;
        if (ix->commits != NULL) {
            ix->commits[i] = commit;
        }
        if (__builtin_add_overflow(offset, b.image_bytes, &offset) ||
            (i > 0 && ix->heads[i] < ix->heads[i - 1])) {
            return fail(STRATA_CORRUPT, "index: block %u is out of order", i);
        }
    }
    ix->offsets[ix->count] = offset;
    return STRATA_OK;
}

strata_rc index_open(struct index *ix, struct slice payload)
{
    *ix = (struct index){0};
    struct reader r = reader_of(payload);
    struct index_head h = {0};
    size_t pool_bytes = 0;
    bool commits = false;
    strata_rc rc = decode_head(&r, &h);
    if (rc == STRATA_OK) {
        rc = index_measure(r, h.blocks, &pool_bytes, &commits);
    }
    if (rc == STRATA_OK) {
        rc = index_allocate(ix, &h, pool_bytes);
    }
    if (rc == STRATA_OK && commits) {
        ix->commits = alloc_array((size_t)h.blocks, sizeof *ix->commits);
        ix->heap_bytes += (size_t)h.blocks * sizeof *ix->commits;
        rc = ix->commits == NULL ? alloc_failed("the index of a table", ix->heap_bytes) : STRATA_OK;
    }
    if (rc == STRATA_OK) {
        ix->count = (uint32_t)h.blocks;
        rc = index_fill(ix, &r);
    }
    if (rc != STRATA_OK) {
        index_release(ix);
        return rc;
    }
    tree_build(ix, ix->heads);
    return STRATA_OK;
}

void index_release(struct index *ix)
{
    free(ix->heads);
    free(ix->offsets);
    free(ix->ends);
    free(ix->commits);
    free(ix->memory);
    *ix = (struct index){0};
}

strata_rc index_visit(struct slice payload,
                      strata_rc (*visit)(void *ctx, uint32_t number, const struct index_block *b),
                      void *ctx)
{
    struct reader r = reader_of(payload);
    struct index_head h = {0};
    strata_rc rc = decode_head(&r, &h);
    for (uint32_t i = 0; rc == STRATA_OK && i < h.blocks; i++) {
        struct slice separator;
        uint64_t commit;
        struct index_block b;
        rc = decode_block(&r, &separator, &commit, &b);
        if (rc == STRATA_OK) {
            rc = visit(ctx, i, &b);
        }
    }
    return rc;
}

// ---- search

static struct slice separator_rest(const struct index *ix, uint32_t block)
{
    uint32_t begin = block == 0 ? 0 : ix->ends[block - 1];
    return slice_of(ix->pool + begin, ix->ends[block] - begin);
}

// As index_compare, for what is left of a key behind the shared prefix.
static int compare_rest(const struct index *ix, uint32_t block, struct slice rest, uint64_t at)
{
    int order = slice_compare(separator_rest(ix, block), rest);
    if (order != 0) {
        return order;
    }
    uint64_t commit = ix->commits == NULL ? UINT64_MAX : ix->commits[block];
    return commit > at ? -1 : commit < at;
}

int index_compare(const struct index *ix, uint32_t block, struct slice key, uint64_t at)
{
    ASSERT(block < ix->count);
    size_t shared = key.bytes < ix->prefix_bytes ? key.bytes : ix->prefix_bytes;
    int order = shared == 0 ? 0 : memcmp(ix->prefix, key.data, shared);
    if (order != 0) {
        return order;
    }
    if (key.bytes < ix->prefix_bytes) {
        return 1;
    }
    return compare_rest(ix, block, slice_of(key.data + shared, key.bytes - shared), at);
}

uint32_t index_find(const struct index *ix, struct slice key, uint64_t at)
{
    ASSERT(ix->count > 0);
    size_t shared = key.bytes < ix->prefix_bytes ? key.bytes : ix->prefix_bytes;
    int order = shared == 0 ? 0 : memcmp(ix->prefix, key.data, shared);
    if (order != 0 || key.bytes < ix->prefix_bytes) {
        return order < 0 ? ix->count - 1 : 0;
    }
    struct slice rest = slice_of(key.data + shared, key.bytes - shared);
    uint64_t x = slice_head(rest, 0);
    uint32_t high = search_now()->tree_find(&ix->tree, x);
    if (ix->heads[high] != x || compare_rest(ix, high, rest, at) <= 0) {
        return high;
    }
    // Equal heads, and this separator is behind the key: the last one that is not is before it.
    uint32_t low = 0;
    if (x != 0) {
        low = search_now()->tree_find(&ix->tree, x - 1);
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (compare_rest(ix, middle, rest, at) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? 0 : low - 1;
}
