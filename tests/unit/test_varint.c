#include "base/varint.h"

#include "base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void assert_round_trip(uint64_t v)
{
    uint8_t raw[VARINT_BYTES_MAX];
    uint8_t *end = varint_encode(raw, v);
    uint64_t back = ~v;
    assert_int_equal((size_t)(end - raw), varint_bytes(v));
    assert_ptr_equal(varint_decode(raw, end, &back), end);
    assert_int_equal(back, v);
    for (const uint8_t *cut = raw; cut < end; cut++) {
        assert_null(varint_decode(raw, cut, &back));
    }
}

static void every_length_round_trips_and_every_cut_is_refused(void **state)
{
    (void)state;
    struct prng random = {7};
    for (unsigned bits = 0; bits < 64; bits++) {
        uint64_t power = UINT64_C(1) << bits;
        assert_round_trip(power);
        assert_round_trip(power - 1);
        assert_round_trip(power | prng_below(&random, power));
    }
    assert_round_trip(UINT64_MAX);
}

static void known_bytes(void **state)
{
    (void)state;
    uint8_t raw[VARINT_BYTES_MAX];
    assert_int_equal(varint_encode(raw, 300) - raw, 2);
    assert_int_equal(raw[0], 0xac);
    assert_int_equal(raw[1], 0x02);
    assert_int_equal(varint_bytes(0), 1);
    assert_int_equal(varint_bytes(127), 1);
    assert_int_equal(varint_bytes(128), 2);
    assert_int_equal(varint_bytes(UINT64_MAX), VARINT_BYTES_MAX);
}

static void longer_form_than_needed_is_refused(void **state)
{
    (void)state;
    const uint8_t padded_zero[] = {0x80, 0x00};
    const uint8_t padded_one[] = {0x81, 0x80, 0x00};
    uint64_t v;
    assert_null(varint_decode(padded_zero, padded_zero + sizeof padded_zero, &v));
    assert_null(varint_decode(padded_one, padded_one + sizeof padded_one, &v));
}

static void more_than_64_bits_is_refused(void **state)
{
    (void)state;
    uint8_t raw[12];
    uint64_t v;
    memset(raw, 0xff, sizeof raw);
    assert_null(varint_decode(raw, raw + sizeof raw, &v)); // never ends
    raw[9] = 0x02;                                         // bit 64
    assert_null(varint_decode(raw, raw + sizeof raw, &v));
    raw[9] = 0x81; // an eleventh byte
    raw[10] = 0x01;
    assert_null(varint_decode(raw, raw + sizeof raw, &v));
    raw[9] = 0x01;
    assert_ptr_equal(varint_decode(raw, raw + sizeof raw, &v), raw + 10);
    assert_int_equal(v, UINT64_MAX);
}

static void bytes_behind_the_number_are_left_alone(void **state)
{
    (void)state;
    const uint8_t raw[] = {0x05, 0xff};
    uint64_t v;
    assert_ptr_equal(varint_decode(raw, raw + 2, &v), raw + 1);
    assert_int_equal(v, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_round_trips_and_every_cut_is_refused),
        cmocka_unit_test(known_bytes),
        cmocka_unit_test(longer_form_than_needed_is_refused),
        cmocka_unit_test(more_than_64_bits_is_refused),
        cmocka_unit_test(bytes_behind_the_number_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
