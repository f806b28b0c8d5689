// strata_keys: keys made of typed parts whose byte order is the order of the parts.
//
// strata orders keys bytewise and knows no other order. A program that wants to sort by numbers, by
// several columns or downwards encodes them with these functions; two keys made by the same calls
// compare with memcmp as their parts compare one after the other.
//
//   uint8_t room[64];
//   strata_key_writer w = strata_key_begin(room, sizeof room);
//   strata_key_text(&w, "users", STRATA_ASCENDING);
//   strata_key_i64(&w, -5, STRATA_DESCENDING);
//   strata_slice key = strata_key_end(&w);       // data is NULL when the room was too small
//
// The bytes carry no types: whoever reads a key makes the same calls in the same order. Any number
// of leading parts is a prefix: strata_key_prefix_end gives the end of the range of keys that begin
// with it, for strata_read.upper.
//
// Layouts (all of fixed length but text): unsigned numbers big-endian; signed ones with the sign
// bit turned over; doubles as IEEE 754 bits with the sign bit turned over, negative ones wholly
// turned over, so that -inf < -1 < -0 < 0 < 1 < inf < NaN (every NaN is one value); byte strings
// with each zero byte followed by 0xff, ended by two zero bytes, so that a string comes before
// every longer one that begins with it. Descending parts have every byte turned over.
//
// Everything is inline and needs no library. Functions on different writers and readers may run in
// any threads.
#ifndef STRATA_KEYS_H
#define STRATA_KEYS_H

#include "strata.h"

#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum strata_key_order { STRATA_ASCENDING = 0, STRATA_DESCENDING = 0xff } strata_key_order;

// ---- writing

typedef struct strata_key_writer {
    uint8_t *data;
    size_t room;
    size_t bytes; // wanted so far; more than `room`: it did not fit
} strata_key_writer;

// Begins a key in `room` bytes of the caller's. A key has at most 65,535 bytes.
static inline strata_key_writer strata_key_begin(void *to, size_t room)
{
    strata_key_writer w;
    w.data = (uint8_t *)to;
    w.room = room;
    w.bytes = 0;
    return w;
}

// The key; data NULL, and bytes how many it needs, when it did not fit.
static inline strata_slice strata_key_end(const strata_key_writer *w)
{
    strata_slice key;
    key.data = w->bytes <= w->room ? w->data : NULL;
    key.bytes = w->bytes;
    return key;
}

static inline void strata_key_byte(strata_key_writer *w, uint8_t byte, strata_key_order order)
{
    if (w->bytes < w->room) {
        w->data[w->bytes] = (uint8_t)(byte ^ (uint8_t)order);
    }
    w->bytes++;
}

static inline void strata_key_u64(strata_key_writer *w, uint64_t v, strata_key_order order)
{
    for (int shift = 56; shift >= 0; shift -= 8) {
        strata_key_byte(w, (uint8_t)(v >> shift), order);
    }
}

static inline void strata_key_u32(strata_key_writer *w, uint32_t v, strata_key_order order)
{
    for (int shift = 24; shift >= 0; shift -= 8) {
        strata_key_byte(w, (uint8_t)(v >> shift), order);
    }
}

static inline void strata_key_i64(strata_key_writer *w, int64_t v, strata_key_order order)
{
    strata_key_u64(w, (uint64_t)v ^ (UINT64_C(1) << 63), order);
}

static inline void strata_key_i32(strata_key_writer *w, int32_t v, strata_key_order order)
{
    strata_key_u32(w, (uint32_t)v ^ (UINT32_C(1) << 31), order);
}

static inline void strata_key_bool(strata_key_writer *w, bool v, strata_key_order order)
{
    strata_key_byte(w, v ? 1 : 0, order);
}

static inline void strata_key_double(strata_key_writer *w, double v, strata_key_order order)
{
    const uint64_t sign = UINT64_C(1) << 63;
    uint64_t bits = UINT64_C(0x7ff8000000000000); // the one NaN
    if (v == v) {
        memcpy(&bits, &v, sizeof bits);
    }
    strata_key_u64(w, (bits & sign) != 0 ? ~bits : bits ^ sign, order);
}

// Any bytes, also zeros.
static inline void strata_key_bytes(strata_key_writer *w, const void *data, size_t bytes,
                                    strata_key_order order)
{
    const uint8_t *from = (const uint8_t *)data;
    for (size_t i = 0; i < bytes; i++) {
        strata_key_byte(w, from[i], order);
        if (from[i] == 0) {
            strata_key_byte(w, 0xff, order);
        }
    }
    strata_key_byte(w, 0, order);
    strata_key_byte(w, 0, order);
}

