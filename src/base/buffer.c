#include "base/buffer.h"

#include "base/alloc.h"
#include "base/endian.h"
#include "base/varint.h"

strata_rc buffer_reserve(struct buffer *b, size_t more)
{
    size_t need;
    if (__builtin_add_overflow(b->bytes, more, &need)) {
        return alloc_failed("a buffer", SIZE_MAX);
    }
    if (need <= b->capacity) {
        return STRATA_OK;
    }
    size_t capacity = b->capacity < 64 ? 64 : b->capacity + b->capacity / 2;
    if (capacity < need) {
        capacity = need;
    }
    uint8_t *data = alloc_resize(b->data, capacity, 1);
    if (data == NULL) {
        return alloc_failed("a buffer", capacity);
    }
    b->data = data;
    b->capacity = capacity;
    return STRATA_OK;
}

strata_rc buffer_append(struct buffer *b, const void *data, size_t bytes)
{
    strata_rc rc = buffer_reserve(b, bytes);
    if (rc == STRATA_OK && bytes != 0) {
        memcpy(b->data + b->bytes, data, bytes);
        b->bytes += bytes;
    }
    return rc;
}

strata_rc buffer_append_u8(struct buffer *b, uint8_t v)
{
    return buffer_append(b, &v, 1);
}

strata_rc buffer_append_u32(struct buffer *b, uint32_t v)
{
    uint8_t raw[4];
    store_u32(raw, v);
    return buffer_append(b, raw, sizeof raw);
}

strata_rc buffer_append_u64(struct buffer *b, uint64_t v)
{
    uint8_t raw[8];
    store_u64(raw, v);
    return buffer_append(b, raw, sizeof raw);
}

strata_rc buffer_append_varint(struct buffer *b, uint64_t v)
{
    uint8_t raw[VARINT_BYTES_MAX];
    uint8_t *end = varint_encode(raw, v);
    return buffer_append(b, raw, (size_t)(end - raw));
}

strata_rc buffer_append_prefixed(struct buffer *b, struct slice s)
{
    size_t before = b->bytes;
    strata_rc rc = buffer_append_varint(b, s.bytes);
    if (rc == STRATA_OK) {
        rc = buffer_append(b, s.data, s.bytes);
    }
    if (rc != STRATA_OK) {
        b->bytes = before;
    }
    return rc;
}

void buffer_release(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){0};
}
