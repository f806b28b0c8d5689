#include "shape/shape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/fake_table.h"
#include "unit/shape_tree.h"

static strata_keyspace_options options(strata_shape shape)
{
    return (strata_keyspace_options){.shape = shape, .level0_runs_max = 20, .size_ratio = 8};
}

static void presets_have_their_levels(void **state)
{
    (void)state;
    strata_keyspace_options o = options(STRATA_SHAPE_LAZY);
    struct shape lazy = shape_live(&o, 64 << 20);
    assert_int_equal(lazy.levels[0].runs_max, 4);
    assert_int_equal(lazy.levels[0].bytes_max, 256 << 20);
    assert_int_equal(lazy.levels[1].runs_max, 4);
    assert_int_equal(lazy.levels[1].bytes_max, 8ull * (256 << 20));
    assert_int_equal(lazy.last_runs_max, 1);
    assert_int_equal(lazy.level0_runs_max, 20);
    assert_in_range(lazy.table_bytes, 1 << 20, 64 << 20);
    o.shape = STRATA_SHAPE_LEVELED;
    struct shape leveled = shape_live(&o, 64 << 20);
    assert_int_equal(leveled.levels[0].runs_max, 4);
    assert_int_equal(leveled.levels[1].runs_max, 1);
    struct shape history = shape_history(&o, 64 << 20);
    assert_int_equal(history.levels[2].runs_max, 8);
    assert_int_equal(history.last_runs_max, 8);
}

static void sizes_saturate(void **state)
{
    (void)state;
    strata_keyspace_options o = options(STRATA_SHAPE_LAZY);
    o.size_ratio = 64;
    struct shape s = shape_live(&o, 64 << 20);
    assert_true(s.levels[TREE_LEVELS_MAX - 1].bytes_max == UINT64_MAX);
    for (uint32_t i = 1; i < TREE_LEVELS_MAX; i++) {
        assert_true(s.levels[i].bytes_max >= s.levels[i - 1].bytes_max);
    }
}

static void undescribed_levels_continue(void **state)
{
    (void)state;
    struct shape s = {
        .level_count = 2, .levels = {{4, 10}, {3, 100}}, .size_ratio = 5, .last_runs_max = 1};
    assert_int_equal(shape_level_at(&s, 1).bytes_max, 100);
    assert_int_equal(shape_level_at(&s, 3).bytes_max, 2500);
    assert_int_equal(shape_level_at(&s, 3).runs_max, 3);
}

static void debt_is_what_merges_will_write(void **state)
{
    (void)state;
    static const struct {
        strata_shape shape;
        const char *tree;
        uint64_t debt;
    } cases[] = {
        {STRATA_SHAPE_LAZY, "", 0},
        {STRATA_SHAPE_LAZY, "0 4:10 3:10 2:10 1:10", 0},
        {STRATA_SHAPE_LAZY, "0 1:41", 0}, // moves
        {STRATA_SHAPE_LAZY, "0 5:9 4:9 3:9 2:9 1:9", 45},
        {STRATA_SHAPE_LAZY, "0 5:9 4:9 3:9 2:9 1:9\n1 6:100", 145},
        {STRATA_SHAPE_LAZY, "0 9:9 8:9 7:9 6:9 5:9\n1 3:45\n2 1:330", 45},
        {STRATA_SHAPE_LAZY, "1 8:45 7:45 6:45 5:45 4:45\n2 1:330", 555},
        // Level 1 is full because of what comes down.
        {STRATA_SHAPE_LAZY, "0 14:9 13:9 12:9 11:9 10:9\n1 8:45 7:45 6:45 5:45\n2 1:330", 600},
        {STRATA_SHAPE_LAZY, "1 8:45 7:45", 90},
        {STRATA_SHAPE_LAZY, "1 8:400", 0},
        {STRATA_SHAPE_LEVELED, "1 3:321\n2 1:330", 651},
        // Small flushes are merged among themselves.
        {STRATA_SHAPE_LAZY, "0 9:1 8:1 7:3 6:1 5:2\n1 3:300", 8},
    };
    static struct shape_tree s;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        strata_keyspace_options o = options(cases[i].shape);
        struct shape shape = shape_live(&o, 10);
        shape_tree_parse(&s, cases[i].tree);
        assert_int_equal(shape_debt_bytes(&s.tree, &shape), cases[i].debt);
    }
}

static void the_last_level_is_at_least_1(void **state)
{
    (void)state;
    static struct shape_tree s;
    static const char *const trees[] = {"", "0 1:1", "1 1:1", "0 2:1\n2 1:1"};
    static const uint32_t expected[] = {1, 1, 1, 2};
    for (size_t i = 0; i < 4; i++) {
        shape_tree_parse(&s, trees[i]);
        assert_int_equal(shape_last_level(&s.tree), expected[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets_have_their_levels),
        cmocka_unit_test(sizes_saturate),
        cmocka_unit_test(undescribed_levels_continue),
        cmocka_unit_test(debt_is_what_merges_will_write),
        cmocka_unit_test(the_last_level_is_at_least_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
