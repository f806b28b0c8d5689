// A bounds-checked cursor over bytes from disk. After the first read past the end, or of a
// malformed number, `bad` stays set and every further read gives zero or an empty slice: a decoder
// reads all its fields and asks once.
#ifndef BASE_READER_H
#define BASE_READER_H

#include "base/endian.h"
#include "base/slice.h"
#include "base/varint.h"

struct reader {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
};

static inline struct reader reader_of(struct slice bytes)
{
    // No arithmetic on a null pointer, also not for an empty slice.
    const uint8_t *at = bytes.data == NULL ? (const uint8_t *)"" : bytes.data;
    return (struct reader){at, at + bytes.bytes, false};
}

static inline size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

static inline struct slice reader_bytes(struct reader *r, uint64_t bytes)
{
    if (r->bad || bytes > reader_left(r)) {
        r->bad = true;
        return slice_of(NULL, 0);
    }
    struct slice s = slice_of(r->at, (size_t)bytes);
    r->at += bytes;
    return s;
}

static inline uint8_t reader_u8(struct reader *r)
{
    struct slice s = reader_bytes(r, 1);
    return r->bad ? 0 : s.data[0];
}

static inline uint16_t reader_u16(struct reader *r)
{
    struct slice s = reader_bytes(r, 2);
    return r->bad ? 0 : load_u16(s.data);
}

static inline uint32_t reader_u32(struct reader *r)
{
    struct slice s = reader_bytes(r, 4);
    return r->bad ? 0 : load_u32(s.data);
}

static inline uint64_t reader_u64(struct reader *r)
{
    struct slice s = reader_bytes(r, 8);
    return r->bad ? 0 : load_u64(s.data);
}

static inline uint64_t reader_varint(struct reader *r)
{
    uint64_t v = 0;
    const uint8_t *next = r->bad ? NULL : varint_decode(r->at, r->end, &v);
    if (next == NULL) {
        r->bad = true;
        return 0;
    }
    r->at = next;
    return v;
}

// A varint length followed by that many bytes.
static inline struct slice reader_prefixed(struct reader *r)
{
    return reader_bytes(r, reader_varint(r));
}

#endif
