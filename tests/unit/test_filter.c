#include "unit/table_fixture.h"

#include "table/filter.h"

static uint8_t *filter_of(uint64_t keys, uint32_t bits, uint64_t seed, struct filter *f)
{
    size_t bytes = filter_payload_bytes(keys, bits);
    uint8_t *payload = aligned_alloc(64, bytes);
    uint64_t *hashes = malloc((size_t)(keys + 1) * sizeof *hashes);
    assert_non_null(payload);
    assert_non_null(hashes);
    memset(payload, 0, bytes);
    for (uint64_t i = 0; i < keys; i++) {
        uint64_t key = seed + i;
        hashes[i] = hash_key(slice_of(&key, sizeof key));
    }
    filter_build(payload, hashes, keys, bits);
    assert_int_equal(filter_open(f, slice_of(payload, bytes)), STRATA_OK);
    for (uint64_t i = 0; i < keys; i++) {
        assert_true(filter_may_hold(f, hashes[i]));
    }
    free(hashes);
    return payload;
}

static void keys_are_never_denied_and_few_others_pass(void **state)
{
    (void)state;
    static const struct {
        uint32_t bits;
        uint64_t passes_max; // of 100,000
    } cases[] = {{1, 70000}, {4, 20000}, {8, 3500}, {10, 1500}, {16, 250}, {32, 60}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct filter f;
        uint8_t *payload = filter_of(50000, cases[i].bits, 1, &f);
        uint64_t passes = 0;
        for (uint64_t j = 0; j < 100000; j++) {
            uint64_t key = 1000000000 + j;
            passes += filter_may_hold(&f, hash_key(slice_of(&key, sizeof key)));
        }
        assert_in_range(passes, 0, cases[i].passes_max);
        free(payload);
    }
}

static void small_filters_work(void **state)
{
    (void)state;
    for (uint64_t keys = 1; keys < 130; keys++) {
        struct filter f;
        free(filter_of(keys, 1 + (uint32_t)keys % 20, keys * 1000, &f));
    }
}

static void no_filter_denies_nothing(void **state)
{
    (void)state;
    struct filter f = {0};
    assert_true(filter_may_hold(&f, 5));
}

static void malformed_payload_is_refused(void **state)
{
    (void)state;
    struct filter f;
    uint8_t *payload = filter_of(100, 10, 1, &f);
    size_t bytes = filter_payload_bytes(100, 10);
    assert_int_equal(filter_open(&f, slice_of(payload, bytes - 1)), STRATA_CORRUPT);
    assert_int_equal(filter_open(&f, slice_of(payload, bytes - 64)), STRATA_CORRUPT);
    assert_int_equal(filter_open(&f, slice_of(payload, 10)), STRATA_CORRUPT);
    payload[4] = 9; // probes
    assert_int_equal(filter_open(&f, slice_of(payload, bytes)), STRATA_CORRUPT);
    payload[4] = 0;
    assert_int_equal(filter_open(&f, slice_of(payload, bytes)), STRATA_CORRUPT);
    payload[0] = 1;
    assert_int_equal(filter_open(&f, slice_of(payload, bytes)), STRATA_VERSION);
    free(payload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_never_denied_and_few_others_pass),
        cmocka_unit_test(small_filters_work),
        cmocka_unit_test(no_filter_denies_nothing),
        cmocka_unit_test(malformed_payload_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
