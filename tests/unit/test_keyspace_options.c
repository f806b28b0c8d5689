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
        assert_int_equal(o.separation, STRATA_SEPARATION_ON);
        assert_int_equal(o.separate_bytes, 2048);
        assert_int_equal(o.value_compression, STRATA_COMPRESSION_NONE);
        assert_int_equal(o.retention, STRATA_RETENTION_ALL);
        assert_int_equal(o.retention_versions, 1);
        assert_int_equal(o.retention_seconds, 86400);
        assert_int_equal(o.expire_seconds, 0);
        assert_int_equal(o.space_bound_percent, 150);
    }
}

static void values_out_of_range_are_invalid(void **state)
{
    (void)state;
    strata_keyspace_options o;
    strata_keyspace_options bad[19];
    for (size_t i = 0; i < 19; i++) {
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
    bad[12].separation = (strata_separation)3;
    bad[13].separate_bytes = 63;
    bad[14].separate_bytes = (1u << 20) + 1;
    bad[15].value_compression = (strata_compression)4;
    bad[16].retention = (strata_retention)5;
    bad[17].space_bound_percent = 109;
    bad[18].space_bound_percent = 1001;
    for (size_t i = 0; i < 19; i++) {
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
    assert_int_equal(o.separate_bytes, 2048);
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
        .separation = STRATA_SEPARATION_OFF,
        .separate_bytes = 1u << 20,
        .value_compression = STRATA_COMPRESSION_LZ4,
        .retention = STRATA_RETENTION_AGE,
        .retention_versions = UINT32_MAX,
        .retention_seconds = 77,
        .expire_seconds = UINT32_MAX - 1,
        .space_bound_percent = 1000,
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
    assert_int_equal(back.separation, STRATA_SEPARATION_OFF);
    assert_int_equal(back.separate_bytes, 1u << 20);
    assert_int_equal(back.value_compression, STRATA_COMPRESSION_LZ4);
    assert_int_equal(back.retention, STRATA_RETENTION_AGE);
    assert_int_equal(back.retention_versions, UINT32_MAX);
    assert_int_equal(back.retention_seconds, 77);
    assert_int_equal(back.expire_seconds, UINT32_MAX - 1);
    assert_int_equal(back.space_bound_percent, 1000);
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

static void expect_same(const strata_keyspace_options *a, const strata_keyspace_options *b)
{
    struct buffer x = {0}, y = {0};
    assert_int_equal(keyspace_options_encode(a, &x), STRATA_OK);
    assert_int_equal(keyspace_options_encode(b, &y), STRATA_OK);
    assert_true(slice_equal(buffer_slice(&x), buffer_slice(&y)));
    buffer_release(&x);
    buffer_release(&y);
}

static void an_alteration_changes_what_it_names(void **state)
{
    (void)state;
    strata_keyspace_options from, to;
    strata_keyspace_options given = STRATA_KEYSPACE_OPTIONS_INIT;
    given.size_ratio = 5;
    given.retention = STRATA_RETENTION_NONE;
    given.expire_seconds = 60;
    assert_int_equal(keyspace_options_resolve(&given, &from), STRATA_OK);
    strata_keyspace_options change = STRATA_KEYSPACE_OPTIONS_INIT;
    assert_int_equal(keyspace_options_alter(&from, &change, &to), STRATA_OK);
    expect_same(&from, &to);
    change.retention = STRATA_RETENTION_VERSIONS;
    change.retention_versions = 3;
    change.separate_bytes = 64;
    assert_int_equal(keyspace_options_alter(&from, &change, &to), STRATA_OK);
    assert_int_equal(to.retention, STRATA_RETENTION_VERSIONS);
    assert_int_equal(to.retention_versions, 3);
    assert_int_equal(to.separate_bytes, 64);
    assert_int_equal(to.size_ratio, 5);
    assert_int_equal(to.expire_seconds, 60);
    change.expire_seconds = STRATA_NEVER_SECONDS;
    assert_int_equal(keyspace_options_alter(&from, &change, &to), STRATA_OK);
    assert_int_equal(to.expire_seconds, 0);
    // A shorter struct of an older caller: what lies behind is not looked at.
    change.struct_bytes = offsetof(strata_keyspace_options, separation);
    assert_int_equal(keyspace_options_alter(&from, &change, &to), STRATA_OK);
    expect_same(&from, &to);
}

static void an_alteration_of_what_is_fixed_is_invalid(void **state)
{
    (void)state;
    strata_keyspace_options from, to;
    assert_int_equal(keyspace_options_resolve(NULL, &from), STRATA_OK);
    strata_keyspace_options bad[10];
    for (size_t i = 0; i < 10; i++) {
        bad[i] = (strata_keyspace_options)STRATA_KEYSPACE_OPTIONS_INIT;
    }
    bad[0].shape = STRATA_SHAPE_LAZY;
    bad[1].compression = STRATA_COMPRESSION_NONE;
    bad[2].filter_bits = 10;
    bad[3].filter_off = true;
    bad[4].block_bytes = 4096;
    bad[5].history_block_bytes = 32768;
    bad[6].level0_runs_max = 20;
    bad[7].size_ratio = 8;
    bad[8].separate_bytes = 63;
    bad[9].space_bound_percent = 1001;
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(keyspace_options_alter(&from, &bad[i], &to), STRATA_INVALID);
    }
}

static void a_keyspace_that_never_expires_may_be_created_so(void **state)
{
    (void)state;
    strata_keyspace_options o;
    strata_keyspace_options given = STRATA_KEYSPACE_OPTIONS_INIT;
    given.expire_seconds = STRATA_NEVER_SECONDS;
    assert_int_equal(keyspace_options_resolve(&given, &o), STRATA_OK);
    assert_int_equal(o.expire_seconds, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeros_become_defaults),
        cmocka_unit_test(values_out_of_range_are_invalid),
        cmocka_unit_test(a_shorter_struct_of_an_older_caller_is_accepted),
        cmocka_unit_test(options_come_back_as_they_were),
        cmocka_unit_test(unknown_options_are_refused_only_when_required),
        cmocka_unit_test(an_alteration_changes_what_it_names),
        cmocka_unit_test(an_alteration_of_what_is_fixed_is_invalid),
        cmocka_unit_test(a_keyspace_that_never_expires_may_be_created_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
