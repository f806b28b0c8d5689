#include "base/reader.h"

#include "base/buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void every_field_is_read_back_in_order(void **state)
{
    (void)state;
    struct buffer b = {0};
    assert_int_equal(buffer_append_u8(&b, 0xa5), STRATA_OK);
    assert_int_equal(buffer_append_u32(&b, 0x01020304), STRATA_OK);
    assert_int_equal(buffer_append_u64(&b, UINT64_MAX - 1), STRATA_OK);
    assert_int_equal(buffer_append_varint(&b, 1u << 20), STRATA_OK);
    assert_int_equal(buffer_append_prefixed(&b, slice_of("key", 3)), STRATA_OK);
    assert_int_equal(buffer_append(&b, "\x34\x12", 2), STRATA_OK);

    struct reader r = reader_of(buffer_slice(&b));
    assert_int_equal(reader_u8(&r), 0xa5);
    assert_int_equal(reader_u32(&r), 0x01020304);
    assert_true(reader_u64(&r) == UINT64_MAX - 1);
    assert_int_equal(reader_varint(&r), 1u << 20);
    assert_true(slice_equal(reader_prefixed(&r), slice_of("key", 3)));
    assert_int_equal(reader_u16(&r), 0x1234);
    assert_int_equal(reader_left(&r), 0);
    assert_false(r.bad);
    buffer_release(&b);
}

static void numbers_are_little_endian(void **state)
{
    (void)state;
    const uint8_t raw[] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct reader r = reader_of(slice_of(raw, sizeof raw));
    assert_true(reader_u64(&r) == UINT64_C(0x0807060504030201));
}

static void a_read_past_the_end_is_bad_and_gives_zero(void **state)
{
    (void)state;
    const uint8_t raw[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    struct reader r = reader_of(slice_of(raw, 1));
    assert_int_equal(reader_u16(&r), 0);
    assert_true(r.bad);
    r = reader_of(slice_of(raw, 3));
    assert_int_equal(reader_u32(&r), 0);
    assert_true(r.bad);
    r = reader_of(slice_of(raw, 7));
    assert_int_equal(reader_u64(&r), 0);
    assert_true(r.bad);
    r = reader_of(slice_of(raw, 0));
    assert_int_equal(reader_u8(&r), 0);
    assert_true(r.bad);
    r = reader_of(slice_of(raw, 7)); // a varint that never ends
    assert_int_equal(reader_varint(&r), 0);
    assert_true(r.bad);
}

static void bad_stays_bad_though_bytes_are_left(void **state)
{
    (void)state;
    const uint8_t raw[] = {1, 2, 3};
    struct reader r = reader_of(slice_of(raw, sizeof raw));
    assert_int_equal(reader_u32(&r), 0);
    assert_int_equal(reader_u8(&r), 0);
    assert_int_equal(reader_varint(&r), 0);
    assert_int_equal(reader_bytes(&r, 0).bytes, 0);
    assert_null(reader_bytes(&r, 1).data);
    assert_true(r.bad);
}

static void a_length_beyond_the_end_is_bad_whatever_its_size(void **state)
{
    (void)state;
    const uint64_t lengths[] = {3, 4, UINT32_MAX, INT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct buffer b = {0};
        assert_int_equal(buffer_append_varint(&b, lengths[i]), STRATA_OK);
        assert_int_equal(buffer_append(&b, "ab", 2), STRATA_OK);
        struct reader r = reader_of(buffer_slice(&b));
        struct slice s = reader_prefixed(&r);
        assert_true(r.bad);
        assert_null(s.data);
        assert_int_equal(s.bytes, 0);
        buffer_release(&b);
    }
}

static void an_empty_piece_is_not_bad(void **state)
{
    (void)state;
    struct reader r = reader_of(slice_of("\0", 1));
    struct slice s = reader_prefixed(&r);
    assert_false(r.bad);
    assert_int_equal(s.bytes, 0);
}

static void nothing_at_all_can_be_read_from(void **state)
{
    (void)state;
    struct reader r = reader_of(slice_of(NULL, 0));
    assert_int_equal(reader_left(&r), 0);
    assert_int_equal(reader_bytes(&r, 0).bytes, 0);
    assert_false(r.bad);
    assert_int_equal(reader_u8(&r), 0);
    assert_true(r.bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_is_read_back_in_order),
        cmocka_unit_test(numbers_are_little_endian),
        cmocka_unit_test(a_read_past_the_end_is_bad_and_gives_zero),
        cmocka_unit_test(bad_stays_bad_though_bytes_are_left),
        cmocka_unit_test(a_length_beyond_the_end_is_bad_whatever_its_size),
        cmocka_unit_test(an_empty_piece_is_not_bad),
        cmocka_unit_test(nothing_at_all_can_be_read_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
