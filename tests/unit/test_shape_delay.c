#include "shape/shape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct shape_pressure calm(void)
{
    return (struct shape_pressure){
        .sealed_memtables = 1,
        .sealed_memtables_max = 4,
        .level0_runs = 4,
        .level0_runs_max = 20,
        .level0_runs_soft = 4,
        .debt_bytes = 1000000,
        .debt_bytes_soft = 1000000,
        .bytes_per_second = 100000000,
    };
}

static void nothing_owed_costs_nothing(void **state)
{
    (void)state;
    struct shape_pressure p = calm();
    assert_int_equal(shape_delay(&p, 1 << 30), 0);
    p = (struct shape_pressure){0};
    assert_int_equal(shape_delay(&p, 1 << 30), 0);
}

static void hard_bounds_wait(void **state)
{
    (void)state;
    struct shape_pressure p = calm();
    p.sealed_memtables = 4;
    assert_true(shape_delay(&p, 1) == UINT64_MAX);
    p = calm();
    p.level0_runs = 20;
    assert_true(shape_delay(&p, 1) == UINT64_MAX);
    p.level0_runs = 19;
    assert_true(shape_delay(&p, 1) != UINT64_MAX);
}

static void the_delay_grows_with_each_debt_and_with_the_bytes(void **state)
{
    (void)state;
    uint64_t before = 0;
    for (uint32_t runs = 5; runs < 20; runs++) {
        struct shape_pressure p = calm();
        p.level0_runs = runs;
        uint64_t delay = shape_delay(&p, 10000);
        assert_true(delay > before);
        assert_true(shape_delay(&p, 20000) > delay);
        before = delay;
    }
    // At the bound, 8 times the time that the background needs for the bytes: 100 us each here.
    assert_in_range(before, 600000, 800000);
    before = 0;
    for (uint64_t debt = 1100000; debt <= 3000000; debt += 100000) {
        struct shape_pressure p = calm();
        p.debt_bytes = debt;
        uint64_t delay = shape_delay(&p, 10000);
        assert_true(delay > before);
        before = delay;
    }
    struct shape_pressure p = calm();
    p.sealed_memtables = 2;
    uint64_t two = shape_delay(&p, 10000);
    p.sealed_memtables = 3;
    assert_true(two > 0 && shape_delay(&p, 10000) > two);
}

static void the_first_step_is_small(void **state)
{
    (void)state;
    struct shape_pressure p = calm();
    p.level0_runs = 5;
    // 10 KB at 100 MB/s are 100 us of work: a twentieth of that at the most.
    assert_in_range(shape_delay(&p, 10000), 1, 5000);
}

static void no_delay_is_longer_than_a_second(void **state)
{
    (void)state;
    struct shape_pressure p = calm();
    p.debt_bytes = UINT64_MAX / 2;
    p.bytes_per_second = 1;
    assert_true(shape_delay(&p, UINT64_MAX / 2) == 1000000000);
    p.bytes_per_second = 0;
    assert_in_range(shape_delay(&p, 1000), 1, 1000000000);
}

static void space_beyond_its_bound_grows_dearer(void **state)
{
    (void)state;
    uint64_t before = 0;
    struct shape_pressure p = calm();
    p.excess_soft = 800;
    p.excess_hard = 1000;
    p.excess_bytes = 800;
    assert_int_equal(shape_delay(&p, 10000), 0);
    for (p.excess_bytes = 820; p.excess_bytes < 1340; p.excess_bytes += 20) {
        uint64_t delay = shape_delay(&p, 10000);
        assert_true(delay > before && delay != UINT64_MAX);
        before = delay;
    }
    // 64 times what the background needs 8 times over: 100 us each here; and no more than that.
    assert_in_range(before, 48000000, 51200000);
    p.excess_bytes = UINT64_MAX;
    assert_int_equal(shape_delay(&p, 10000), 51200000);
    assert_true(shape_delay(&p, UINT64_MAX) <= 1000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(space_beyond_its_bound_grows_dearer),
        cmocka_unit_test(nothing_owed_costs_nothing),
        cmocka_unit_test(hard_bounds_wait),
        cmocka_unit_test(the_delay_grows_with_each_debt_and_with_the_bytes),
        cmocka_unit_test(the_first_step_is_small),
        cmocka_unit_test(no_delay_is_longer_than_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
