#include "base/compress.h"

#include "base/prng.h"
#include "lib/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BYTES ((size_t)300000)

// `bytes` bytes of which `random` in 8 cannot be foreseen.
static void fill(uint8_t *to, size_t bytes, unsigned random)
{
    struct prng rng = {bytes + random};
    for (size_t i = 0; i < bytes; i++) {
        to[i] = i % 8 < random ? (uint8_t)prng_next(&rng) : 7;
    }
}

static void what_shrinks_comes_back_and_the_rest_is_left(void **state)
{
    (void)state;
    static uint8_t from[BYTES], to[BYTES], back[BYTES];
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 65536, BYTES};
    for (int method = COMPRESS_NONE; method < COMPRESS_METHODS; method++) {
        struct compressor *own;
        assert_int_equal(compressor_new((enum compress_method)method, &own), STRATA_OK);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            for (unsigned random = 0; random <= 8; random += 4) {
                struct slice raw = slice_of(from, sizes[i]);
                fill(from, raw.bytes, random);
                size_t bytes = compress_shared((enum compress_method)method, raw, to);
                assert_int_equal(bytes, compress_bytes(own, raw, back));
                bool shrinks = method != COMPRESS_NONE && raw.bytes >= 4096 && random < 8;
                assert_true(!shrinks || bytes > 0);
                assert_true(bytes <= compress_room(raw.bytes));
                assert_true(bytes == 0 || (method != COMPRESS_NONE && raw.bytes >= 64));
                if (bytes > 0) {
                    struct slice stored = slice_of(to, bytes);
                    enum compress_method m = (enum compress_method)method;
                    assert_int_equal(decompress_bytes(m, stored, back, raw.bytes), STRATA_OK);
                    assert_memory_equal(back, from, raw.bytes);
                    assert_int_equal(decompress_bytes(m, stored, back, raw.bytes - 1),
                                     STRATA_CORRUPT);
                    stored.bytes--;
                    assert_int_equal(decompress_bytes(m, stored, back, raw.bytes), STRATA_CORRUPT);
                }
            }
        }
        compressor_free(own);
    }
}

static void unknown_methods_and_sizes_are_corrupt(void **state)
{
    (void)state;
    uint8_t bytes[8] = {0};
    assert_int_equal(decompress_bytes(COMPRESS_METHODS, slice_of(bytes, 8), bytes, 8),
                     STRATA_CORRUPT);
    assert_int_equal(decompress_bytes(COMPRESS_NONE, slice_of(bytes, 8), bytes, 8), STRATA_CORRUPT);
    assert_int_equal(
        decompress_bytes(COMPRESS_LZ4, slice_of(bytes, 8), bytes, COMPRESS_BYTES_MAX + 1),
        STRATA_CORRUPT);
}

static void without_memory_nothing_is_compressed(void **state)
{
    (void)state;
    static uint8_t from[4096], to[4096];
    fill(from, sizeof from, 1);
    // A compressor that is kept needs none: the first use is here, before the others.
    alloc_fault_arm(0, UINT64_MAX);
    size_t bytes = compress_shared(COMPRESS_LZ4, slice_of(from, sizeof from), to);
    assert_true(alloc_fault_disarm() > 0);
    assert_int_equal(bytes, 0);
    assert_true(compress_shared(COMPRESS_LZ4, slice_of(from, sizeof from), to) > 0);
    alloc_fault_arm(0, UINT64_MAX);
    bytes = compress_shared(COMPRESS_LZ4, slice_of(from, sizeof from), to);
    assert_int_equal(alloc_fault_disarm(), 0);
    assert_true(bytes > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory_nothing_is_compressed),
        cmocka_unit_test(what_shrinks_comes_back_and_the_rest_is_left),
        cmocka_unit_test(unknown_methods_and_sizes_are_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
