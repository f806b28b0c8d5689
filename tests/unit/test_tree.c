#include "manifest/tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "lib/alloc_fault.h"
#include "unit/fake_table.h"

static struct table *open_fake(uint64_t file, const char *lower, const char *upper)
{
    struct table_meta meta = fake_meta(file, lower, upper);
    struct table *t;
    assert_int_equal(table_open(NULL, &meta, &t), STRATA_OK);
    return t;
}

static struct tree_change put(uint32_t level, uint64_t run, uint64_t file, const char *lower,
                              const char *upper)
{
    return (struct tree_change){
        .add = true, .level = level, .run = run, .table = open_fake(file, lower, upper)};
}

static struct tree_change take(uint64_t file)
{
    return (struct tree_change){.file = file};
}

static void unref_changes(struct tree_change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        table_unref(changes[i].table);
    }
}

// Applies the changes to *tree, and replaces it when that works.
static strata_rc change(struct tree **tree, struct tree_change *changes, size_t count)
{
    struct tree *next;
    strata_rc rc = tree_apply(*tree, changes, count, &next);
    unref_changes(changes, count);
    if (rc == STRATA_OK) {
        assert_int_equal(tree_check(next), STRATA_OK);
        tree_unref(*tree);
        *tree = next;
    } else {
        assert_null(next);
    }
    return rc;
}

#define CHANGE(tree, ...)                                                                          \
    change((tree), (struct tree_change[]){__VA_ARGS__},                                            \
           sizeof((struct tree_change[]){__VA_ARGS__}) / sizeof(struct tree_change))

static struct tree *empty_tree(void)
{
    struct tree *t;
    assert_int_equal(tree_new_empty(&t), STRATA_OK);
    assert_int_equal(tree_check(t), STRATA_OK);
    assert_int_equal(t->level_count, 0);
    return t;
}

static void finish(struct tree *t)
{
    tree_unref(t);
    assert_int_equal(fake.open, 0);
}

static struct slice key(const char *text)
{
    return slice_of(text, strlen(text));
}

static void additions_make_runs_in_their_order(void **state)
{
    (void)state;
    struct tree *t = empty_tree();
    struct tree_change list[] = {
        put(0, 5, 1, "m", "z"),
        put(2, 3, 2, "a", "b"),
        put(0, 7, 3, "a", "z"),
        put(0, 5, 4, "a", "m"),
    };
    assert_int_equal(change(&t, list, 4), STRATA_OK);
    assert_int_equal(t->level_count, 3);
    assert_int_equal(t->run_count, 3);
    assert_int_equal(t->levels[0].count, 2);
    assert_int_equal(t->levels[1].count, 0);
    assert_int_equal(t->levels[0].runs[0]->number, 7);
    assert_int_equal(t->levels[0].runs[1]->number, 5);
    assert_int_equal(t->levels[0].runs[1]->count, 2);
    assert_int_equal(table_meta(t->levels[0].runs[1]->tables[0])->file, 4);
    assert_int_equal(t->levels[0].runs[1]->bytes, 101 + 104);
    assert_int_equal(t->bytes, 4 * 100 + 10);
    assert_int_equal(t->commit_greatest, 11);
    finish(t);
}

static void a_run_between_others_finds_its_place(void **state)
{
    (void)state;
    struct tree *t = empty_tree();
    assert_int_equal(CHANGE(&t, put(1, 10, 1, "a", "b"), put(1, 30, 2, "a", "b")), STRATA_OK);
    assert_int_equal(
        CHANGE(&t, put(1, 20, 3, "a", "b"), put(1, 40, 4, "a", "b"), put(1, 5, 5, "a", "b")),
        STRATA_OK);
    static const uint64_t expected[] = {40, 30, 20, 10, 5};
    assert_int_equal(t->levels[1].count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(t->levels[1].runs[i]->number, expected[i]);
    }
    finish(t);
}

static void a_change_leaves_the_old_tree_and_shares_runs(void **state)
{
    (void)state;
    struct tree *t = empty_tree();
    assert_int_equal(CHANGE(&t, put(0, 1, 1, "a", "b"), put(0, 2, 2, "a", "b")), STRATA_OK);
    struct tree_change list[] = {take(1), put(1, 3, 3, "a", "c")};
    struct tree *next;
    assert_int_equal(tree_apply(t, list, 2, &next), STRATA_OK);
    unref_changes(list, 2);
    assert_ptr_equal(next->levels[0].runs[0], t->levels[0].runs[0]);
    assert_int_equal(t->run_count, 2);
    assert_int_equal(next->levels[0].count, 1);
    assert_int_equal(next->level_count, 2);
    assert_int_equal(tree_check(t), STRATA_OK);
    assert_int_equal(tree_check(next), STRATA_OK);
    tree_unref(t);
    assert_int_equal(fake.open, 2);
    finish(next);
}

