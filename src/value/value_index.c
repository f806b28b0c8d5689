#include "value/value_index.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/endian.h"
#include "base/hash.h"
#include "base/reader.h"

// ---- making one

void value_index_begin(struct value_index_builder *b, uint64_t number, uint64_t begin)
{
    ASSERT(begin % VALUE_SECTOR_BYTES == 0 && begin <= VALUE_RECORDS_END_MAX);
    b->number = number;
    b->begin = begin;
    b->blocks = b->logicals = b->entries = (struct buffer){0};
    b->logical_count = b->block_count = b->logical_blocks = b->count = 0;
}

void value_index_release(struct value_index_builder *b)
{
    buffer_release(&b->blocks);
    buffer_release(&b->logicals);
    buffer_release(&b->entries);
}

static uint32_t block_body_bytes(enum value_block_kind kind, uint32_t count)
{
    return kind == VALUE_BLOCK_DENSE ? count * 4 : count * 8;
}

// Appends the pending block.
static strata_rc flush_block(struct value_index_builder *b)
{
    if (b->count == 0) {
        return STRATA_OK;
    }
    uint32_t span = b->ordinals[b->count - 1] - b->ordinals[0] + 1;
    bool dense = span <= VALUE_DENSE_MAX && span <= 2 * b->count;
    enum value_block_kind kind = dense ? VALUE_BLOCK_DENSE : VALUE_BLOCK_SPARSE;
    uint32_t count = dense ? span : b->count;
    ASSERT(dense || count <= VALUE_SPARSE_MAX);
    size_t bytes = value_round_up(VALUE_BLOCK_HEADER_BYTES + block_body_bytes(kind, count), 8);
    uint8_t image[VALUE_BLOCK_BYTES_MAX] = {0};
    store_u32(image + 8, b->ordinals[0]);
    store_u16(image + 12, (uint16_t)count);
    store_u16(image + 14, (uint16_t)kind);
    uint8_t *body = image + VALUE_BLOCK_HEADER_BYTES;
    for (uint32_t i = 0; i < b->count; i++) {
        uint32_t at = dense ? b->ordinals[i] - b->ordinals[0] : count + i;
        store_u32(body + (size_t)at * 4, b->offsets[i]);
        if (!dense) {
            store_u32(body + (size_t)i * 4, b->ordinals[i]);
        }
    }
    uint64_t seed = checksum_seed(b->number, b->begin + b->blocks.bytes);
    store_u64(image, checksum64(seed, image + 8, bytes - 8));
    strata_rc rc = buffer_append(&b->blocks, image, bytes);
    if (rc == STRATA_OK) {
        rc = buffer_append(&b->entries, image + 8, VALUE_DIRECTORY_BLOCK_BYTES);
    }
    b->block_count++;
    b->logical_blocks++;
    b->count = 0;
    return rc;
}