// A NUL-terminated string.
static inline void strata_key_text(strata_key_writer *w, const char *text, strata_key_order order)
{
    strata_key_bytes(w, text, strlen(text), order);
}

// Makes `key` the end of the range of all keys that begin with it: the least byte string that is
// greater than all of them. Returns its length; 0 when there is none (all bytes are 0xff): the
// range has no end.
static inline size_t strata_key_prefix_end(uint8_t *key, size_t bytes)
{
    while (bytes > 0 && key[bytes - 1] == 0xff) {
        bytes--;
    }
    if (bytes > 0) {
        key[bytes - 1]++;
    }
    return bytes;
}

// ---- reading

typedef struct strata_key_reader {
    const uint8_t *at, *end;
    bool bad; // a part was not there, or is no such part: all that was read from then on is zero
} strata_key_reader;

static inline strata_key_reader strata_key_read(strata_slice key)
{
    strata_key_reader r;
    r.at = (const uint8_t *)key.data;
    r.end = r.at == NULL ? NULL : r.at + key.bytes;
    r.bad = false;
    return r;
}

// Was everything read, and nothing bad?
static inline bool strata_key_read_done(const strata_key_reader *r)
{
    return !r->bad && r->at == r->end;
}

static inline uint8_t strata_key_read_byte(strata_key_reader *r, strata_key_order order)
{
    if (r->bad || r->at == r->end) {
        r->bad = true;
        return 0;
    }
    return (uint8_t)(*r->at++ ^ (uint8_t)order);
}

static inline uint64_t strata_key_read_number(strata_key_reader *r, int bytes,
                                              strata_key_order order)
{
    uint64_t v = 0;
    if (r->bad || r->end - r->at < bytes) {
        r->bad = true;
        return 0;
    }
    for (int i = 0; i < bytes; i++) {
        v = v << 8 | strata_key_read_byte(r, order);
    }
    return v;
}

static inline uint64_t strata_key_read_u64(strata_key_reader *r, strata_key_order order)
{
    return strata_key_read_number(r, 8, order);
}

static inline uint32_t strata_key_read_u32(strata_key_reader *r, strata_key_order order)
{
    return (uint32_t)strata_key_read_number(r, 4, order);
}

static inline int64_t strata_key_read_i64(strata_key_reader *r, strata_key_order order)
{
    uint64_t v = strata_key_read_number(r, 8, order) ^ (UINT64_C(1) << 63);
    int64_t back;
    memcpy(&back, &v, sizeof back);
    return r->bad ? 0 : back;
}

static inline int32_t strata_key_read_i32(strata_key_reader *r, strata_key_order order)
{
    uint32_t v = (uint32_t)strata_key_read_number(r, 4, order) ^ (UINT32_C(1) << 31);
    int32_t back;
    memcpy(&back, &v, sizeof back);
    return r->bad ? 0 : back;
}

static inline bool strata_key_read_bool(strata_key_reader *r, strata_key_order order)
{
    uint8_t v = strata_key_read_byte(r, order);
    if (v > 1) {
        r->bad = true;
    }
    return !r->bad && v == 1;
}

static inline double strata_key_read_double(strata_key_reader *r, strata_key_order order)
{
    const uint64_t sign = UINT64_C(1) << 63;
    uint64_t bits = strata_key_read_number(r, 8, order);
    double v = 0;
    if (!r->bad) {
        bits = (bits & sign) != 0 ? bits ^ sign : ~bits;
        memcpy(&v, &bits, sizeof v);
    }
    return v;
}

// Copies the string to `to` as far as `room` goes, without a NUL, and returns how long it is: more
// than `room` when it did not fit.
static inline size_t strata_key_read_bytes(strata_key_reader *r, void *to, size_t room,
                                           strata_key_order order)
{
    size_t bytes = 0;
    for (;;) {
        uint8_t byte = strata_key_read_byte(r, order);
        if (byte == 0) {
            uint8_t next = strata_key_read_byte(r, order);
            if (r->bad || (next != 0 && next != 0xff)) {
                r->bad = true;
                return 0;
            }
            if (next == 0) {
                return bytes;
            }
        }
        if (bytes < room) {
            ((uint8_t *)to)[bytes] = byte;
        }
        bytes++;
    }
}

#ifdef __cplusplus
}
#endif
#endif
