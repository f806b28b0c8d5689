#include "base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void the_published_sequence(void **state)
{
    (void)state;
    struct prng zero = {0};
    assert_true(prng_next(&zero) == UINT64_C(0xe220a8397b1dcdaf));
    assert_true(prng_next(&zero) == UINT64_C(0x6e789e6aa1b965f4));
    assert_true(prng_next(&zero) == UINT64_C(0x06c45d188009454f));
    struct prng other = {1234567};
    assert_true(prng_next(&other) == UINT64_C(6457827717110365317));
    assert_true(prng_next(&other) == UINT64_C(3203168211198807973));
}

static void one_seed_repeats_a_run(void **state)
{
    (void)state;
    struct prng a = {99};
    struct prng b = {99};
    struct prng c = {100};
    int same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t v = prng_next(&a);
        assert_true(v == prng_next(&b));
        same += v == prng_next(&c);
    }
    assert_int_equal(same, 0);
}

static void numbers_below_a_bound_reach_all_of_it_evenly(void **state)
{
    (void)state;
    enum { BOUND = 10, ROUNDS = 100000 };
    struct prng p = {5};
    int seen[BOUND] = {0};
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t v = prng_below(&p, BOUND);
        assert_true(v < BOUND);
        seen[v]++;
    }
    for (int i = 0; i < BOUND; i++) {
        assert_in_range(seen[i], ROUNDS / BOUND * 9 / 10, ROUNDS / BOUND * 11 / 10);
    }
    assert_int_equal(prng_below(&p, 1), 0);
    assert_true(prng_below(&p, UINT64_MAX) < UINT64_MAX);
}

static void one_in_n_happens_about_so_often(void **state)
{
    (void)state;
    struct prng p = {6};
    int hits = 0;
    for (int i = 0; i < 100000; i++) {
        hits += prng_one_in(&p, 100);
    }
    assert_in_range(hits, 800, 1200);
    assert_true(prng_one_in(&p, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_sequence),
        cmocka_unit_test(one_seed_repeats_a_run),
        cmocka_unit_test(numbers_below_a_bound_reach_all_of_it_evenly),
        cmocka_unit_test(one_in_n_happens_about_so_often),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
