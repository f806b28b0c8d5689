// Keys in order: encoded parts compare as the parts do, and are read back as they were written.
#include "strata_keys.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"

#define ROUNDS 20000

struct encoded {
    uint8_t data[160];
    size_t bytes;
};

static int sign_of(int n)
{
    return (n > 0) - (n < 0);
}

static int compare_encoded(const struct encoded *a, const struct encoded *b)
{
    size_t bytes = a->bytes < b->bytes ? a->bytes : b->bytes;
    int order = memcmp(a->data, b->data, bytes);
    return order != 0 ? sign_of(order) : (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

static struct encoded end_of(const strata_key_writer *w, const uint8_t *room)
{
    strata_slice key = strata_key_end(w);
    struct encoded e = {.bytes = key.bytes};
    assert_ptr_equal(key.data, room);
    memcpy(e.data, room, key.bytes);
    return e;
}

// Numbers near the edges of every width, and any others.
static uint64_t edgy(struct prng *random)
{
    uint64_t v = prng_next(random);
    unsigned bits = (unsigned)(prng_next(random) % 65);
    uint64_t kept = bits == 0 ? 0 : v >> (64 - bits);
    return (prng_next(random) & 1) != 0 ? kept : ~kept;
}

static strata_key_order any_order(struct prng *random)
{
    return (prng_next(random) & 1) != 0 ? STRATA_DESCENDING : STRATA_ASCENDING;
}

static void integers_sort_as_numbers(void **state)
{
    (void)state;
    struct prng random = {.state = 1};
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t a = edgy(&random);
        uint64_t b = (i & 7) == 0 ? a : edgy(&random);
        strata_key_order order = any_order(&random);
        int way = order == STRATA_ASCENDING ? 1 : -1;
        uint8_t room[64];
        struct encoded e[4][2];
        for (int k = 0; k < 2; k++) {
            uint64_t v = k == 0 ? a : b;
            strata_key_writer w = strata_key_begin(room, sizeof room);
            strata_key_u64(&w, v, order);
            e[0][k] = end_of(&w, room);
            w = strata_key_begin(room, sizeof room);
            strata_key_i64(&w, (int64_t)v, order);
            e[1][k] = end_of(&w, room);
            w = strata_key_begin(room, sizeof room);
            strata_key_u32(&w, (uint32_t)v, order);
            e[2][k] = end_of(&w, room);
            w = strata_key_begin(room, sizeof room);
            strata_key_i32(&w, (int32_t)(uint32_t)v, order);
            e[3][k] = end_of(&w, room);
            strata_key_reader r = strata_key_read((strata_slice){e[1][k].data, e[1][k].bytes});
            assert_true(strata_key_read_i64(&r, order) == (int64_t)v && strata_key_read_done(&r));
            r = strata_key_read((strata_slice){e[3][k].data, e[3][k].bytes});
            assert_int_equal(strata_key_read_i32(&r, order), (int32_t)(uint32_t)v);
        }
        int32_t a32 = (int32_t)(uint32_t)a;
        int32_t b32 = (int32_t)(uint32_t)b;
        assert_int_equal(compare_encoded(&e[0][0], &e[0][1]), way * ((a > b) - (a < b)));
        assert_int_equal(compare_encoded(&e[1][0], &e[1][1]),
                         way * (((int64_t)a > (int64_t)b) - ((int64_t)a < (int64_t)b)));
        assert_int_equal(compare_encoded(&e[2][0], &e[2][1]),
                         way * (((uint32_t)a > (uint32_t)b) - ((uint32_t)a < (uint32_t)b)));
        assert_int_equal(compare_encoded(&e[3][0], &e[3][1]), way * ((a32 > b32) - (a32 < b32)));
    }
}

static struct encoded double_key(double v, strata_key_order order)
{
    uint8_t room[16];
    strata_key_writer w = strata_key_begin(room, sizeof room);
    strata_key_double(&w, v, order);
    return end_of(&w, room);
}

static void doubles_sort_as_numbers_with_nan_last(void **state)
{
    (void)state;
    struct prng random = {.state = 2};
    for (int i = 0; i < ROUNDS; i++) {
        double v[2];
        for (int k = 0; k < 2; k++) {
            uint64_t bits = edgy(&random);
            memcpy(&v[k], &bits, sizeof bits);
            if ((i & 15) == 0) {
                v[k] = (double)(int)(bits % 5) - 2;
            }
        }
        strata_key_order order = any_order(&random);
        struct encoded a = double_key(v[0], order);
        struct encoded b = double_key(v[1], order);
        int want = (v[0] > v[1]) - (v[0] < v[1]);
        if (isnan(v[0]) || isnan(v[1])) {
            want = (isnan(v[0]) != 0) - (isnan(v[1]) != 0);
        } else if (want == 0) {
            want = (signbit(v[1]) != 0) - (signbit(v[0]) != 0);
        }
        assert_int_equal(compare_encoded(&a, &b), order == STRATA_ASCENDING ? want : -want);
        strata_key_reader r = strata_key_read((strata_slice){a.data, a.bytes});
        double back = strata_key_read_double(&r, order);
        assert_true(isnan(v[0]) ? isnan(back) : memcmp(&back, &v[0], sizeof back) == 0);
    }
}

// Strings over a few bytes, so that prefixes of each other and zeros are common.
static size_t random_string(struct prng *random, uint8_t *to)
{
    static const uint8_t few[] = {0, 0, 1, 0xfe, 0xff};
    size_t bytes = (size_t)(prng_next(random) % 7);
    for (size_t i = 0; i < bytes; i++) {
        to[i] = few[prng_next(random) % sizeof few];
    }
    return bytes;
}

static void tuples_sort_part_by_part(void **state)
{
    (void)state;
    struct prng random = {.state = 3};
    for (int i = 0; i < ROUNDS; i++) {
        strata_key_order orders[2] = {any_order(&random), any_order(&random)};
        uint8_t text[2][8];
        size_t bytes[2];
        int32_t number[2];
        struct encoded e[2];
        for (int k = 0; k < 2; k++) {
            uint8_t room[64];
            bytes[k] = random_string(&random, text[k]);
            number[k] = (int32_t)(prng_next(&random) % 3) - 1;
            strata_key_writer w = strata_key_begin(room, sizeof room);
            strata_key_bytes(&w, text[k], bytes[k], orders[0]);
            strata_key_i32(&w, number[k], orders[1]);
            e[k] = end_of(&w, room);
            uint8_t back[8];
            strata_key_reader r = strata_key_read((strata_slice){e[k].data, e[k].bytes});
            assert_int_equal(strata_key_read_bytes(&r, back, sizeof back, orders[0]), bytes[k]);
            assert_memory_equal(back, text[k], bytes[k]);
            assert_int_equal(strata_key_read_i32(&r, orders[1]), number[k]);
            assert_true(strata_key_read_done(&r));
        }
        size_t least = bytes[0] < bytes[1] ? bytes[0] : bytes[1];
        int want = least == 0 ? 0 : sign_of(memcmp(text[0], text[1], least));
        want = want != 0 ? want : (bytes[0] > bytes[1]) - (bytes[0] < bytes[1]);
        want = orders[0] == STRATA_ASCENDING ? want : -want;
        if (want == 0) {
            want = (number[0] > number[1]) - (number[0] < number[1]);
            want = orders[1] == STRATA_ASCENDING ? want : -want;
        }
        assert_int_equal(compare_encoded(&e[0], &e[1]), want);
    }
}

static void prefix_end_bounds_exactly_the_keys_with_the_prefix(void **state)
{
    (void)state;
    struct prng random = {.state = 4};
    for (int i = 0; i < ROUNDS; i++) {
        struct encoded prefix = {0};
        struct encoded key = {0};
        prefix.bytes = 1 + random_string(&random, prefix.data);
        prefix.data[prefix.bytes - 1] = (prng_next(&random) & 1) != 0 ? 0xff : 7;
        key.bytes = random_string(&random, key.data);
        if ((prng_next(&random) & 1) != 0) {
            memmove(key.data + prefix.bytes, key.data, key.bytes);
            memcpy(key.data, prefix.data, prefix.bytes);
            key.bytes += prefix.bytes;
        }
        bool has = key.bytes >= prefix.bytes && memcmp(key.data, prefix.data, prefix.bytes) == 0;
        struct encoded end = prefix;
        end.bytes = strata_key_prefix_end(end.data, end.bytes);
        bool below = end.bytes == 0 || compare_encoded(&key, &end) < 0;
        assert_int_equal(has, compare_encoded(&prefix, &key) <= 0 && below);
    }
}

static void a_key_that_does_not_fit_says_what_it_needs(void **state)
{
    (void)state;
    uint8_t room[6] = {9, 9, 9, 9, 9, 9};
    strata_key_writer w = strata_key_begin(room, 5);
    strata_key_text(&w, "abcdef", STRATA_ASCENDING);
    strata_slice key = strata_key_end(&w);
    assert_null(key.data);
    assert_int_equal(key.bytes, 8);
    assert_int_equal(room[5], 9);
}

static void bytes_that_are_no_such_part_are_bad(void **state)
{
    (void)state;
    const uint8_t cut[3] = {'a', 0, 5};
    uint8_t back[8];
    strata_key_reader r = strata_key_read((strata_slice){cut, 3});
    assert_int_equal(strata_key_read_bytes(&r, back, sizeof back, STRATA_ASCENDING), 0);
    assert_true(r.bad);
    r = strata_key_read((strata_slice){cut, 1});
    assert_int_equal(strata_key_read_bytes(&r, back, sizeof back, STRATA_ASCENDING), 0);
    assert_true(r.bad);
    r = strata_key_read((strata_slice){cut, 3});
    assert_int_equal(strata_key_read_u32(&r, STRATA_ASCENDING), 0);
    assert_true(r.bad && !strata_key_read_done(&r));
    r = strata_key_read((strata_slice){cut + 2, 1});
    assert_false(strata_key_read_bool(&r, STRATA_ASCENDING));
    assert_true(r.bad);
    r = strata_key_read((strata_slice){NULL, 0});
    assert_true(strata_key_read_done(&r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_sort_as_numbers),
        cmocka_unit_test(doubles_sort_as_numbers_with_nan_last),
        cmocka_unit_test(tuples_sort_part_by_part),
        cmocka_unit_test(prefix_end_bounds_exactly_the_keys_with_the_prefix),
        cmocka_unit_test(a_key_that_does_not_fit_says_what_it_needs),
        cmocka_unit_test(bytes_that_are_no_such_part_are_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