static void the_last_table_takes_its_run_and_level_along(void **state)
{
    (void)state;
    struct tree *t = empty_tree();
    assert_int_equal(CHANGE(&t, put(0, 1, 1, "a", "b"), put(3, 2, 2, "a", "b")), STRATA_OK);
    assert_int_equal(t->level_count, 4);
    assert_int_equal(CHANGE(&t, take(2)), STRATA_OK);
    assert_int_equal(t->level_count, 1);
    assert_int_equal(CHANGE(&t, take(1)), STRATA_OK);
    assert_int_equal(t->level_count, 0);
    assert_int_equal(t->run_count, 0);
    finish(t);
}

static void a_file_that_is_not_there_cannot_leave(void **state)
{
    (void)state;
    struct tree *t = empty_tree();
    assert_int_equal(CHANGE(&t, put(0, 1, 1, "a", "b")), STRATA_OK);
    assert_int_equal(CHANGE(&t, take(2)), STRATA_CORRUPT);
    assert_int_equal(CHANGE(&t, take(1), take(9), put(0, 3, 4, "a", "b")), STRATA_CORRUPT);
    assert_int_equal(t->run_count, 1);
    finish(t);
}

static void tables_of_a_run_must_not_overlap(void **state)
{
    (void)state;
    struct tree *t = empty_tree();
    assert_int_equal(CHANGE(&t, put(1, 1, 1, "b", "d")), STRATA_OK);
    assert_int_equal(CHANGE(&t, put(1, 1, 2, "c", "e")), STRATA_CORRUPT);
    assert_int_equal(CHANGE(&t, put(1, 1, 2, "a", "bb")), STRATA_CORRUPT);
    assert_int_equal(CHANGE(&t, put(1, 1, 2, "b", "d")), STRATA_CORRUPT);
    assert_int_equal(CHANGE(&t, put(1, 1, 2, "d", "d")), STRATA_CORRUPT);
    assert_int_equal(CHANGE(&t, put(1, 1, 2, "a", "b"), put(1, 1, 3, "d", "e")), STRATA_OK);
    assert_int_equal(t->levels[1].runs[0]->count, 3);
    finish(t);
}

static void a_level_out_of_range_is_corrupt(void **state)
{
    (void)state;
    struct tree *t = empty_tree();
    assert_int_equal(CHANGE(&t, put(TREE_LEVELS_MAX, 1, 1, "a", "b")), STRATA_CORRUPT);
    assert_int_equal(CHANGE(&t, put(TREE_LEVELS_MAX - 1, 1, 1, "a", "b")), STRATA_OK);
    finish(t);
}

static void a_table_narrows_and_moves_in_one_change(void **state)
{
    (void)state;
    struct tree *t = empty_tree();
    assert_int_equal(CHANGE(&t, put(0, 4, 1, "a", "m")), STRATA_OK);
    struct table *whole = t->levels[0].runs[0]->tables[0];
    struct table *rest;
    assert_int_equal(table_narrow(whole, key("f"), key("m"), &rest), STRATA_OK);
    struct tree_change list[] = {
        take(1),
        {.add = true, .level = 0, .run = 4, .table = rest},
        put(1, 9, 2, "a", "f"),
    };
    assert_int_equal(change(&t, list, 3), STRATA_OK);
    assert_null(run_find(t->levels[0].runs[0], key("e")));
    assert_non_null(run_find(t->levels[0].runs[0], key("f")));
    assert_int_equal(CHANGE(&t, take(1)), STRATA_OK);
    assert_int_equal(t->run_count, 1);
    finish(t);
}

static void searches_at_the_bounds(void **state)
{
    (void)state;
    struct tree *t = empty_tree();
    // Upper bounds with equal heads: "abcdefgh" and "abcdefgh\1".
    assert_int_equal(CHANGE(&t, put(0, 1, 1, "a", "abcdefgh"),
                            put(0, 1, 2, "abcdefgh", "abcdefgh\1"), put(0, 1, 3, "b", "d")),
                     STRATA_OK);
    const struct run *r = t->levels[0].runs[0];
    assert_int_equal(table_meta(run_find(r, key("a")))->file, 1);
    assert_int_equal(table_meta(run_find(r, key("abcdefg")))->file, 1);
    assert_int_equal(table_meta(run_find(r, key("abcdefgh")))->file, 2);
    assert_null(run_find(r, key("abcdefgh\1")));
    assert_null(run_find(r, key("A")));
    assert_null(run_find(r, key("d")));
    assert_int_equal(table_meta(run_find(r, key("cz")))->file, 3);
    assert_int_equal(run_find_from(r, slice_of(NULL, 0)), 0);
    assert_int_equal(run_find_from(r, key("abcdefgh\1")), 2);
    assert_int_equal(run_find_from(r, key("d")), 3);
    assert_true(run_overlaps(r, slice_of(NULL, 0), slice_of(NULL, 0)));
    assert_false(run_overlaps(r, slice_of(NULL, 0), key("a")));
    assert_true(run_overlaps(r, slice_of(NULL, 0), key("a0")));
    assert_false(run_overlaps(r, key("abcdefgh\1"), key("b")));
    assert_true(run_overlaps(r, key("abcdefgh\1"), key("b0")));
    assert_false(run_overlaps(r, key("d"), slice_of(NULL, 0)));
    finish(t);
}

