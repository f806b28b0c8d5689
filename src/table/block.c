// The layout of a block's payload (behind the section header):
//
//    0  u32  count, at least 1
//    4  u32  where the rows begin, from the payload's first byte
//    8  u64  commit base
//   16  u16  bytes of the prefix that all keys share
//   18  u16  bytes of a key behind the prefix, when all keys are alike long; else 0
//   20  u8   version, 0
//   21  u8   flags (enum block_flags)
//   22  u8   width of a row's commit, 0 to 8
//   23  u8   width of a row's end, 0 to 8; 0 in live tables
//   24  u32  bytes of a row, when all are alike (BLOCK_UNIFORM); else 0
//   28  u32  0
//   32  u32  heads[count]: the 4 bytes of the key behind the prefix as a big-endian number, short
//            keys padded with zeros, stored little-endian
//       u16 or u32  offsets[count] of the rows from the first one; none when uniform
//       the prefix
//       the rows, without gaps, up to the end of the payload
//   row := commit - base   (its width)
//        | end - commit    (its width; history only)
//        | expiry u64      (BLOCK_EXPIRY)
//        | kind u8         (BLOCK_KINDS)
//        | bytes of the key behind the prefix u16   (BLOCK_MIXED_KEYS)
//        | the key behind prefix and head
//        | the value, up to the end of the row
//
// A lookup compares the prefix, counts the heads below the key's with vectors, and looks at one
// row; only keys with equal heads cost more. Widths, flags and prefix are the block's, so that a
// row is taken apart without decoding lengths.
#include "table/block.h"

#include "base/assert.h"
#include "base/fail.h"
#include "table/search.h"

#define BLOCK_VERSION 0
#define KEY_HEAD_BYTES 4

static inline uint32_t head32(struct slice key, size_t skip)
{
    return (uint32_t)(slice_head(key, skip) >> 32);
}

static inline size_t fixed_bytes(const struct block *b)
{
    return (size_t)b->commit_bytes + b->end_bytes + ((b->flags & BLOCK_EXPIRY) != 0 ? 8 : 0) +
           ((b->flags & BLOCK_KINDS) != 0 ? 1 : 0) + ((b->flags & BLOCK_MIXED_KEYS) != 0 ? 2 : 0);
}

static inline const uint8_t *row_at(const struct block *b, uint32_t pos)
{
    if ((b->flags & BLOCK_UNIFORM) != 0) {
        return b->rows + (size_t)pos * b->row_bytes;
    }
    if ((b->flags & BLOCK_WIDE) != 0) {
        return b->rows + load_u32(b->offsets + (size_t)pos * 4);
    }
    return b->rows + load_u16(b->offsets + (size_t)pos * 2);
}

static inline const uint8_t *row_end(const struct block *b, uint32_t pos)
{
    return pos + 1 < b->count ? row_at(b, pos + 1) : b->end;
}

static inline uint64_t row_commit(const struct block *b, const uint8_t *row)
{
    return b->commit_base + (load_u64(row) & b->commit_mask);
}

// Bytes of the row's key behind the prefix.
static inline uint32_t row_rest(const struct block *b, const uint8_t *row, size_t fixed)
{
    return (b->flags & BLOCK_MIXED_KEYS) != 0 ? load_u16(row + fixed - 2) : b->rest_bytes;
}

static inline uint32_t tail_of(uint32_t rest)
{
    return rest > KEY_HEAD_BYTES ? rest - KEY_HEAD_BYTES : 0;
}

// ---- search

// Order of the row's key to a key that has the block's prefix and the row's head.
static int row_compare(const struct block *b, const uint8_t *row, struct slice key)
{
    size_t fixed = fixed_bytes(b);
    uint32_t rest = row_rest(b, row, fixed);
    uint32_t key_rest = (uint32_t)key.bytes - b->prefix_bytes;
    uint32_t tail = tail_of(rest);
    uint32_t key_tail = tail_of(key_rest);
    uint32_t shared = tail < key_tail ? tail : key_tail;
    int order =
        shared == 0 ? 0 : memcmp(row + fixed, key.data + b->prefix_bytes + KEY_HEAD_BYTES, shared);
    if (order != 0) {
        return order;
    }
    // Equal up to padding zeros, or one is a prefix of the other: the shorter is first.
    return rest < key_rest ? -1 : rest > key_rest;
}

