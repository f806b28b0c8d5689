// The frame around every block and every section of a table file.
//
//    0  u64  checksum of bytes 8 and up, seeded with checksum_seed(file number, offset in the file)
//    8  u64  stored bytes that follow the header
//   16  u64  raw bytes: of the payload when decompressed
//   24  u32  magic, 0x6B6C6253
//   28  u8   kind (enum section_kind)
//   29  u8   compression (enum compress_method); NONE: raw bytes == stored bytes
//   30  u8   version of the frame, 0
//   31  u8   0
//   32       the stored bytes
//
// An "image" is a header with what follows it, as in the file; a decoded image is the header with
// the raw payload. The payload of a decoded image that is 64-byte aligned begins at byte 32.
#ifndef TABLE_SECTION_H
#define TABLE_SECTION_H

#include "base/buffer.h"
#include "base/compress.h"
#include "os/file.h"

#define SECTION_HEADER_BYTES 32
#define SECTION_MAGIC 0x6B6C6253u
#define SECTION_VERSION 0

// The numbers are in files: never reuse one.
enum section_kind {
    SECTION_BLOCK = 1,
    SECTION_INDEX = 2,
    SECTION_FILTER = 3,
    SECTION_RANGES = 4,
    SECTION_PROPERTIES = 5,
    SECTION_ORDINALS = 6,
};

// Where an image is, for its checksum and for texts.
struct section_place {
    const char *name; // of the file
    uint64_t file;    // its number
    uint64_t offset;
    uint64_t bytes; // of the image in the file, as whoever points to it says
};

// Fills the header of an image whose `stored` bytes are in place.
void section_seal(uint8_t *image, uint64_t stored, uint64_t raw, enum section_kind kind,
                  enum compress_method method, uint64_t seed);

// Is the payload of this image stored as it is? Then the image and the decoded image are one. For a
// decoded image: that of the file.
static inline bool section_is_plain(const uint8_t *image)
{
    return image[29] == COMPRESS_NONE;
}

struct section_header {
    uint64_t raw;
    enum compress_method method;
};

// Checks an image in memory against its place: frame, checksum, kind and the bounds of its sizes.
strata_rc section_check(const uint8_t *image, const struct section_place *place,
                        enum section_kind kind,
                        struct section_header *header_out) STRATA_MUST_CHECK;

// The payload of a checked image into `to`, header.raw bytes.
strata_rc section_unpack(const uint8_t *image, const struct section_place *place,
                         const struct section_header *header, uint8_t *to) STRATA_MUST_CHECK;

// Reads, checks and unpacks a whole section into memory of its own, 64-byte aligned, with at least
// 64 zero bytes behind it; the caller frees *payload_out.
strata_rc section_read(struct os_file *file, const struct section_place *place,
                       enum section_kind kind, uint8_t **payload_out,
                       size_t *bytes_out) STRATA_MUST_CHECK;

#endif