strata_rc value_index_add(struct value_index_builder *b, uint32_t ordinal, uint32_t offset)
{
    ASSERT(b->count == 0 || ordinal > b->ordinals[b->count - 1]);
    ASSERT(offset != 0);
    if (b->count > 0 && ordinal - b->ordinals[0] >= VALUE_DENSE_MAX &&
        b->count >= VALUE_SPARSE_MAX) {
        strata_rc rc = flush_block(b);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    b->ordinals[b->count] = ordinal;
    b->offsets[b->count] = offset;
    b->count++;
    return STRATA_OK;
}

strata_rc value_index_logical(struct value_index_builder *b, uint64_t file, uint64_t stamp,
                              uint64_t records, uint64_t raw_bytes)
{
    strata_rc rc = flush_block(b);
    uint8_t logical[VALUE_DIRECTORY_LOGICAL_BYTES] = {0};
    store_u64(logical, file);
    store_u64(logical + 8, records);
    store_u64(logical + 16, raw_bytes);
    store_u64(logical + 24, stamp);
    store_u32(logical + 32, b->logical_blocks);
    if (rc == STRATA_OK) {
        rc = buffer_append(&b->logicals, logical, sizeof logical);
    }
    b->logical_count++;
    b->logical_blocks = 0;
    return rc;
}

strata_rc value_index_seal(struct value_index_builder *b, uint64_t keyspace, uint64_t incarnation,
                           bool alone)
{
    ASSERT(b->count == 0 && b->logical_blocks == 0);
    size_t bytes = VALUE_DIRECTORY_HEADER_BYTES + b->logicals.bytes + b->entries.bytes;
    struct value_footer footer = {
        alone, keyspace, incarnation, b->begin, b->begin + b->blocks.bytes, bytes};
    strata_rc rc = buffer_reserve(&b->blocks, bytes + VALUE_FOOTER_BYTES);
    if (rc != STRATA_OK) {
        return rc;
    }
    uint8_t *directory = b->blocks.data + b->blocks.bytes;
    uint8_t *at = directory + VALUE_DIRECTORY_HEADER_BYTES;
    store_u32(directory + 8, b->logical_count);
    store_u32(directory + 12, b->block_count);
    if (b->logicals.bytes > 0) {
        memcpy(at, b->logicals.data, b->logicals.bytes);
    }
    if (b->entries.bytes > 0) {
        memcpy(at + b->logicals.bytes, b->entries.data, b->entries.bytes);
    }
    uint64_t seed = checksum_seed(b->number, footer.directory_offset);
    store_u64(directory, checksum64(seed, directory + 8, bytes - 8));
    value_footer_encode(directory + bytes, b->number, footer.directory_offset + bytes, &footer);
    b->blocks.bytes += bytes + VALUE_FOOTER_BYTES;
    return STRATA_OK;
}

// ---- the directory

size_t value_index_block_bytes(const struct value_index_block *block)
{
    enum value_block_kind kind = (enum value_block_kind)block->kind;
    return value_round_up(VALUE_BLOCK_HEADER_BYTES + block_body_bytes(kind, block->count), 8);
}

static bool read_logicals(struct value_index *index, struct reader *r)
{
    uint64_t blocks = 0;
    for (uint32_t i = 0; i < index->logical_count; i++) {
        struct value_index_logical *l = &index->logicals[i];
        l->file = reader_u64(r);
        l->records = reader_u64(r);
        l->raw_bytes = reader_u64(r);
        l->stamp = reader_u64(r);
        l->block_begin = (uint32_t)blocks;
        blocks += reader_u32(r);
        uint32_t zero = reader_u32(r);
        if (r->bad || blocks > index->block_count || zero != 0 ||
            (i > 0 && l->file <= index->logicals[i - 1].file)) {
            return false;
        }
        l->block_end = (uint32_t)blocks;
    }
    return blocks == index->block_count;
}

static bool read_blocks(struct value_index *index, struct reader *r, uint64_t end)
{
    uint64_t offset = index->records_end;
    for (uint32_t i = 0; i < index->block_count; i++) {
        struct value_index_block *b = &index->blocks[i];
        b->first = reader_u32(r);
        b->count = reader_u16(r);
        b->kind = reader_u16(r);
        b->offset = offset;
        bool dense = b->kind == VALUE_BLOCK_DENSE;
        if (r->bad || (!dense && b->kind != VALUE_BLOCK_SPARSE) || b->count == 0 ||
            b->count > (dense ? VALUE_DENSE_MAX : VALUE_SPARSE_MAX) ||
            b->count - 1u > UINT32_MAX - b->first) {
            return false;
        }
        offset += value_index_block_bytes(b);
    }
    for (uint32_t i = 0; i < index->logical_count; i++) {
        const struct value_index_logical *l = &index->logicals[i];
        for (uint32_t j = l->block_begin; j + 1 < l->block_end; j++) {
            if (index->blocks[j].first >= index->blocks[j + 1].first) {
                return false;
            }
        }
    }
    return offset == end;
}

static strata_rc index_malformed(uint64_t offset)
{
    return fail(STRATA_CORRUPT, "offset %llu: the directory of the index is malformed",
                (unsigned long long)offset);
}

strata_rc value_index_open(uint64_t number, const struct value_footer *footer, const uint8_t *image,
                           struct value_index **index_out)
{
    uint64_t seed = checksum_seed(number, footer->directory_offset);
    size_t bytes = (size_t)footer->directory_bytes;
    uint64_t logicals = load_u32(image + 8);
    uint64_t blocks = load_u32(image + 12);
    if (load_u64(image) != checksum64(seed, image + 8, bytes - 8) ||
        bytes != VALUE_DIRECTORY_HEADER_BYTES + logicals * VALUE_DIRECTORY_LOGICAL_BYTES +
                     blocks * VALUE_DIRECTORY_BLOCK_BYTES) {
        return index_malformed(footer->directory_offset);
    }
    struct value_index *index = alloc_zeroed(1, sizeof *index);
    if (index == NULL) {
        return alloc_failed("the index of a value file", sizeof *index);
    }
    index->number = number;
    index->records_end = footer->index_offset;
    index->logical_count = (uint32_t)logicals;
    index->block_count = (uint32_t)blocks;
    index->logicals = alloc_zeroed((size_t)logicals, sizeof *index->logicals);
    index->blocks = alloc_zeroed((size_t)blocks, sizeof *index->blocks);
    index->slots = alloc_zeroed((size_t)blocks, sizeof *index->slots);
    index->heap_bytes = sizeof *index + logicals * sizeof *index->logicals +
                        blocks * (sizeof *index->blocks + sizeof *index->slots);
    strata_rc rc = STRATA_OK;
    struct reader r = reader_of(slice_of(image, bytes));
    (void)reader_bytes(&r, VALUE_DIRECTORY_HEADER_BYTES);
    if (index->logicals == NULL || index->blocks == NULL || index->slots == NULL) {
        rc = alloc_failed("the index of a value file", (size_t)index->heap_bytes);
    } else if (!read_logicals(index, &r) || !read_blocks(index, &r, footer->directory_offset)) {
        rc = index_malformed(footer->directory_offset);
    }
    if (rc != STRATA_OK) {
        value_index_free(index);
        return rc;
    }
    *index_out = index;
    return STRATA_OK;
}

void value_index_free(struct value_index *index)
{
    if (index != NULL) {
        free(index->logicals);
        free(index->blocks);
        free(index->slots);
        free(index);
    }
}

const struct value_index_logical *value_index_find(const struct value_index *index, uint64_t file)
{
    uint32_t low = 0;
    uint32_t high = index->logical_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (index->logicals[middle].file < file) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < index->logical_count && index->logicals[low].file == file ? &index->logicals[low]
                                                                           : NULL;
}

bool value_index_block_of(const struct value_index *index,
                          const struct value_index_logical *logical, uint32_t ordinal,
                          uint32_t *block_out)
{
    // The last block whose first ordinal is not above.
    uint32_t low = logical->block_begin;
    uint32_t high = logical->block_end;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (index->blocks[middle].first <= ordinal) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == logical->block_begin) {
        return false;
    }
    *block_out = low - 1;
    return true;
}

