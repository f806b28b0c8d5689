#include "kv/value_ref.h"

#include "base/prng.h"
#include "base/varint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void references_round_trip_and_every_cut_is_refused(void **state)
{
    (void)state;
    struct prng rng = {3};
    for (int i = 0; i < 20000; i++) {
        struct kv_value_ref ref = {
            .file = (prng_next(&rng) >> prng_below(&rng, 64)) | 1,
            .ordinal = (uint32_t)prng_next(&rng) >> (1 + prng_below(&rng, 30)),
            .bytes = ((uint32_t)prng_next(&rng) >> prng_below(&rng, 32)) | 1,
        };
        uint8_t raw[KV_VALUE_REF_BYTES_MAX + 1];
        struct kv_value_ref back;
        uint32_t bytes = kv_value_ref_encode(&ref, raw);
        assert_true(bytes <= KV_VALUE_REF_BYTES_MAX);
        assert_int_equal(kv_value_ref_decode(slice_of(raw, bytes), &back), STRATA_OK);
        assert_true(back.file == ref.file);
        assert_int_equal(back.ordinal, ref.ordinal);
        assert_int_equal(back.bytes, ref.bytes);
        for (uint32_t cut = 0; cut < bytes; cut++) {
            assert_int_equal(kv_value_ref_decode(slice_of(raw, cut), &back), STRATA_CORRUPT);
        }
        raw[bytes] = 0;
        assert_int_equal(kv_value_ref_decode(slice_of(raw, bytes + 1), &back), STRATA_CORRUPT);
    }
}

static void the_longest_reference_fits(void **state)
{
    (void)state;
    uint8_t raw[64];
    struct kv_value_ref ref = {UINT64_MAX, UINT32_MAX, UINT32_MAX};
    assert_true(kv_value_ref_encode(&ref, raw) <= KV_VALUE_REF_BYTES_MAX);
}

static strata_rc decode_numbers(uint64_t file, uint64_t ordinal, uint64_t bytes)
{
    uint8_t raw[3 * VARINT_BYTES_MAX];
    struct kv_value_ref ref;
    uint8_t *end = varint_encode(varint_encode(varint_encode(raw, file), ordinal), bytes);
    return kv_value_ref_decode(slice_of(raw, (size_t)(end - raw)), &ref);
}

static void numbers_that_cannot_be_are_refused(void **state)
{
    (void)state;
    assert_int_equal(decode_numbers(1, 0, 1), STRATA_OK);
    assert_int_equal(decode_numbers(0, 0, 1), STRATA_CORRUPT);
    assert_int_equal(decode_numbers(1, 0, 0), STRATA_CORRUPT);
    assert_int_equal(decode_numbers(1, 0, UINT32_MAX), STRATA_OK);
    assert_int_equal(decode_numbers(1, 0, (uint64_t)UINT32_MAX + 1), STRATA_CORRUPT);
    assert_int_equal(decode_numbers(1, UINT64_MAX, 1), STRATA_CORRUPT);
    assert_int_equal(decode_numbers(1, (uint64_t)UINT32_MAX + 1, 1), STRATA_CORRUPT);
    // The ordinals of all its chunks must be ordinals.
    assert_int_equal(decode_numbers(1, UINT32_MAX - 1, 1), STRATA_OK);
    assert_int_equal(decode_numbers(1, UINT32_MAX, 1), STRATA_CORRUPT);
    assert_int_equal(decode_numbers(1, UINT32_MAX - 1, KV_VALUE_CHUNK_BYTES + 1), STRATA_CORRUPT);
}

static void a_value_has_a_chunk_for_each_mib_begun(void **state)
{
    (void)state;
    assert_int_equal(kv_value_chunks(1), 1);
    assert_int_equal(kv_value_chunks(KV_VALUE_CHUNK_BYTES), 1);
    assert_int_equal(kv_value_chunks(KV_VALUE_CHUNK_BYTES + 1), 2);
    assert_int_equal(kv_value_chunks(UINT32_MAX), 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references_round_trip_and_every_cut_is_refused),
        cmocka_unit_test(the_longest_reference_fits),
        cmocka_unit_test(numbers_that_cannot_be_are_refused),
        cmocka_unit_test(a_value_has_a_chunk_for_each_mib_begun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
