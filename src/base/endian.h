// Fixed-width little-endian numbers in unaligned memory: the byte order of every file.
#ifndef BASE_ENDIAN_H
#define BASE_ENDIAN_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "strata needs a little-endian machine"
#endif

static inline uint16_t load_u16(const void *from)
{
    uint16_t v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline uint32_t load_u32(const void *from)
{
    uint32_t v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline uint64_t load_u64(const void *from)
{
    uint64_t v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline void store_u16(void *to, uint16_t v)
{
    memcpy(to, &v, sizeof v);
}

static inline void store_u32(void *to, uint32_t v)
{
    memcpy(to, &v, sizeof v);
}

static inline void store_u64(void *to, uint64_t v)
{
    memcpy(to, &v, sizeof v);
}

#endif