static void searches_agree_with_a_walk(void **state)
{
    (void)state;
    struct prng random = {42};
    enum { TABLES = 60 };
    char bounds[2 * TABLES][16];
    struct tree_change list[TABLES];
    for (size_t i = 0; i < (size_t)2 * TABLES; i++) {
        // Long shared beginnings now and then, so that heads tie.
        snprintf(bounds[i], sizeof bounds[i], "k%06zu%03zu", i / 7, i % 7 * 10);
    }
    for (size_t i = 0; i < TABLES; i++) {
        // Some end where the next begins, some before.
        size_t upper = 2 * i + 2 < 2 * TABLES && prng_one_in(&random, 2) ? 2 * i + 2 : 2 * i + 1;
        list[i] = put(0, 1, i + 1, bounds[2 * i], bounds[upper]);
    }
    struct tree *t = empty_tree();
    assert_int_equal(change(&t, list, TABLES), STRATA_OK);
    const struct run *r = t->levels[0].runs[0];
    for (int round = 0; round < 5000; round++) {
        char text[16];
        uint64_t n = prng_below(&random, 2 * TABLES + 2);
        snprintf(text, sizeof text, "k%06u%03u", (unsigned)(n / 7),
                 (unsigned)(n % 7 * 10 + prng_below(&random, 3)));
        struct table *expected = NULL;
        uint32_t from = r->count;
        for (uint32_t i = r->count; i-- > 0;) {
            const struct table_meta *meta = table_meta(r->tables[i]);
            if (slice_compare(meta->upper, key(text)) > 0) {
                from = i;
                if (slice_compare(meta->lower, key(text)) <= 0) {
                    expected = r->tables[i];
                }
            }
        }
        assert_ptr_equal(run_find(r, key(text)), expected);
        assert_int_equal(run_find_from(r, key(text)), from);
    }
    finish(t);
}

static void the_check_sees_what_is_wrong(void **state)
{
    (void)state;
    struct tree *t = empty_tree();
    assert_int_equal(
        CHANGE(&t, put(0, 1, 1, "a", "b"), put(0, 2, 2, "a", "b"), put(0, 1, 3, "b", "c")),
        STRATA_OK);
    struct level *l = &t->levels[0];
    struct run *newer = l->runs[0], *older = l->runs[1];
    l->runs[0] = older;
    l->runs[1] = newer;
    assert_int_equal(tree_check(t), STRATA_INTERNAL);
    l->runs[0] = newer;
    l->runs[1] = older;
    assert_int_equal(tree_check(t), STRATA_OK);
    older->bytes++;
    assert_int_equal(tree_check(t), STRATA_INTERNAL);
    older->bytes--;
    struct table *first = older->tables[0];
    older->tables[0] = older->tables[1];
    older->tables[1] = first;
    assert_int_equal(tree_check(t), STRATA_INTERNAL);
    older->tables[1] = older->tables[0];
    older->tables[0] = first;
    t->run_count++;
    assert_int_equal(tree_check(t), STRATA_INTERNAL);
    t->run_count--;
    t->level_count++;
    assert_int_equal(tree_check(t), STRATA_INTERNAL);
    t->level_count--;
    assert_int_equal(tree_check(t), STRATA_OK);
    finish(t);
}

static void every_failed_allocation_leaves_the_tree(void **state)
{
    (void)state;
    struct tree *t = empty_tree();
    assert_int_equal(CHANGE(&t, put(0, 1, 1, "a", "b"), put(1, 2, 2, "a", "b")), STRATA_OK);
    struct tree_change list[] = {take(1), put(0, 3, 3, "a", "b"), put(1, 2, 4, "b", "c")};
    struct tree *next = NULL;
    uint64_t failed = 1;
    for (uint64_t n = 0; failed > 0; n++) {
        alloc_fault_arm(n, 1);
        strata_rc rc = tree_apply(t, list, 3, &next);
        failed = alloc_fault_disarm();
        assert_int_equal(rc, failed > 0 ? STRATA_NO_MEMORY : STRATA_OK);
        assert_true(failed == 0 || next == NULL);
        assert_int_equal(tree_check(t), STRATA_OK);
    }
    unref_changes(list, 3);
    tree_unref(next);
    finish(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(additions_make_runs_in_their_order),
        cmocka_unit_test(a_run_between_others_finds_its_place),
        cmocka_unit_test(a_change_leaves_the_old_tree_and_shares_runs),
        cmocka_unit_test(the_last_table_takes_its_run_and_level_along),
        cmocka_unit_test(a_file_that_is_not_there_cannot_leave),
        cmocka_unit_test(tables_of_a_run_must_not_overlap),
        cmocka_unit_test(a_level_out_of_range_is_corrupt),
        cmocka_unit_test(a_table_narrows_and_moves_in_one_change),
        cmocka_unit_test(searches_at_the_bounds),
        cmocka_unit_test(searches_agree_with_a_walk),
        cmocka_unit_test(the_check_sees_what_is_wrong),
        cmocka_unit_test(every_failed_allocation_leaves_the_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
