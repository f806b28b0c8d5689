#include "manifest/manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void zeros_become_defaults(void **state)
{
    (void)state;
    strata_keyspace_options o;
    strata_keyspace_options given = STRATA_KEYSPACE_OPTIONS_INIT;
    for (int null = 0; null < 2; null++) {
        assert_int_equal(keyspace_options_resolve(null ? NULL : &given, &o), STRATA_OK);
        assert_int_equal(o.struct_bytes, sizeof o);
        assert_int_equal(o.shape, STRATA_SHAPE_LAZY);
        assert_int_equal(o.compression, STRATA_COMPRESSION_DEFAULT);
        assert_int_equal(o.filter_bits, 10);
        assert_false(o.filter_off);
        assert_int_equal(o.block_bytes, 4096);
        assert_int_equal(o.history_block_bytes, 32768);
        assert_int_equal(o.level0_runs_max, 20);
        assert_int_equal(o.size_ratio, 8);
    }
}

static void values_out_of_range_are_invalid(void **state)
{
    (void)state;
    strata_keyspace_options o;
    strata_keyspace_options bad[12];
    for (size_t i = 0; i < 12; i++) {
        bad[i] = (strata_keyspace_options)STRATA_KEYSPACE_OPTIONS_INIT;
    }
    bad[0].shape = (strata_shape)3;
    bad[1].compression = (strata_compression)4;
    bad[2].filter_bits = 33;
    bad[3].block_bytes = 1023;
    bad[4].block_bytes = 65537;
    bad[5].history_block_bytes = 262145;
    bad[6].level0_runs_max = 3;
    bad[7].level0_runs_max = 257;
    bad[8].size_ratio = 1;
    bad[9].size_ratio = 65;
    bad[10].struct_bytes = 0;
    bad[11].struct_bytes = sizeof o + 8;
    for (size_t i = 0; i < 12; i++) {
        assert_int_equal(keyspace_options_resolve(&bad[i], &o), STRATA_INVALID);
    }
}

static void a_shorter_struct_of_an_older_caller_is_accepted(void **state)
{
    (void)state;
    strata_keyspace_options o;
    strata_keyspace_options given = STRATA_KEYSPACE_OPTIONS_INIT;
    given.size_ratio = 99; // lies behind what the caller's struct has
    given.struct_bytes = offsetof(strata_keyspace_options, size_ratio);
    assert_int_equal(keyspace_options_resolve(&given, &o), STRATA_OK);
    assert_int_equal(o.size_ratio, 8);
}

static void options_come_back_as_they_were(void **state)
{
    (void)state;
    strata_keyspace_options o, back;
    strata_keyspace_options given = {
        .struct_bytes = sizeof given,
        .shape = STRATA_SHAPE_LEVELED,
        .compression = STRATA_COMPRESSION_ZSTD,
        .filter_bits = 32,
        .filter_off = true,
        .block_bytes = 65536,
        .history_block_bytes = 1024,
        .level0_runs_max = 256,
        .size_ratio = 2,
    };
    struct buffer bytes = {0};
    assert_int_equal(keyspace_options_resolve(&given, &o), STRATA_OK);
    assert_int_equal(keyspace_options_encode(&o, &bytes), STRATA_OK);
    assert_int_equal(keyspace_options_decode(buffer_slice(&bytes), &back), STRATA_OK);
    assert_int_equal(back.shape, STRATA_SHAPE_LEVELED);
    assert_int_equal(back.compression, STRATA_COMPRESSION_ZSTD);
    assert_int_equal(back.filter_bits, 32);
    assert_true(back.filter_off);
    assert_int_equal(back.block_bytes, 65536);
    assert_int_equal(back.history_block_bytes, 1024);
    assert_int_equal(back.level0_runs_max, 256);
    assert_int_equal(back.size_ratio, 2);
    // Cut anywhere inside a field it is damage.
    for (size_t cut = 1; cut < bytes.bytes; cut++) {
        strata_rc rc = keyspace_options_decode(slice_of(bytes.data, cut), &back);
        assert_true(rc == STRATA_OK || rc == STRATA_CORRUPT);
    }
    assert_int_equal(keyspace_options_decode(slice_of(bytes.data, 1), &back), STRATA_CORRUPT);
    buffer_release(&bytes);
}

static void unknown_options_are_refused_only_when_required(void **state)
{
    (void)state;
    strata_keyspace_options o;
    assert_int_equal(keyspace_options_decode(slice_of("\x50\x05", 2), &o), STRATA_OK);
    assert_int_equal(o.size_ratio, 8);
    assert_int_equal(keyspace_options_decode(slice_of("\x51\x05", 2), &o), STRATA_VERSION);
    assert_int_equal(keyspace_options_decode(slice_of("\x11\x41", 2), &o), STRATA_CORRUPT);
    assert_int_equal(keyspace_options_decode(slice_of("\x11\x04\x11\x04", 4), &o), STRATA_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeros_become_defaults),
        cmocka_unit_test(values_out_of_range_are_invalid),
        cmocka_unit_test(a_shorter_struct_of_an_older_caller_is_accepted),
        cmocka_unit_test(options_come_back_as_they_were),
        cmocka_unit_test(unknown_options_are_refused_only_when_required),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
