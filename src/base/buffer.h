// A growing byte buffer. Zero-initialised is empty; buffer_release frees. An append that fails
// leaves the buffer as it was and returns STRATA_NO_MEMORY. Appended bytes must not lie in the
// buffer itself.
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include "base/slice.h"
#include "strata.h"

struct buffer {
    uint8_t *data;
    size_t bytes;
    size_t capacity;
};

// Makes room for `more` bytes beyond `bytes`.
strata_rc buffer_reserve(struct buffer *b, size_t more) STRATA_MUST_CHECK;
strata_rc buffer_append(struct buffer *b, const void *data, size_t bytes) STRATA_MUST_CHECK;
strata_rc buffer_append_u8(struct buffer *b, uint8_t v) STRATA_MUST_CHECK;
strata_rc buffer_append_u32(struct buffer *b, uint32_t v) STRATA_MUST_CHECK;
strata_rc buffer_append_u64(struct buffer *b, uint64_t v) STRATA_MUST_CHECK;
strata_rc buffer_append_varint(struct buffer *b, uint64_t v) STRATA_MUST_CHECK;
// A varint length, then the bytes: read back with reader_prefixed.
strata_rc buffer_append_prefixed(struct buffer *b, struct slice s) STRATA_MUST_CHECK;
void buffer_release(struct buffer *b);

static inline void buffer_clear(struct buffer *b)
{
    b->bytes = 0;
}

static inline struct slice buffer_slice(const struct buffer *b)
{
    return slice_of(b->data, b->bytes);
}

#endif
