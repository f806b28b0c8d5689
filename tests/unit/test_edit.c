#include "manifest/manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/fake_table.h"

static void add(struct edit *e, uint64_t keyspace, bool history, uint64_t file)
{
    struct table_meta meta = fake_meta(file, "a", "m");
    meta.keyspace = keyspace;
    meta.history = history;
    assert_int_equal(edit_add_table(e, keyspace, history, 0, file, &meta, NULL), STRATA_OK);
}

static void create(struct edit *e, uint64_t number, const char *name)
{
    strata_keyspace_options options;
    assert_int_equal(keyspace_options_resolve(NULL, &options), STRATA_OK);
    assert_int_equal(edit_create_space(e, number, name, &options, 0), STRATA_OK);
}

// Folds `next` and releases it.
static strata_rc fold(struct edit *e, struct edit *next)
{
    strata_rc rc = edit_fold(e, next);
    edit_release(next);
    return rc;
}

// What a manifest gives: a snapshot with keyspace 1, a live table 1 and a history table 2.
static struct edit snapshot(void)
{
    struct edit all = {0}, next = {0};
    create(&next, 1, "default");
    assert_int_equal(fold(&all, &next), STRATA_OK);
    add(&next, 1, false, 1);
    add(&next, 1, true, 2);
    next.snapshot_end = true;
    next.edits = 40;
    assert_int_equal(fold(&all, &next), STRATA_OK);
    assert_int_equal(all.edits, 40);
    return all;
}

static void an_edit_holds_its_table(void **state)
{
    (void)state;
    struct edit e = {0};
    struct table_meta meta = fake_meta(3, "a", "b");
    struct table *t;
    assert_int_equal(table_open(NULL, &meta, &t), STRATA_OK);
    assert_int_equal(edit_add_table(&e, 1, false, 0, 1, &meta, t), STRATA_OK);
    table_unref(t);
    assert_int_equal(fake.open, 1);
    edit_release(&e);
    assert_int_equal(fake.open, 0);
    assert_int_equal(e.table_count, 0);
}

static void seconds_of_one_clock_second_are_one(void **state)
{
    (void)state;
    struct edit e = {0};
    struct commit_second list[] = {
        {10, 5000000, 5000100}, {20, 5500000, 5999999}, {30, 6000000, 6000000},
        {40, 6000000, 6000000}, {50, 9000000, 9000001},
    };
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(edit_add_second(&e, &list[i]), STRATA_OK);
    }
    assert_int_equal(e.second_count, 3);
    assert_int_equal(e.seconds[0].first_commit, 10);
    assert_int_equal(e.seconds[0].last_time_us, 5999999);
    assert_int_equal(e.seconds[1].first_commit, 30);
    assert_int_equal(e.seconds[2].first_commit, 50);
    edit_release(&e);
}

static void times_before_1970_have_seconds_too(void **state)
{
    (void)state;
    struct edit e = {0};
    struct commit_second list[] = {{1, -1, -1}, {2, 0, 0}, {3, 999999, 999999}};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(edit_add_second(&e, &list[i]), STRATA_OK);
    }
    assert_int_equal(e.second_count, 2);
    edit_release(&e);
}

static void a_fold_counts_edits_behind_the_snapshot(void **state)
{
    (void)state;
    struct edit all = snapshot(), next = {0};
    assert_int_equal(fold(&all, &next), STRATA_OK);
    next.flushed_commit = 9;
    assert_int_equal(fold(&all, &next), STRATA_OK);
    assert_int_equal(all.edits, 42);
    next.snapshot_end = true;
    assert_int_equal(fold(&all, &next), STRATA_CORRUPT);
    edit_release(&all);
}

static void a_fold_moves_tables_between_trees(void **state)
{
    (void)state;
    struct edit all = snapshot(), next = {0};
    assert_int_equal(edit_remove_table(&next, 1, false, 1), STRATA_OK);
    add(&next, 1, true, 1);
    assert_int_equal(fold(&all, &next), STRATA_OK);
    assert_int_equal(all.table_count, 2);
    assert_true(all.tables[0].history && all.tables[1].history);
    edit_release(&all);
}

static void a_fold_raises_the_next_numbers(void **state)
{
    (void)state;
    struct edit all = snapshot(), next = {.next_file = 100, .next_run = 7};
    add(&next, 1, false, 50);
    create(&next, 30, "other");
    assert_int_equal(fold(&all, &next), STRATA_OK);
    assert_int_equal(all.next_file, 100);
    assert_int_equal(all.next_run, 51);
    assert_int_equal(all.next_keyspace, 31);
    next = (struct edit){.next_file = 60};
    assert_int_equal(fold(&all, &next), STRATA_OK);
    assert_int_equal(all.next_file, 100);
    edit_release(&all);
}

static void a_dropped_keyspace_takes_its_tables(void **state)
{
    (void)state;
    struct edit all = snapshot(), next = {0};
    create(&next, 2, "other");
    add(&next, 2, false, 5);
    assert_int_equal(fold(&all, &next), STRATA_OK);
    assert_int_equal(edit_drop_space(&next, 1, 3), STRATA_OK);
    assert_int_equal(fold(&all, &next), STRATA_OK);
    assert_int_equal(all.space_count, 1);
    assert_int_equal(all.table_count, 1);
    assert_int_equal(all.tables[0].file, 5);
    // The name may come back, under another number.
    create(&next, 3, "default");
    assert_int_equal(fold(&all, &next), STRATA_OK);
    edit_release(&all);
}

static void edits_that_do_not_fit_are_corrupt(void **state)
{
    (void)state;
    for (int fault = 0; fault < 8; fault++) {
        struct edit all = snapshot(), next = {0};
        struct commit_second late = {100, 1, 1}, early = {50, 2000000, 2000000};
        next.flushed_commit = 10;
        assert_int_equal(edit_add_second(&next, &late), STRATA_OK);
        assert_int_equal(fold(&all, &next), STRATA_OK);
        switch (fault) {
        case 0:
            assert_int_equal(edit_remove_table(&next, 1, false, 2), STRATA_OK); // it is in history
            break;
        case 1:
            assert_int_equal(edit_remove_table(&next, 2, false, 1), STRATA_OK);
            break;
        case 2:
            add(&next, 2, false, 9);
            break;
        case 3:
            create(&next, 1, "other");
            break;
        case 4:
            create(&next, 2, "default");
            break;
        case 5:
            assert_int_equal(edit_drop_space(&next, 2, 1), STRATA_OK);
            break;
        case 6:
            next.flushed_commit = 9;
            break;
        default:
            assert_int_equal(edit_add_second(&next, &early), STRATA_OK);
            break;
        }
        assert_int_equal(fold(&all, &next), STRATA_CORRUPT);
        edit_release(&all);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_edit_holds_its_table),
        cmocka_unit_test(seconds_of_one_clock_second_are_one),
        cmocka_unit_test(times_before_1970_have_seconds_too),
        cmocka_unit_test(a_fold_counts_edits_behind_the_snapshot),
        cmocka_unit_test(a_fold_moves_tables_between_trees),
        cmocka_unit_test(a_fold_raises_the_next_numbers),
        cmocka_unit_test(a_dropped_keyspace_takes_its_tables),
        cmocka_unit_test(edits_that_do_not_fit_are_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
