// The index of a table: which block a key is in. One separator stands between neighbouring blocks:
// the shortest (key, commit) behind the last entry of one and not behind the first of the next, in
// the order of the table (key ascending, commit descending). The layout is at the head of index.c.
//
// Searched by the 8 bytes behind the prefix that all separators share, in a static wide tree
// (table/search.h); full separators are looked at for equal heads only.
//
// Thread rule: immutable once opened; any number of readers.
#ifndef TABLE_INDEX_H
#define TABLE_INDEX_H

#include "base/buffer.h"
#include "strata.h"
#include "table/search.h"

// What the index keeps of a block.
struct index_block {
    uint64_t image_bytes; // in the file, with the section header
    uint64_t raw_bytes;   // of the payload
    uint32_t count, deletes;
    uint64_t commit_least, commit_greatest;
};

// ---- writing

struct index_builder {
    struct buffer separators; // commit u64 | key bytes u32 | key, one for each block
    struct buffer blocks;
    uint32_t count;
};

// Appends a block. `separator` and `separator_commit` are its lower end.
strata_rc index_add(struct index_builder *ib, struct slice separator, uint64_t separator_commit,
                    const struct index_block *block) STRATA_MUST_CHECK;
// Appends the payload of the section to `out`.
strata_rc index_encode(const struct index_builder *ib, struct buffer *out) STRATA_MUST_CHECK;
void index_builder_release(struct index_builder *ib);

// ---- reading

struct index {
    struct search_tree tree;
    uint32_t count; // blocks
    uint32_t prefix_bytes;
    const uint8_t *prefix;
    uint64_t *offsets;   // count + 1: of the blocks' images, and their end
    uint32_t *ends;      // count: where a separator ends in `pool`
    const uint8_t *pool; // separators behind the prefix
    uint64_t *commits;   // of the separators; NULL: all are UINT64_MAX
    uint64_t *heads;     // the tree's memory
    uint8_t *memory;     // prefix and pool
    size_t heap_bytes;
};

// Decodes a payload; nothing of it is kept. STRATA_CORRUPT, STRATA_VERSION.
strata_rc index_open(struct index *ix, struct slice payload) STRATA_MUST_CHECK;
void index_release(struct index *ix);

// The block in which (key, at), or the first entry behind it, is; that entry may also be the first
// of the next block. `count` must not be 0.
uint32_t index_find(const struct index *ix, struct slice key, uint64_t at);

// The order of the separator of `block` to (key, at).
int index_compare(const struct index *ix, uint32_t block, struct slice key, uint64_t at);

// Calls visit for each block of a payload that index_open accepts; for verification.
strata_rc index_visit(struct slice payload,
                      strata_rc (*visit)(void *ctx, uint32_t number, const struct index_block *b),
                      void *ctx) STRATA_MUST_CHECK;

#endif
