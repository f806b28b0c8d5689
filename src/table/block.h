// One block of a table: entries in the order (key ascending, commit descending), any of them
// reached in constant time. The layout is at the head of block.c.
//
// The functions here but block_check trust what they read: a block is checked once, when it is
// loaded. They read up to 64 bytes behind the block's end (CACHE_PADDING).
//
// Thread rule: a block is immutable; any number of readers.
#ifndef TABLE_BLOCK_H
#define TABLE_BLOCK_H

#include "base/buffer.h"
#include "base/endian.h"
#include "kv/entry.h"
#include "table/section.h"

#define BLOCK_HEAD_BYTES 32
#define BLOCK_HEADS_AT (SECTION_HEADER_BYTES + BLOCK_HEAD_BYTES)

enum block_flags {
    BLOCK_HISTORY = 1,    // rows have ends
    BLOCK_EXPIRY = 2,     // rows have an expiry
    BLOCK_KINDS = 4,      // rows have a kind; else all are KV_PUT
    BLOCK_MIXED_KEYS = 8, // rows have a key length; else all keys have the same
    BLOCK_WIDE = 16,      // offsets have 4 bytes; else 2
    BLOCK_UNIFORM = 32,   // rows all have the same length; there are no offsets
    BLOCK_PUTS = 64,      // rows have a kind, and all are puts, separated or not
    BLOCK_FLAGS = 127,
};

// A decoded image, taken apart.
struct block {
    const uint32_t *heads;
    const uint8_t *offsets;
    const uint8_t *prefix;
    const uint8_t *rows;
    const uint8_t *end;
    uint64_t commit_base;
    uint64_t commit_mask;
    uint64_t end_mask;
    uint32_t count;
    uint32_t row_bytes; // when uniform
    uint32_t prefix_bytes;
    uint32_t rest_bytes; // key bytes behind the prefix, when all are alike
    uint8_t flags;
    uint8_t commit_bytes;
    uint8_t end_bytes;
};

static inline uint64_t block_width_mask(unsigned bytes)
{
    return bytes >= 8 ? UINT64_MAX : (UINT64_C(1) << (8 * bytes)) - 1;
}

// Takes a checked decoded image of `bytes` bytes apart.
static inline void block_view(struct block *b, const uint8_t *image, uint64_t bytes)
{
    const uint8_t *p = image + SECTION_HEADER_BYTES;
    b->count = load_u32(p);
    b->rows = p + load_u32(p + 4);
    b->commit_base = load_u64(p + 8);
    b->prefix_bytes = load_u16(p + 16);
    b->rest_bytes = load_u16(p + 18);
    b->flags = p[21];
    b->commit_bytes = p[22];
    b->end_bytes = p[23];
    b->row_bytes = load_u32(p + 24);
    b->heads = (const uint32_t *)(const void *)(image + BLOCK_HEADS_AT);
    b->offsets = (const uint8_t *)(b->heads + b->count);
    b->prefix = b->rows - b->prefix_bytes;
    b->end = image + bytes;
    b->commit_mask = block_width_mask(b->commit_bytes);
    b->end_mask = block_width_mask(b->end_bytes);
}

// Is the payload of this decoded image well-formed? STRATA_CORRUPT, STRATA_VERSION. Order is not
// looked at.
strata_rc block_check(const uint8_t *image, uint64_t bytes) STRATA_MUST_CHECK;

// Appends the payload of a block: at least one entry, in order.
strata_rc block_encode(struct buffer *out, const struct kv_entry *entries, uint32_t count,
                       bool history) STRATA_MUST_CHECK;

// The position of the first entry with (key, commit) at or behind (key, at) in the block's order:
// key greater, or the same key with commit <= at. `count` when there is none.
uint32_t block_seek(const struct block *b, struct slice key, uint64_t at);
// The same; *same_out says whether that entry has this key.
uint32_t block_find(const struct block *b, struct slice key, uint64_t at, bool *same_out);
// Everything of an entry but its key and head.
void block_entry(const struct block *b, uint32_t pos, struct kv_entry *e);
uint32_t block_key_bytes(const struct block *b, uint32_t pos);
// Writes the key, block_key_bytes bytes; up to 31 bytes more are overwritten.
void block_key(const struct block *b, uint32_t pos, uint8_t *to);

// Room for the keys of `count` entries from `from` on, with what is overwritten behind them.
size_t block_window_bytes(const struct block *b, uint32_t from, uint32_t count);
// Decodes the entries [from, from + count) into entries[], the last one first when `backward`. Keys
// are written to `keys`; values point into the block.
void block_window(const struct block *b, uint32_t from, uint32_t count, bool backward,
                  size_t head_skip, struct kv_entry *entries, uint8_t *keys);

#endif
