// The index of a finished value file: from (logical file, ordinal) to offset. The directory is kept
// in memory once the file has been read from; the blocks are in the cache, and may be evicted.
//
// Thread rule: a builder belongs to one thread; an index is immutable but for its slots.
#ifndef VALUE_VALUE_INDEX_H
#define VALUE_VALUE_INDEX_H

#include "base/buffer.h"
#include "cache/cache.h"
#include "value/value_format.h"

// ---- making one

struct value_index_builder {
    uint64_t number; // of the physical file
    uint64_t begin;  // offset of the index in the file
    struct buffer blocks;
    struct buffer logicals; // of the directory
    struct buffer entries;  // of the directory
    uint32_t logical_count;
    uint32_t block_count;
    uint32_t logical_blocks;            // of the present logical file
    uint32_t count;                     // of the pending block
    uint32_t ordinals[VALUE_DENSE_MAX]; // pending
    uint32_t offsets[VALUE_DENSE_MAX];
};

void value_index_begin(struct value_index_builder *b, uint64_t number, uint64_t begin);
void value_index_release(struct value_index_builder *b);
// Ordinals ascending; the offset in units of VALUE_RECORD_ALIGN.
strata_rc value_index_add(struct value_index_builder *b, uint32_t ordinal,
                          uint32_t offset) STRATA_MUST_CHECK;
// What was added since the last call belongs to this logical file; these ascending.
strata_rc value_index_logical(struct value_index_builder *b, uint64_t file, uint64_t stamp,
                              uint64_t records, uint64_t raw_bytes) STRATA_MUST_CHECK;
// Puts directory and footer behind the blocks; b->blocks is then all that follows the records.
strata_rc value_index_seal(struct value_index_builder *b, uint64_t keyspace, uint64_t incarnation,
                           bool alone) STRATA_MUST_CHECK;

// ---- using one

struct value_index_logical {
    uint64_t file;
    uint64_t records;
    uint64_t raw_bytes;
    uint64_t stamp;
    uint32_t block_begin;
    uint32_t block_end;
};

struct value_index_block {
    uint32_t first;
    uint16_t count;
    uint16_t kind;
    uint64_t offset; // in the file
};

struct value_index {
    uint64_t number;
    uint64_t records_end;
    uint64_t heap_bytes;
    uint32_t logical_count, block_count;
    struct value_index_logical *logicals;
    struct value_index_block *blocks;
    cache_slot *slots; // one a block
};

// Bytes of a block in the file.
size_t value_index_block_bytes(const struct value_index_block *block);

// Reads the directory image that the footer names; it must have footer.directory_bytes bytes.
// STRATA_CORRUPT sets a text without the file's name.
strata_rc value_index_open(uint64_t number, const struct value_footer *footer, const uint8_t *image,
                           struct value_index **index_out) STRATA_MUST_CHECK;
// The slots must be empty. NULL is ignored.
void value_index_free(struct value_index *index);
// NULL when the file holds nothing of it.
const struct value_index_logical *value_index_find(const struct value_index *index, uint64_t file);
// The block that would hold the ordinal; false when none does.
bool value_index_block_of(const struct value_index *index,
                          const struct value_index_logical *logical, uint32_t ordinal,
                          uint32_t *block_out);
// Checks a block's image, which has value_index_block_bytes bytes, wholly.
strata_rc value_index_check(const struct value_index *index, uint32_t block,
                            const uint8_t *image) STRATA_MUST_CHECK;
// Entry `i` of a checked image: ordinal and offset in bytes; false when the file does not hold it.
bool value_index_entry(const struct value_index_block *block, const uint8_t *image, uint32_t i,
                       uint32_t *ordinal_out, uint64_t *offset_out);
// Where the ordinal is, in a checked image; and where the next record begins at the earliest that
// the block tells: records_end when it does not. False when the file does not hold it.
bool value_index_lookup(const struct value_index *index, uint32_t block, const uint8_t *image,
                        uint32_t ordinal, uint64_t *offset_out, uint64_t *limit_out);

#endif
