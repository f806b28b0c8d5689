// Compression of blocks, sections and separated values: LZ4 and Zstandard.
//
// Thread rule: a compressor belongs to one thread at a time; compress_shared and decompress_bytes
// may be called from any.
#ifndef BASE_COMPRESS_H
#define BASE_COMPRESS_H

#include "base/slice.h"
#include "strata.h"

// The numbers are in files: never reuse one.
enum compress_method { COMPRESS_NONE = 0, COMPRESS_LZ4 = 1, COMPRESS_ZSTD = 2, COMPRESS_METHODS };

// More than this is stored as it is: it bounds what a reader of damaged bytes allocates.
#define COMPRESS_BYTES_MAX (UINT64_C(64) << 20)

struct compressor;

strata_rc compressor_new(enum compress_method method,
                         struct compressor **compressor_out) STRATA_MUST_CHECK;
void compressor_free(struct compressor *c); // NULL is ignored
enum compress_method compressor_method(const struct compressor *c);

// Room that compress_bytes needs at most for `bytes` bytes: it gives up when it does not save an
// eighth.
static inline size_t compress_room(size_t bytes)
{
    return bytes - bytes / 8;
}

// Compresses into `to`, which has compress_room(from.bytes) bytes. Returns the bytes written, or 0:
// store it as it is.
size_t compress_bytes(struct compressor *c, struct slice from, uint8_t *to);
// The same without a compressor of one's own, from any thread: a few are kept for whoever comes
// next. Without memory for another one the answer is 0.
size_t compress_shared(enum compress_method method, struct slice from, uint8_t *to);

// Fills exactly `bytes` bytes at `to`. STRATA_CORRUPT when the input does not give exactly those.
strata_rc decompress_bytes(enum compress_method method, struct slice from, uint8_t *to,
                           size_t bytes) STRATA_MUST_CHECK;

#endif