// Does the row stand before (key, at)? *same_out: it does not, and has the key.
static bool row_before(const struct block *b, uint32_t pos, struct slice key, uint64_t at,
                       bool *same_out)
{
    const uint8_t *row = row_at(b, pos);
    int order = row_compare(b, row, key);
    bool before = order < 0 || (order == 0 && row_commit(b, row) > at);
    *same_out = order == 0 && !before;
    return before;
}

uint32_t block_seek(const struct block *b, struct slice key, uint64_t at)
{
    bool same;
    return block_find(b, key, at, &same);
}

uint32_t block_find(const struct block *b, struct slice key, uint64_t at, bool *same_out)
{
    *same_out = false;
    size_t shared = key.bytes < b->prefix_bytes ? key.bytes : b->prefix_bytes;
    int order = shared == 0 ? 0 : memcmp(b->prefix, key.data, shared);
    if (order != 0 || key.bytes < b->prefix_bytes) {
        return order < 0 ? b->count : 0;
    }
    uint32_t x = head32(key, b->prefix_bytes);
    const struct search_paths *paths = search_now();
    uint32_t low = paths->count_below(b->heads, b->count, x);
    if (low == b->count || b->heads[low] != x || !row_before(b, low, key, at, same_out)) {
        return low;
    }
    // Equal heads: the answer lies in (low, high].
    uint32_t high = x == UINT32_MAX ? b->count : paths->count_below(b->heads, b->count, x + 1);
    low++;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        bool same;
        if (row_before(b, middle, key, at, &same)) {
            low = middle + 1;
        } else {
            high = middle;
            *same_out = same; // of the entry at `high`, where the search ends
        }
    }
    return low;
}

// ---- decoding

// Fills all of the entry but key and head; returns the row's key behind the head.
static inline const uint8_t *row_decode(const struct block *b, uint32_t pos, struct kv_entry *e)
{
    const uint8_t *at = row_at(b, pos);
    const uint8_t *end = row_end(b, pos);
    e->commit = row_commit(b, at);
    at += b->commit_bytes;
    e->end = 0;
    if ((b->flags & BLOCK_HISTORY) != 0) {
        e->end = e->commit + (load_u64(at) & b->end_mask);
        at += b->end_bytes;
    }
    e->expiry = 0;
    if ((b->flags & BLOCK_EXPIRY) != 0) {
        e->expiry = load_u64(at);
        at += 8;
    }
    e->kind = KV_PUT;
    if ((b->flags & BLOCK_KINDS) != 0) {
        e->kind = *at++;
    }
    uint32_t rest = b->rest_bytes;
    if ((b->flags & BLOCK_MIXED_KEYS) != 0) {
        rest = load_u16(at);
        at += 2;
    }
    e->key_bytes = b->prefix_bytes + rest;
    const uint8_t *tail = at;
    at += tail_of(rest);
    e->value = at;
    e->value_bytes = (uint32_t)(end - at);
    return tail;
}

void block_entry(const struct block *b, uint32_t pos, struct kv_entry *e)
{
    ASSERT(pos < b->count);
    (void)row_decode(b, pos, e);
}

uint32_t block_key_bytes(const struct block *b, uint32_t pos)
{
    ASSERT(pos < b->count);
    return b->prefix_bytes + row_rest(b, row_at(b, pos), fixed_bytes(b));
}

// Copies `bytes` bytes, or up to 31 more: both sides have room for that.
static inline void copy_over(uint8_t *to, const uint8_t *from, size_t bytes)
{
    if (bytes <= 16) {
        memcpy(to, from, 16);
    } else if (bytes <= 32) {
        memcpy(to, from, 32);
    } else {
        memcpy(to, from, bytes);
    }
}

// Writes the key of the entry at `pos`, whose tail is at `tail`.
static inline void key_build(const struct block *b, uint32_t pos, const uint8_t *tail,
                             uint32_t key_bytes, uint8_t *to)
{
    copy_over(to, b->prefix, b->prefix_bytes);
    to += b->prefix_bytes;
    store_u32(to, __builtin_bswap32(b->heads[pos]));
    uint32_t rest = key_bytes - b->prefix_bytes;
    if (rest > KEY_HEAD_BYTES) {
        copy_over(to + KEY_HEAD_BYTES, tail, rest - KEY_HEAD_BYTES);
    }
}

