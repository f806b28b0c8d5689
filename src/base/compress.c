#include "base/compress.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"

#include <lz4.h>
#include <stdatomic.h>
#include <zstd.h>

#define ZSTD_LEVEL 3
#define COMPRESS_BYTES_MIN 64 // less is not tried
#define COMPRESSORS_KEPT 4

struct compressor {
    enum compress_method method;
    void *lz4_state;
    ZSTD_CCtx *zstd;
};

strata_rc compressor_new(enum compress_method method, struct compressor **compressor_out)
{
    ASSERT(method < COMPRESS_METHODS);
    struct compressor *c = alloc_zeroed(1, sizeof *c);
    if (c == NULL) {
        return alloc_failed("a compressor", sizeof *c);
    }
    c->method = method;
    if (method == COMPRESS_LZ4) {
        c->lz4_state = alloc_aligned(64, (size_t)LZ4_sizeofState());
    } else if (method == COMPRESS_ZSTD) {
        c->zstd = ZSTD_createCCtx();
    }
    if ((method == COMPRESS_LZ4 && c->lz4_state == NULL) ||
        (method == COMPRESS_ZSTD && c->zstd == NULL)) {
        compressor_free(c);
        return alloc_failed("a compressor", (size_t)LZ4_sizeofState());
    }
    *compressor_out = c;
    return STRATA_OK;
}

void compressor_free(struct compressor *c)
{
    if (c != NULL) {
        free(c->lz4_state);
        ZSTD_freeCCtx(c->zstd);
        free(c);
    }
}

enum compress_method compressor_method(const struct compressor *c)
{
    return c->method;
}

size_t compress_bytes(struct compressor *c, struct slice from, uint8_t *to)
{
    size_t room = compress_room(from.bytes);
    if (from.bytes < COMPRESS_BYTES_MIN || from.bytes > COMPRESS_BYTES_MAX) {
        return 0;
    }
    if (c->method == COMPRESS_LZ4) {
        // 0 when it does not fit.
        int bytes = LZ4_compress_fast_extState(c->lz4_state, (const char *)from.data, (char *)to,
                                               (int)from.bytes, (int)room, 1);
        return bytes > 0 ? (size_t)bytes : 0;
    }
    if (c->method == COMPRESS_ZSTD) {
        size_t bytes = ZSTD_compressCCtx(c->zstd, to, room, from.data, from.bytes, ZSTD_LEVEL);
        return ZSTD_isError(bytes) ? 0 : bytes;
    }
    return 0;
}

static _Atomic(struct compressor *) compressors[COMPRESS_METHODS][COMPRESSORS_KEPT];

static struct compressor *compressor_take(enum compress_method method)
{
    struct compressor *c = NULL;
    for (int i = 0; i < COMPRESSORS_KEPT && c == NULL; i++) {
        // Acquire pairs with the release exchange in compressor_give.
        c = atomic_exchange_explicit(&compressors[method][i], NULL, memory_order_acquire);
    }
    if (c == NULL && compressor_new(method, &c) != STRATA_OK) {
        return NULL;
    }
    return c;
}

static void compressor_give(struct compressor *c)
{
    enum compress_method method = c->method;
    for (int i = 0; i < COMPRESSORS_KEPT && c != NULL; i++) {
        c = atomic_exchange_explicit(&compressors[method][i], c, memory_order_acq_rel);
    }
    compressor_free(c);
}

size_t compress_shared(enum compress_method method, struct slice from, uint8_t *to)
{
    ASSERT(method < COMPRESS_METHODS);
    if (method == COMPRESS_NONE || from.bytes < COMPRESS_BYTES_MIN ||
        from.bytes > COMPRESS_BYTES_MAX) {
        return 0;
    }
    struct compressor *c = compressor_take(method);
    if (c == NULL) {
        return 0;
    }
    size_t bytes = compress_bytes(c, from, to);
    compressor_give(c);
    return bytes;
}

// A decompression context costs some 160 KiB to make: a few are kept for whoever comes next.
#define CONTEXTS_KEPT 8
static _Atomic(ZSTD_DCtx *) contexts[CONTEXTS_KEPT];

static ZSTD_DCtx *context_take(void)
{
    for (int i = 0; i < CONTEXTS_KEPT; i++) {
        // Acquire pairs with the release exchange in context_give.
        ZSTD_DCtx *d = atomic_exchange_explicit(&contexts[i], NULL, memory_order_acquire);
        if (d != NULL) {
            return d;
        }
    }
    return ZSTD_createDCtx();
}

static void context_give(ZSTD_DCtx *d)
{
    for (int i = 0; i < CONTEXTS_KEPT && d != NULL; i++) {
        d = atomic_exchange_explicit(&contexts[i], d, memory_order_acq_rel);
    }
    ZSTD_freeDCtx(d);
}

strata_rc decompress_bytes(enum compress_method method, struct slice from, uint8_t *to,
                           size_t bytes)
{
    if (bytes > COMPRESS_BYTES_MAX || from.bytes > COMPRESS_BYTES_MAX) {
        return fail(STRATA_CORRUPT, "%zu bytes compressed to %zu: more than is ever compressed",
                    bytes, from.bytes);
    }
    if (method == COMPRESS_LZ4) {
        int got =
            LZ4_decompress_safe((const char *)from.data, (char *)to, (int)from.bytes, (int)bytes);
        if (got < 0 || (size_t)got != bytes) {
            return fail(STRATA_CORRUPT, "LZ4 gave %d, expected %zu bytes", got, bytes);
        }
        return STRATA_OK;
    }
    if (method != COMPRESS_ZSTD) {
        return fail(STRATA_CORRUPT, "unknown compression %d", (int)method);
    }
    ZSTD_DCtx *d = context_take();
    if (d == NULL) {
        return alloc_failed("a Zstandard context", 0);
    }
    size_t got = ZSTD_decompressDCtx(d, to, bytes, from.data, from.bytes);
    context_give(d);
    if (ZSTD_isError(got)) {
        return fail(STRATA_CORRUPT, "Zstandard: %s", ZSTD_getErrorName(got));
    }
    return got == bytes
               ? STRATA_OK
               : fail(STRATA_CORRUPT, "Zstandard gave %zu bytes, expected %zu", got, bytes);
}