// ---- blocks

// Where entry `i` of a block is: its ordinal and its offset as it stands there.
static uint32_t entry_ordinal(const struct value_index_block *block, const uint8_t *image,
                              uint32_t i)
{
    return block->kind == VALUE_BLOCK_DENSE
               ? block->first + i
               : load_u32(image + VALUE_BLOCK_HEADER_BYTES + (size_t)i * 4);
}

static uint64_t entry_offset(const struct value_index_block *block, const uint8_t *image,
                             uint32_t i)
{
    size_t at = block->kind == VALUE_BLOCK_DENSE ? i : (size_t)block->count + i;
    uint32_t units = load_u32(image + VALUE_BLOCK_HEADER_BYTES + at * 4);
    return (uint64_t)units * VALUE_RECORD_ALIGN;
}

strata_rc value_index_check(const struct value_index *index, uint32_t block, const uint8_t *image)
{
    const struct value_index_block *b = &index->blocks[block];
    uint64_t seed = checksum_seed(index->number, b->offset);
    bool good = load_u64(image) == checksum64(seed, image + 8, value_index_block_bytes(b) - 8) &&
                load_u32(image + 8) == b->first && load_u16(image + 12) == b->count &&
                load_u16(image + 14) == b->kind && entry_ordinal(b, image, 0) == b->first;
    for (uint32_t i = 0; good && i < b->count; i++) {
        uint64_t offset = entry_offset(b, image, i);
        good = offset == 0 ? b->kind == VALUE_BLOCK_DENSE
                           : offset >= VALUE_HEADER_BYTES &&
                                 offset + VALUE_RECORD_HEADER_BYTES < index->records_end;
        good = good && (i == 0 || entry_ordinal(b, image, i) > entry_ordinal(b, image, i - 1));
    }
    return good ? STRATA_OK
                : fail(STRATA_CORRUPT, "offset %llu: this is not the index block that was written",
                       (unsigned long long)b->offset);
}

bool value_index_entry(const struct value_index_block *block, const uint8_t *image, uint32_t i,
                       uint32_t *ordinal_out, uint64_t *offset_out)
{
    ASSERT(i < block->count);
    *ordinal_out = entry_ordinal(block, image, i);
    *offset_out = entry_offset(block, image, i);
    return *offset_out != 0;
}

bool value_index_lookup(const struct value_index *index, uint32_t block, const uint8_t *image,
                        uint32_t ordinal, uint64_t *offset_out, uint64_t *limit_out)
{
    const struct value_index_block *b = &index->blocks[block];
    uint32_t low = 0;
    uint32_t high = b->count;
    if (b->kind == VALUE_BLOCK_DENSE) {
        low = ordinal - b->first < b->count ? ordinal - b->first : b->count;
        high = low;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (entry_ordinal(b, image, middle) < ordinal) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == b->count || entry_ordinal(b, image, low) != ordinal) {
        return false;
    }
    uint64_t offset = entry_offset(b, image, low);
    uint64_t next = low + 1 < b->count ? entry_offset(b, image, low + 1) : 0;
    *offset_out = offset;
    *limit_out = next > offset ? next : index->records_end;
    return offset != 0;
}
