// The bytes of a value file. The layout is at the head of value_format.c.
#ifndef VALUE_VALUE_FORMAT_H
#define VALUE_VALUE_FORMAT_H

#include "base/compress.h"
#include "base/slice.h"
#include "kv/value_ref.h"
#include "strata.h"

#define VALUE_FORMAT 0u
#define VALUE_SECTOR_BYTES 512u
#define VALUE_HEADER_BYTES 512u
#define VALUE_RECORD_HEADER_BYTES 24u
#define VALUE_RECORD_ALIGN 8u
#define VALUE_FOOTER_BYTES 64u
// Offsets in the index are counted in units of VALUE_RECORD_ALIGN, in 32 bits.
#define VALUE_RECORDS_END_MAX ((uint64_t)UINT32_MAX * VALUE_RECORD_ALIGN)

#define VALUE_BLOCK_HEADER_BYTES 16u
#define VALUE_BLOCK_BYTES_MAX 4096u
#define VALUE_DENSE_MAX ((VALUE_BLOCK_BYTES_MAX - VALUE_BLOCK_HEADER_BYTES) / 4)
#define VALUE_SPARSE_MAX ((VALUE_BLOCK_BYTES_MAX - VALUE_BLOCK_HEADER_BYTES) / 8)
#define VALUE_DIRECTORY_HEADER_BYTES 16u
#define VALUE_DIRECTORY_LOGICAL_BYTES 40u
#define VALUE_DIRECTORY_BLOCK_BYTES 8u

// The numbers are in files: never reuse one.
enum value_block_kind { VALUE_BLOCK_DENSE = 1, VALUE_BLOCK_SPARSE = 2 };

static inline uint64_t value_round_up(uint64_t offset, uint64_t unit)
{
    return (offset + unit - 1) / unit * unit;
}

struct value_header {
    uint64_t number; // of the physical file
    uint64_t keyspace;
    uint64_t incarnation;
};
void value_header_encode(uint8_t to[VALUE_HEADER_BYTES], const struct value_header *h);
// STRATA_CORRUPT, STRATA_VERSION; sets no error text.
strata_rc value_header_decode(const uint8_t from[VALUE_HEADER_BYTES], uint64_t number,
                              struct value_header *h_out) STRATA_MUST_CHECK;

// The seed of a chunk's checksum: which chunk it is, wherever it lies.
uint64_t value_record_seed(uint64_t logical, uint64_t stamp, uint32_t ordinal);

struct value_record {
    uint32_t stored; // bytes of the payload
    uint32_t raw;    // of the chunk
    uint32_t ordinal;
    enum compress_method method;
};
void value_record_encode(uint8_t to[VALUE_RECORD_HEADER_BYTES], uint64_t seed, uint64_t logical,
                         const struct value_record *r, struct slice payload);
// False when the sizes or the method are none that are ever written.
bool value_record_decode(const uint8_t from[VALUE_RECORD_HEADER_BYTES], struct value_record *r_out);
// Does the checksum hold over header and payload?
bool value_record_is_good(const uint8_t header[VALUE_RECORD_HEADER_BYTES], uint64_t seed,
                          struct slice payload);

struct value_footer {
    bool alone; // finished before anything referred to it
    uint64_t keyspace;
    uint64_t incarnation;
    uint64_t index_offset; // where the records end
    uint64_t directory_offset;
    uint64_t directory_bytes;
};
// `offset`: of the footer in the file.
void value_footer_encode(uint8_t to[VALUE_FOOTER_BYTES], uint64_t number, uint64_t offset,
                         const struct value_footer *footer);
// Checks that the parts of the file follow each other. As value_header_decode.
strata_rc value_footer_decode(const uint8_t from[VALUE_FOOTER_BYTES], uint64_t number,
                              uint64_t offset, struct value_footer *footer_out) STRATA_MUST_CHECK;

#endif