void block_key(const struct block *b, uint32_t pos, uint8_t *to)
{
    ASSERT(pos < b->count);
    struct kv_entry e;
    const uint8_t *tail = row_decode(b, pos, &e);
    key_build(b, pos, tail, e.key_bytes, to);
}

// ---- windows

#define WINDOW_SLACK 64 // what key_build may write behind the last key

size_t block_window_bytes(const struct block *b, uint32_t from, uint32_t count)
{
    ASSERT(from + count <= b->count);
    if ((b->flags & BLOCK_MIXED_KEYS) == 0) {
        return (size_t)count * (b->prefix_bytes + b->rest_bytes) + WINDOW_SLACK;
    }
    size_t bytes = WINDOW_SLACK;
    size_t fixed = fixed_bytes(b);
    for (uint32_t i = from; i < from + count; i++) {
        bytes += b->prefix_bytes + row_rest(b, row_at(b, i), fixed);
    }
    return bytes;
}

// The common case, all puts of keys of one length without expiry or ends: nothing to branch on.
static void window_plain(const struct block *b, uint32_t pos, uint32_t count, bool backward,
                         struct kv_entry *entries, uint8_t *keys)
{
    const uint32_t key_bytes = b->prefix_bytes + b->rest_bytes;
    const uint32_t tail = tail_of(b->rest_bytes);
    const bool uniform = (b->flags & BLOCK_UNIFORM) != 0;
    for (uint32_t i = 0; i < count; i++) {
        struct kv_entry *e = entries + i;
        const uint8_t *row = uniform ? b->rows + (size_t)pos * b->row_bytes : row_at(b, pos);
        const uint8_t *end = uniform ? row + b->row_bytes : row_end(b, pos);
        const uint8_t *at = row + b->commit_bytes;
        key_build(b, pos, at, key_bytes, keys);
        e->key = keys;
        e->value = at + tail;
        e->key_bytes = key_bytes;
        e->value_bytes = (uint32_t)(end - e->value);
        e->commit = row_commit(b, row);
        e->end = 0;
        e->expiry = 0;
        e->kind = KV_PUT;
        keys += key_bytes;
        pos = backward ? pos - 1 : pos + 1;
    }
}

// NOLINTNEXTLINE(readability-function-size): called once a window; all in registers
void block_window(const struct block *b, uint32_t from, uint32_t count, bool backward,
                  size_t head_skip, struct kv_entry *entries, uint8_t *keys)
{
    ASSERT(count > 0 && from + count <= b->count);
    uint32_t pos = backward ? from + count - 1 : from;
    if ((b->flags & (BLOCK_HISTORY | BLOCK_EXPIRY | BLOCK_KINDS | BLOCK_MIXED_KEYS)) == 0) {
        window_plain(b, pos, count, backward, entries, keys);
    } else {
        for (uint32_t i = 0; i < count; i++) {
            struct kv_entry *e = entries + i;
            const uint8_t *tail = row_decode(b, pos, e);
            key_build(b, pos, tail, e->key_bytes, keys);
            e->key = keys;
            keys += e->key_bytes;
            pos = backward ? pos - 1 : pos + 1;
        }
    }
    // In a loop of its own: loads right behind the narrower stores of key_build would stall.
    for (uint32_t i = 0; i < count; i++) {
        entries[i].head = slice_head(kv_key(entries + i), head_skip);
    }
}

// ---- checking

static strata_rc block_bad(const char *what, uint64_t found, uint64_t limit)
{
    return fail(STRATA_CORRUPT, "block: %s is %llu, expected at most %llu", what,
                (unsigned long long)found, (unsigned long long)limit);
}

static strata_rc check_kind(const struct block *b, const struct kv_entry *e)
{
    bool put = e->kind == KV_PUT || e->kind == KV_PUT_SEPARATED;
    if (!put && e->kind != KV_DELETE && e->kind != KV_FLOOR) {
        return fail(STRATA_VERSION, "block: kind %u is not known", e->kind);
    }
    if (!put && (b->flags & BLOCK_PUTS) != 0) {
        return fail(STRATA_CORRUPT, "block: kind %u in a block of puts", e->kind);
    }
    if (e->kind == KV_FLOOR && ((b->flags & BLOCK_HISTORY) == 0 || e->value_bytes != 0)) {
        return fail(STRATA_CORRUPT, "block: a floor in a live table, or with a value");
    }
    return STRATA_OK;
}

