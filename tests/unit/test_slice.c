#include "base/slice.h"

#include "base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct slice text(const char *s)
{
    return slice_of(s, strlen(s));
}

static void order_is_bytewise_and_unsigned(void **state)
{
    (void)state;
    assert_true(slice_compare(text("a"), text("b")) < 0);
    assert_true(slice_compare(text("b"), text("a")) > 0);
    assert_true(slice_compare(text("a"), text("a")) == 0);
    assert_true(slice_compare(text("\x7f"), text("\x80")) < 0);
    assert_true(slice_compare(text("\xff"), text("a")) > 0);
}

static void a_prefix_is_before_what_it_is_a_prefix_of(void **state)
{
    (void)state;
    assert_true(slice_compare(text("ab"), text("abc")) < 0);
    assert_true(slice_compare(text("abc"), text("ab")) > 0);
    assert_true(slice_compare(slice_of("ab\0", 3), text("ab")) > 0);
    assert_true(slice_compare(slice_of(NULL, 0), text("a")) < 0);
    assert_true(slice_compare(slice_of(NULL, 0), slice_of("", 0)) == 0);
}

static void equality_looks_at_length_and_bytes(void **state)
{
    (void)state;
    assert_true(slice_equal(text("key"), text("key")));
    assert_false(slice_equal(text("key"), text("kez")));
    assert_false(slice_equal(text("key"), text("ke")));
    assert_true(slice_equal(slice_of(NULL, 0), slice_of("x", 0)));
}

static void shared_bytes_end_at_the_first_difference_or_end(void **state)
{
    (void)state;
    assert_int_equal(slice_shared(text("abcd"), text("abxd")), 2);
    assert_int_equal(slice_shared(text("abc"), text("abcd")), 3);
    assert_int_equal(slice_shared(text("abc"), text("xbc")), 0);
    assert_int_equal(slice_shared(text("same"), text("same")), 4);
    assert_int_equal(slice_shared(slice_of(NULL, 0), text("a")), 0);
}

static void a_head_is_big_endian_and_padded_with_zeros(void **state)
{
    (void)state;
    assert_true(slice_head(text("abcdefghij"), 0) == UINT64_C(0x6162636465666768));
    assert_true(slice_head(text("abcdefghij"), 2) == UINT64_C(0x636465666768696a));
    assert_true(slice_head(text("abcdefghij"), 3) == UINT64_C(0x6465666768696a00));
    assert_true(slice_head(text("ab"), 0) == UINT64_C(0x6162000000000000));
    assert_true(slice_head(text("ab"), 2) == 0);
    assert_true(slice_head(text("ab"), 9) == 0);
}

// A small alphabet of zeros and ones makes prefixes, ties and padding common.
static struct slice random_key(struct prng *p, uint8_t *room, size_t skip)
{
    size_t bytes = skip + prng_below(p, 12);
    memset(room, 7, skip);
    for (size_t i = skip; i < bytes; i++) {
        room[i] = (uint8_t)prng_below(p, 2);
    }
    return slice_of(room, bytes);
}

static void heads_never_contradict_the_order(void **state)
{
    (void)state;
    struct prng p = {3};
    uint8_t room[2][32];
    for (int i = 0; i < 100000; i++) {
        size_t skip = prng_below(&p, 4);
        struct slice a = random_key(&p, room[0], skip);
        struct slice b = random_key(&p, room[1], skip);
        uint64_t head_a = slice_head(a, skip);
        uint64_t head_b = slice_head(b, skip);
        if (head_a < head_b) {
            assert_true(slice_compare(a, b) < 0);
        } else if (head_a > head_b) {
            assert_true(slice_compare(a, b) > 0);
        }
        size_t shared = slice_shared(a, b);
        assert_true(memcmp(a.data, b.data, shared) == 0);
        assert_true((slice_compare(a, b) == 0) == slice_equal(a, b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_bytewise_and_unsigned),
        cmocka_unit_test(a_prefix_is_before_what_it_is_a_prefix_of),
        cmocka_unit_test(equality_looks_at_length_and_bytes),
        cmocka_unit_test(shared_bytes_end_at_the_first_difference_or_end),
        cmocka_unit_test(a_head_is_big_endian_and_padded_with_zeros),
        cmocka_unit_test(heads_never_contradict_the_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
