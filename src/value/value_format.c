// The bytes of a value file (NNNNNN.value). Numbers are little-endian; checksums are XXH3.
//
//   file      := header | record* | index block* | directory | footer
//
//   header    := check u64 | magic u64 | format u32 | header bytes u32 | number u64 | keyspace u64
//   |
//                incarnation u64 | zeros up to 512 bytes
//                number: of the physical file, which seeds the check of all bytes behind it.
//                incarnation: of the open of the database that made the file
//
//   record    := check u64 | stored bytes and compression u32 | raw bytes u32 | ordinal u32 |
//                logical file u32 | payload
//                One chunk of a value. It begins at a multiple of 8. The stored bytes are in the
//                lower 24 bits, the compression (enum compress_method) is in the upper 8; neither
//                size is above 2^20, and without compression they are equal. Of the number of
//                the logical file these are the lower 32 bits, for whoever has to look through a
//                file without its index. The check covers header and payload behind it and is
//                seeded with logical file, its stamp, and ordinal, but not with the place: a
//                rewrite moves records as they are. The stamp is the incarnation of the physical
//                file that the logical one was born in, so that what an earlier file of that name
//                left on the disk is not taken for a value.
//
//                Chunks of values of several chunks, and of values that came as a stream, begin at
//                multiples of 512, and whatever follows them does too: in the file that was written
//                on the way in, the next chunk of such a value begins at the first multiple of 512
//                behind this one. What is written after a sync begins at a multiple of 512, too:
//                no sector with synced bytes is written again.
//                Bytes between records are not looked at.
//
//   index     := blocks of at most 4,096 bytes; the first begins at a multiple of 512, behind the
//                last record
//   block     := check u64 | first ordinal u32 | count u16 | kind u16 | body | zeros up to a
//                multiple of 8
//   body      := offset u32 [count]                    (dense: ordinals first, first + 1, ...; 0:
//   the
//                                                       file does not hold this one)
//              | ordinal u32 [count] | offset u32 [count]   (sparse: ascending)
//                Offsets are in units of 8 bytes. The check covers the bytes behind it and is
//                seeded with the number of the physical file and the block's offset in it.
//
//   directory := check u64 | logical files u32 | blocks u32 | logical* | block entry*
//   logical   := file u64 | records u64 | raw bytes u64 | stamp u64 | blocks u32 | zero u32
//                ascending by file; each has the blocks that follow those of the one before
//   entry     := first ordinal u32 | count u16 | kind u16     ascending by ordinal in each logical
//
//   footer    := check u64 | magic u64 | format u32 | alone u32 | keyspace u64 | incarnation u64 |
//                index offset u64 | directory offset u64 | directory bytes u64
//                The last 64 bytes of the file. The check is seeded with number and offset. alone:
//                1 when the file was finished before anything referred to it, else 0.
//
// The records are on disk before the first byte of the index is written. So a file with a valid
// footer, directory and blocks has all its records, and one without is a file that was being
// written: what counts in it is what the log refers to.
//
// The first 24 bytes of the header, and of the footer, keep their places in all formats.
#include "value/value_format.h"

#include "base/assert.h"
#include "base/endian.h"
#include "base/hash.h"
#include "base/mutant.h"

#define HEADER_MAGIC 0x6c696665756c6176u // "valuefil"
#define FOOTER_MAGIC 0x646e6565756c6176u // "valueend"

void value_header_encode(uint8_t to[VALUE_HEADER_BYTES], const struct value_header *h)
{
    memset(to, 0, VALUE_HEADER_BYTES);
    store_u64(to + 8, HEADER_MAGIC);
    store_u32(to + 16, VALUE_FORMAT);
    store_u32(to + 20, VALUE_HEADER_BYTES);
    store_u64(to + 24, h->number);
    store_u64(to + 32, h->keyspace);
    store_u64(to + 40, h->incarnation);
    store_u64(to, checksum64(h->number, to + 8, VALUE_HEADER_BYTES - 8));
}

strata_rc value_header_decode(const uint8_t from[VALUE_HEADER_BYTES], uint64_t number,
                              struct value_header *h_out)
{
    if (load_u64(from) != checksum64(number, from + 8, VALUE_HEADER_BYTES - 8) ||
        load_u64(from + 8) != HEADER_MAGIC) {
        return STRATA_CORRUPT;
    }
    if (load_u32(from + 16) != VALUE_FORMAT) {
        return STRATA_VERSION;
    }
    *h_out = (struct value_header){load_u64(from + 24), load_u64(from + 32), load_u64(from + 40)};
    return load_u32(from + 20) == VALUE_HEADER_BYTES && h_out->number == number ? STRATA_OK
                                                                                : STRATA_CORRUPT;
}

