#include "shape/shape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void upper_levels_get_more(void **state)
{
    (void)state;
    // 4.33 bits a level at a ratio of 8, up to 20.
    assert_int_equal(shape_filter_bits(10, 3, 4, 8), 9);
    assert_int_equal(shape_filter_bits(10, 2, 4, 8), 14);
    assert_int_equal(shape_filter_bits(10, 1, 4, 8), 18);
    assert_int_equal(shape_filter_bits(10, 0, 4, 8), 20);
}

static void one_level_gets_what_was_asked_for(void **state)
{
    (void)state;
    for (uint32_t bits = 1; bits <= 32; bits++) {
        assert_int_equal(shape_filter_bits(bits, 0, 1, 8), bits);
    }
    assert_int_equal(shape_filter_bits(10, 0, 0, 8), 10);
}

static void no_filter_stays_none(void **state)
{
    (void)state;
    assert_int_equal(shape_filter_bits(0, 0, 4, 8), 0);
}

static void the_average_over_keys_is_kept(void **state)
{
    (void)state;
    for (uint32_t ratio = 2; ratio <= 64; ratio *= 2) {
        double bits = 0, keys = 0, here = 1;
        for (uint32_t level = 0; level < 4; level++, here *= ratio) {
            bits += here * shape_filter_bits(8, level, 4, ratio);
            keys += here;
        }
        assert_true(bits / keys > 7.4 && bits / keys < 8.6);
    }
}

static void a_level_below_the_known_ones_counts_as_the_last(void **state)
{
    (void)state;
    assert_int_equal(shape_filter_bits(10, 9, 3, 8), shape_filter_bits(10, 2, 3, 8));
    assert_true(shape_filter_bits(1, 2, 3, 64) >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(upper_levels_get_more),
        cmocka_unit_test(one_level_gets_what_was_asked_for),
        cmocka_unit_test(no_filter_stays_none),
        cmocka_unit_test(the_average_over_keys_is_kept),
        cmocka_unit_test(a_level_below_the_known_ones_counts_as_the_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
