#include "manifest/manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/fake_table.h"
#include "unit/fake_value.h"

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

static void add_value(struct edit *e, uint64_t keyspace, uint64_t file, uint64_t logical)
{
    struct value_logical logicals[2];
    struct value_meta meta = fake_value_meta(file, keyspace, logicals, logical, 0);
    assert_int_equal(edit_add_value_file(e, &meta, NULL), STRATA_OK);
}

static void edits_that_do_not_fit_are_corrupt(void **state)
{
    (void)state;
    for (int fault = 0; fault < 13; fault++) {
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
        case 7:
            assert_int_equal(edit_remove_value_file(&next, 1, 10), STRATA_OK);
            break;
        case 8:
            add_value(&all, 1, 10, 10);
            assert_int_equal(edit_remove_value_file(&next, 2, 10), STRATA_OK);
            break;
        case 9:
            add_value(&next, 2, 10, 10);
            break;
        case 10:
            assert_int_equal(edit_set_floor(&next, 2, 10), STRATA_OK);
            break;
        case 11:
            assert_int_equal(edit_alter_space(&next, 2, &all.spaces[0].options), STRATA_OK);
            break;
        default:
            assert_int_equal(edit_add_second(&next, &early), STRATA_OK);
            break;
        }
        assert_int_equal(fold(&all, &next), STRATA_CORRUPT);
        edit_release(&all);
    }
}

static void an_edit_holds_its_value_file(void **state)
{
    (void)state;
    struct edit e = {0};
    struct value_logical logicals[2];
    struct value_meta meta = fake_value_meta(7, 1, logicals, 5, 7);
    struct value_file *f;
    assert_int_equal(value_file_open(NULL, &meta, &f), STRATA_OK);
    assert_int_equal(edit_add_value_file(&e, &meta, f), STRATA_OK);
    value_file_unref(f);
    assert_int_equal(fake_values.open, 1);
    logicals[0].file = 99; // the edit has a copy
    assert_int_equal(e.values[0].meta.logicals[0].file, 5);
    edit_release(&e);
    assert_int_equal(fake_values.open, 0);
    assert_int_equal(e.value_count, 0);
}

static void a_fold_keeps_present_value_files_floors_and_options(void **state)
{
    (void)state;
    struct edit all = snapshot(), next = {0};
    create(&next, 2, "other");
    add_value(&next, 1, 10, 10);
    add_value(&next, 1, 11, 11);
    add_value(&next, 2, 12, 12);
    assert_int_equal(edit_set_floor(&next, 1, 9), STRATA_OK);
    assert_int_equal(edit_set_floor(&next, 2, 9), STRATA_OK);
    assert_int_equal(fold(&all, &next), STRATA_OK);
    assert_int_equal(all.next_file, 13);
    assert_int_equal(edit_remove_value_file(&next, 1, 10), STRATA_OK);
    add_value(&next, 1, 20, 10);
    assert_int_equal(edit_set_floor(&next, 1, 12), STRATA_OK);
    assert_int_equal(edit_set_floor(&next, 2, 8), STRATA_OK);
    strata_keyspace_options options = all.spaces[0].options;
    options.separate_bytes = 100;
    assert_int_equal(edit_alter_space(&next, 1, &options), STRATA_OK);
    assert_int_equal(fold(&all, &next), STRATA_OK);
    assert_int_equal(all.value_count, 3);
    assert_int_equal(all.values[0].file + all.values[1].file + all.values[2].file, 43);
    assert_int_equal(all.floor_count, 2);
    assert_int_equal(all.floors[0].floor, 12);
    assert_int_equal(all.floors[1].floor, 9);
    assert_int_equal(all.space_count, 2);
    assert_int_equal(all.spaces[0].options.separate_bytes, 100);
    assert_int_equal(all.spaces[1].options.separate_bytes, 2048);
    assert_int_equal(edit_drop_space(&next, 1, 30), STRATA_OK);
    assert_int_equal(fold(&all, &next), STRATA_OK);
    assert_int_equal(all.value_count, 1);
    assert_int_equal(all.values[0].file, 12);
    assert_int_equal(all.floor_count, 1);
    assert_int_equal(all.floors[0].keyspace, 2);
    edit_release(&all);
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
        cmocka_unit_test(an_edit_holds_its_value_file),
        cmocka_unit_test(a_fold_keeps_present_value_files_floors_and_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
