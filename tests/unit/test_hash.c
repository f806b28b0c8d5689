#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

// Checksums are part of the file format: these values may never change.
static void known_values(void **state)
{
    (void)state;
    assert_true(hash_key(slice_of(NULL, 0)) == UINT64_C(0x2d06800538d394c2));
    assert_true(checksum64(0, "", 0) == UINT64_C(0x2d06800538d394c2));
    assert_true(hash_key(slice_of("strata", 6)) == UINT64_C(0x4b61a1897bfc215f));
    assert_true(checksum64(42, "strata", 6) == UINT64_C(0x6a61050a5f0c94e3));
    assert_true(checksum64_two(42, slice_of("str", 3), slice_of("ata", 3)) ==
                UINT64_C(0xd613fc8ec2ebbcd9));
    assert_true(checksum_seed(1, 2) == UINT64_C(0x1ce80893a5fc4f14));
}

static void the_low_half_is_the_short_checksum(void **state)
{
    (void)state;
    assert_int_equal(checksum32(9, "abc", 3), (uint32_t)checksum64(9, "abc", 3));
}

static void every_bit_of_the_bytes_and_of_the_seed_counts(void **state)
{
    (void)state;
    uint8_t block[300];
    memset(block, 0x5a, sizeof block);
    uint64_t sum = checksum64(1, block, sizeof block);
    for (size_t bit = 0; bit < 8 * sizeof block; bit++) {
        block[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_true(checksum64(1, block, sizeof block) != sum);
        block[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    for (unsigned bit = 0; bit < 64; bit++) {
        assert_true(checksum64(1 ^ (UINT64_C(1) << bit), block, sizeof block) != sum);
    }
    assert_true(checksum64(1, block, sizeof block) == sum);
}

static void both_pieces_and_their_border_count(void **state)
{
    (void)state;
    uint64_t sum = checksum64_two(7, slice_of("header", 6), slice_of("payload", 7));
    assert_true(sum != checksum64_two(8, slice_of("header", 6), slice_of("payload", 7)));
    assert_true(sum != checksum64_two(7, slice_of("Header", 6), slice_of("payload", 7)));
    assert_true(sum != checksum64_two(7, slice_of("header", 6), slice_of("Payload", 7)));
    assert_true(sum != checksum64_two(7, slice_of("headerp", 7), slice_of("ayload", 6)));
    assert_true(sum != checksum64_two(7, slice_of("payload", 7), slice_of("header", 6)));
}

static void seeds_of_neighbouring_places_differ(void **state)
{
    (void)state;
    enum { SIDE = 64 };
    static uint64_t seen[SIDE * SIDE];
    size_t count = 0;
    for (uint64_t file = 0; file < SIDE; file++) {
        for (uint64_t block = 0; block < SIDE; block++) {
            uint64_t seed = checksum_seed(file, block * 4096);
            for (size_t i = 0; i < count; i++) {
                assert_true(seen[i] != seed);
            }
            seen[count++] = seed;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(the_low_half_is_the_short_checksum),
        cmocka_unit_test(every_bit_of_the_bytes_and_of_the_seed_counts),
        cmocka_unit_test(both_pieces_and_their_border_count),
        cmocka_unit_test(seeds_of_neighbouring_places_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