uint64_t value_record_seed(uint64_t logical, uint64_t stamp, uint32_t ordinal)
{
    stamp = MUTANT(66) ? 0 : stamp;
    return checksum_seed(checksum_seed(logical, stamp), ordinal);
}

void value_record_encode(uint8_t to[VALUE_RECORD_HEADER_BYTES], uint64_t seed, uint64_t logical,
                         const struct value_record *r, struct slice payload)
{
    ASSERT(r->stored == payload.bytes && r->stored <= r->raw && r->raw <= KV_VALUE_CHUNK_BYTES);
    store_u32(to + 8, r->stored | (uint32_t)r->method << 24);
    store_u32(to + 12, r->raw);
    store_u32(to + 16, r->ordinal);
    store_u32(to + 20, (uint32_t)logical);
    store_u64(to, checksum64_two(seed, slice_of(to + 8, VALUE_RECORD_HEADER_BYTES - 8), payload));
}

bool value_record_decode(const uint8_t from[VALUE_RECORD_HEADER_BYTES], struct value_record *r_out)
{
    uint32_t word = load_u32(from + 8);
    *r_out = (struct value_record){word & 0xffffff, load_u32(from + 12), load_u32(from + 16),
                                   (enum compress_method)(word >> 24)};
    return r_out->raw > 0 && r_out->raw <= KV_VALUE_CHUNK_BYTES && r_out->stored > 0 &&
           r_out->method < COMPRESS_METHODS &&
           (r_out->method == COMPRESS_NONE ? r_out->stored == r_out->raw
                                           : r_out->stored < r_out->raw);
}

bool value_record_is_good(const uint8_t header[VALUE_RECORD_HEADER_BYTES], uint64_t seed,
                          struct slice payload)
{
    struct slice rest = slice_of(header + 8, VALUE_RECORD_HEADER_BYTES - 8);
    return MUTANT(67) || load_u64(header) == checksum64_two(seed, rest, payload);
}

void value_footer_encode(uint8_t to[VALUE_FOOTER_BYTES], uint64_t number, uint64_t offset,
                         const struct value_footer *footer)
{
    store_u64(to + 8, FOOTER_MAGIC);
    store_u32(to + 16, VALUE_FORMAT);
    store_u32(to + 20, footer->alone);
    store_u64(to + 24, footer->keyspace);
    store_u64(to + 32, footer->incarnation);
    store_u64(to + 40, footer->index_offset);
    store_u64(to + 48, footer->directory_offset);
    store_u64(to + 56, footer->directory_bytes);
    store_u64(to, checksum64(checksum_seed(number, offset), to + 8, VALUE_FOOTER_BYTES - 8));
}

strata_rc value_footer_decode(const uint8_t from[VALUE_FOOTER_BYTES], uint64_t number,
                              uint64_t offset, struct value_footer *footer_out)
{
    uint64_t seed = checksum_seed(number, offset);
    if (load_u64(from) != checksum64(seed, from + 8, VALUE_FOOTER_BYTES - 8) ||
        load_u64(from + 8) != FOOTER_MAGIC) {
        return STRATA_CORRUPT;
    }
    if (load_u32(from + 16) != VALUE_FORMAT) {
        return STRATA_VERSION;
    }
    *footer_out = (struct value_footer){
        .alone = load_u32(from + 20) == 1,
        .keyspace = load_u64(from + 24),
        .incarnation = load_u64(from + 32),
        .index_offset = load_u64(from + 40),
        .directory_offset = load_u64(from + 48),
        .directory_bytes = load_u64(from + 56),
    };
    bool fits = footer_out->index_offset >= VALUE_HEADER_BYTES &&
                footer_out->index_offset <= VALUE_RECORDS_END_MAX &&
                footer_out->index_offset % VALUE_SECTOR_BYTES == 0 &&
                footer_out->directory_offset >= footer_out->index_offset &&
                footer_out->directory_offset <= offset &&
                footer_out->directory_bytes >= VALUE_DIRECTORY_HEADER_BYTES &&
                footer_out->directory_bytes == offset - footer_out->directory_offset;
    return fits ? STRATA_OK : STRATA_CORRUPT;
}