static strata_rc check_row(const struct block *b, uint32_t pos, const uint8_t *row,
                           const uint8_t *end)
{
    size_t fixed = fixed_bytes(b);
    size_t bytes = (size_t)(end - row);
    if (bytes < fixed) {
        return block_bad("fixed part of a row", fixed, bytes);
    }
    uint32_t rest = row_rest(b, row, fixed);
    uint32_t key_bytes = b->prefix_bytes + rest;
    if (key_bytes == 0 || key_bytes > KV_KEY_BYTES_MAX) {
        return block_bad("key size", key_bytes, KV_KEY_BYTES_MAX);
    }
    if (bytes - fixed < tail_of(rest)) {
        return block_bad("key in a row", tail_of(rest), bytes - fixed);
    }
    if (bytes - fixed - tail_of(rest) > KV_VALUE_BYTES_MAX) {
        return block_bad("value size", bytes - fixed - tail_of(rest), KV_VALUE_BYTES_MAX);
    }
    if (rest < KEY_HEAD_BYTES && b->heads[pos] << (8 * rest) != 0) {
        return block_bad("padding of a head", b->heads[pos], 0);
    }
    if ((b->flags & BLOCK_KINDS) != 0) {
        struct kv_entry e;
        (void)row_decode(b, pos, &e);
        return check_kind(b, &e);
    }
    return STRATA_OK;
}

static strata_rc check_rows(const struct block *b)
{
    size_t bytes = (size_t)(b->end - b->rows);
    if ((b->flags & BLOCK_UNIFORM) != 0) {
        if (b->row_bytes == 0 || bytes / b->row_bytes != b->count || bytes % b->row_bytes != 0) {
            return block_bad("rows", (uint64_t)b->row_bytes * b->count, bytes);
        }
    } else if (b->row_bytes != 0 || row_at(b, 0) != b->rows) {
        return block_bad("first row", (uint64_t)(row_at(b, 0) - b->rows), 0);
    }
    const uint8_t *row = b->rows;
    for (uint32_t i = 0; i < b->count; i++) {
        const uint8_t *end = row_end(b, i);
        if (end < row || end > b->end) {
            return block_bad("offset of a row", (uint64_t)(end - b->rows), bytes);
        }
        strata_rc rc = check_row(b, i, row, end);
        if (rc != STRATA_OK) {
            return rc;
        }
        row = end;
    }
    return STRATA_OK;
}

strata_rc block_check(const uint8_t *image, uint64_t bytes)
{
    if (bytes < BLOCK_HEADS_AT) {
        return block_bad("head", BLOCK_HEADS_AT, bytes);
    }
    const uint8_t *p = image + SECTION_HEADER_BYTES;
    uint64_t payload = bytes - SECTION_HEADER_BYTES;
    if (p[20] != BLOCK_VERSION || (p[21] & ~BLOCK_FLAGS) != 0) {
        return fail(STRATA_VERSION, "block: version %u, flags 0x%x; this build reads version %u",
                    p[20], p[21], BLOCK_VERSION);
    }
    uint64_t count = load_u32(p);
    unsigned flags = p[21];
    uint64_t offset_bytes = (flags & BLOCK_UNIFORM) != 0 ? 0 : (flags & BLOCK_WIDE) != 0 ? 4 : 2;
    uint64_t rows_at = BLOCK_HEAD_BYTES + count * (4 + offset_bytes) + load_u16(p + 16);
    if (count == 0 || rows_at != load_u32(p + 4) || rows_at > payload) {
        return block_bad("begin of the rows", load_u32(p + 4), payload);
    }
    if (p[22] > 8 || p[23] > 8 || ((flags & BLOCK_HISTORY) == 0 && p[23] != 0)) {
        return block_bad("width of commit or end", p[22] > p[23] ? p[22] : p[23], 8);
    }
    if (load_u32(p + 28) != 0 || ((flags & BLOCK_MIXED_KEYS) != 0 && load_u16(p + 18) != 0)) {
        return block_bad("unused part of the head", load_u32(p + 28), 0);
    }
    if ((flags & BLOCK_PUTS) != 0 && (flags & BLOCK_KINDS) == 0) {
        return block_bad("flags", flags, flags & ~(unsigned)BLOCK_PUTS);
    }
    struct block b;
    block_view(&b, image, bytes);
    return check_rows(&b);
}
