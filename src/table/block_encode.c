// Writing a block. The layout is at the head of block.c.
#include "table/block.h"

#include "base/assert.h"

// What all rows of the block have in common.
struct plan {
    uint64_t commit_base;
    uint64_t rows_bytes;
    uint32_t prefix_bytes;
    uint32_t rest_bytes;
    uint32_t row_bytes;
    uint8_t commit_bytes, end_bytes;
    uint8_t flags;
};

static uint8_t width_of(uint64_t v)
{
    return v == 0 ? 0 : (uint8_t)((64 - (unsigned)__builtin_clzll(v) + 7) / 8);
}

static uint32_t key_tail(uint32_t rest)
{
    return rest > 4 ? rest - 4 : 0;
}

static void plan_widths(struct plan *p, const struct kv_entry *entries, uint32_t count)
{
    uint64_t least = UINT64_MAX;
    uint64_t greatest = 0;
    uint64_t span = 0;
    bool puts = true;
    for (uint32_t i = 0; i < count; i++) {
        const struct kv_entry *e = entries + i;
        least = e->commit < least ? e->commit : least;
        greatest = e->commit > greatest ? e->commit : greatest;
        if (e->expiry != 0) {
            p->flags |= BLOCK_EXPIRY;
        }
        if (e->kind != KV_PUT) {
            p->flags |= BLOCK_KINDS;
            puts = puts && e->kind == KV_PUT_SEPARATED;
        }
        if ((p->flags & BLOCK_HISTORY) != 0) {
            ASSERT(e->end >= e->commit);
            span = e->end - e->commit > span ? e->end - e->commit : span;
        }
    }
    if (puts && (p->flags & BLOCK_KINDS) != 0) {
        p->flags |= BLOCK_PUTS;
    }
    p->commit_base = least;
    p->commit_bytes = width_of(greatest - least);
    p->end_bytes = width_of(span);
}

static void plan_rows(struct plan *p, const struct kv_entry *entries, uint32_t count)
{
    bool uniform_values = true;
    for (uint32_t i = 1; i < count; i++) {
        if (entries[i].key_bytes != entries[0].key_bytes) {
            p->flags |= BLOCK_MIXED_KEYS;
        }
        uniform_values = uniform_values && entries[i].value_bytes == entries[0].value_bytes;
    }
    uint64_t fixed = (uint64_t)p->commit_bytes + p->end_bytes;
    fixed += (p->flags & BLOCK_EXPIRY) != 0 ? 8 : 0;
    fixed += (p->flags & BLOCK_KINDS) != 0 ? 1 : 0;
    fixed += (p->flags & BLOCK_MIXED_KEYS) != 0 ? 2 : 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t rest = entries[i].key_bytes - p->prefix_bytes;
        p->rows_bytes += fixed + key_tail(rest) + entries[i].value_bytes;
    }
    uint64_t row_bytes = p->rows_bytes / count;
    if ((p->flags & BLOCK_MIXED_KEYS) == 0) {
        p->rest_bytes = entries[0].key_bytes - p->prefix_bytes;
        if (uniform_values && row_bytes > 0 && row_bytes <= UINT32_MAX) {
            p->flags |= BLOCK_UNIFORM;
            p->row_bytes = (uint32_t)row_bytes;
        }
    }
    if ((p->flags & BLOCK_UNIFORM) == 0 && p->rows_bytes > UINT16_MAX) {
        p->flags |= BLOCK_WIDE;
    }
}

static uint8_t *put_width(uint8_t *to, uint64_t v, unsigned bytes)
{
    memcpy(to, &v, bytes);
    return to + bytes;
}

static uint8_t *put_row(const struct plan *p, const struct kv_entry *e, uint8_t *to)
{
    to = put_width(to, e->commit - p->commit_base, p->commit_bytes);
    to = put_width(to, e->end - e->commit, p->end_bytes);
    if ((p->flags & BLOCK_EXPIRY) != 0) {
        to = put_width(to, e->expiry, 8);
    }
    if ((p->flags & BLOCK_KINDS) != 0) {
        *to++ = e->kind;
    }
    uint32_t rest = e->key_bytes - p->prefix_bytes;
    if ((p->flags & BLOCK_MIXED_KEYS) != 0) {
        to = put_width(to, rest, 2);
    }
    uint32_t tail = key_tail(rest);
    memcpy(to, e->key + e->key_bytes - tail, tail);
    to += tail;
    if (e->value_bytes != 0) {
        memcpy(to, e->value, e->value_bytes);
    }
    return to + e->value_bytes;
}

strata_rc block_encode(struct buffer *out, const struct kv_entry *entries, uint32_t count,
                       bool history)
{
    ASSERT(count > 0);
    struct plan p = {.flags = history ? BLOCK_HISTORY : 0};
    p.prefix_bytes = (uint32_t)slice_shared(kv_key(entries), kv_key(entries + count - 1));
    plan_widths(&p, entries, count);
    plan_rows(&p, entries, count);
    uint32_t offset_bytes = (p.flags & BLOCK_UNIFORM) != 0 ? 0
                            : (p.flags & BLOCK_WIDE) != 0  ? 4
                                                           : 2;
    uint64_t rows_at = BLOCK_HEAD_BYTES + (uint64_t)count * (4 + offset_bytes) + p.prefix_bytes;
    strata_rc rc = buffer_reserve(out, (size_t)(rows_at + p.rows_bytes));
    if (rc != STRATA_OK) {
        return rc;
    }
    uint8_t *head = out->data + out->bytes;
    store_u32(head, count);
    store_u32(head + 4, (uint32_t)rows_at);
    store_u64(head + 8, p.commit_base);
    store_u16(head + 16, (uint16_t)p.prefix_bytes);
    store_u16(head + 18, (uint16_t)p.rest_bytes);
    head[20] = 0;
    head[21] = p.flags;
    head[22] = p.commit_bytes;
    head[23] = p.end_bytes;
    store_u32(head + 24, p.row_bytes);
    store_u32(head + 28, 0);
    uint8_t *heads = head + BLOCK_HEAD_BYTES;
    uint8_t *offsets = heads + (size_t)count * 4;
    uint8_t *rows = head + rows_at;
    memcpy(rows - p.prefix_bytes, entries[0].key, p.prefix_bytes);
    uint8_t *at = rows;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t key_head = (uint32_t)(slice_head(kv_key(entries + i), p.prefix_bytes) >> 32);
        store_u32(heads + (size_t)i * 4, key_head);
        put_width(offsets + (size_t)i * offset_bytes, (uint64_t)(at - rows), offset_bytes);
        at = put_row(&p, entries + i, at);
    }
    ASSERT(at == rows + p.rows_bytes);
    out->bytes += (size_t)(rows_at + p.rows_bytes);
    return STRATA_OK;
}
