#include "manifest/manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/fake_table.h"
#include "unit/fake_value.h"

static void add(struct edit *e, uint64_t keyspace, bool history, uint64_t file, const char *lower,
                const char *upper)
{
    struct table_meta meta = fake_meta(file, lower, upper);
    meta.keyspace = keyspace;
    meta.history = history;
    assert_int_equal(edit_add_table(e, keyspace, history, 0, file, &meta, NULL), STRATA_OK);
}

static void create(struct edit *e, uint64_t number, const char *name)
{
    strata_keyspace_options options;
    assert_int_equal(keyspace_options_resolve(NULL, &options), STRATA_OK);
    assert_int_equal(edit_create_space(e, number, name, &options, 4), STRATA_OK);
}

// Applies, commits and releases the edit; *c becomes the next catalog when it fits.
static strata_rc apply(struct catalog **c, struct edit *e)
{
    struct catalog *next;
    strata_rc rc = catalog_apply(*c, e, NULL, &next);
    if (rc == STRATA_OK) {
        edit_committed(e, *c);
        catalog_unref(*c);
        *c = next;
    } else {
        assert_null(next);
    }
    edit_release(e);
    return rc;
}

// Keyspaces 1 and 2; in 1 the live table 1 and the history table 2, in 2 the live table 3.
static struct catalog *some_catalog(void)
{
    struct catalog *c;
    struct edit e = {0};
    fake.deleted_count = 0;
    fake.opens = fake.narrows = 0;
    assert_int_equal(catalog_new(&c), STRATA_OK);
    create(&e, 2, "other");
    create(&e, 1, "default");
    add(&e, 1, false, 1, "a", "m");
    add(&e, 1, true, 2, "a", "m");
    add(&e, 2, false, 3, "a", "m");
    assert_int_equal(apply(&c, &e), STRATA_OK);
    assert_int_equal(fake.opens, 3);
    return c;
}

static void finish(struct catalog *c)
{
    catalog_unref(c);
    assert_int_equal(fake.open, 0);
}

static void a_new_catalog_begins_at_1(void **state)
{
    (void)state;
    struct catalog *c;
    assert_int_equal(catalog_new(&c), STRATA_OK);
    assert_int_equal(c->next_file, 1);
    assert_int_equal(c->next_run, 1);
    assert_int_equal(c->next_keyspace, 1);
    assert_int_equal(c->edits, 0);
    assert_null(catalog_space_find(c, 1));
    finish(c);
}

static void keyspaces_are_found_by_number_and_name(void **state)
{
    (void)state;
    struct catalog *c = some_catalog();
    assert_string_equal(catalog_space_find(c, 1)->name, "default");
    assert_int_equal(catalog_space_named(c, "other")->number, 2);
    assert_int_equal(catalog_space_find(c, 2)->created_commit, 4);
    assert_null(catalog_space_find(c, 3));
    assert_null(catalog_space_named(c, "Other"));
    assert_int_equal(c->edits, 1);
    assert_int_equal(c->next_keyspace, 3);
    assert_int_equal(c->next_file, 4);
    finish(c);
}

static void an_edit_leaves_the_other_trees_alone(void **state)
{
    (void)state;
    struct catalog *c = some_catalog();
    struct tree *other = catalog_space_find(c, 2)->live;
    struct tree *history = catalog_space_find(c, 1)->history;
    struct edit e = {0};
    add(&e, 1, false, 7, "a", "b");
    assert_int_equal(apply(&c, &e), STRATA_OK);
    assert_ptr_equal(catalog_space_find(c, 2)->live, other);
    assert_ptr_equal(catalog_space_find(c, 1)->history, history);
    assert_int_equal(catalog_space_find(c, 1)->live->run_count, 2);
    finish(c);
}

static void a_file_that_leaves_is_deleted_with_its_last_holder(void **state)
{
    (void)state;
    struct catalog *c = some_catalog();
    struct tree *reader = catalog_space_find(c, 1)->live;
    tree_ref(reader);
    struct edit e = {0};
    assert_int_equal(edit_remove_table(&e, 1, false, 1), STRATA_OK);
    assert_int_equal(apply(&c, &e), STRATA_OK);
    assert_false(fake_was_deleted(1));
    tree_unref(reader);
    assert_true(fake_was_deleted(1));
    assert_int_equal(fake.deleted_count, 1);
    finish(c);
    assert_int_equal(fake.deleted_count, 1);
}

static void an_edit_that_was_not_committed_deletes_nothing(void **state)
{
    (void)state;
    struct catalog *c = some_catalog(), *next;
    struct edit e = {0};
    assert_int_equal(edit_remove_table(&e, 1, false, 1), STRATA_OK);
    assert_int_equal(catalog_apply(c, &e, NULL, &next), STRATA_OK);
    edit_release(&e);
    catalog_unref(next);
    finish(c);
    assert_int_equal(fake.deleted_count, 0);
}

static void a_moved_table_stays_open(void **state)
{
    (void)state;
    struct catalog *c = some_catalog();
    struct edit e = {0};
    assert_int_equal(edit_remove_table(&e, 1, false, 1), STRATA_OK);
    struct table_meta meta = fake_meta(1, "a", "m");
    assert_int_equal(edit_add_table(&e, 1, false, 3, 90, &meta, NULL), STRATA_OK);
    assert_int_equal(apply(&c, &e), STRATA_OK);
    assert_int_equal(fake.opens, 3);
    assert_int_equal(fake.narrows, 0);
    assert_int_equal(catalog_space_find(c, 1)->live->levels[3].runs[0]->number, 90);
    assert_int_equal(c->next_run, 91);
    finish(c);
    assert_int_equal(fake.deleted_count, 0);
}

static void a_narrowed_table_shares_the_open_file(void **state)
{
    (void)state;
    struct catalog *c = some_catalog();
    for (int step = 0; step < 3; step++) {
        struct edit e = {0};
        assert_int_equal(edit_remove_table(&e, 1, false, 1), STRATA_OK);
        if (step < 2) {
            add(&e, 1, false, 1, step == 0 ? "c" : "f", "m");
        }
        assert_int_equal(fake.deleted_count, 0);
        assert_int_equal(apply(&c, &e), STRATA_OK);
    }
    assert_int_equal(fake.opens, 3);
    assert_int_equal(fake.narrows, 2);
    assert_true(fake_was_deleted(1));
    finish(c);
}

static void an_excised_table_goes_from_live_to_history(void **state)
{
    (void)state;
    struct catalog *c = some_catalog();
    struct edit e = {0};
    assert_int_equal(edit_remove_table(&e, 1, false, 1), STRATA_OK);
    add(&e, 1, true, 1, "a", "m");
    assert_int_equal(apply(&c, &e), STRATA_OK);
    assert_int_equal(fake.opens, 3);
    assert_int_equal(catalog_space_find(c, 1)->live->run_count, 0);
    assert_int_equal(catalog_space_find(c, 1)->history->run_count, 2);
    finish(c);
    assert_int_equal(fake.deleted_count, 0);
}

static void a_dropped_keyspace_deletes_all_its_files(void **state)
{
    (void)state;
    struct catalog *c = some_catalog();
    struct edit e = {0};
    assert_int_equal(edit_drop_space(&e, 1, 9), STRATA_OK);
    assert_int_equal(apply(&c, &e), STRATA_OK);
    assert_null(catalog_space_find(c, 1));
    assert_true(fake_was_deleted(1) && fake_was_deleted(2));
    assert_int_equal(fake.deleted_count, 2);
    create(&e, 3, "default");
    assert_int_equal(apply(&c, &e), STRATA_OK);
    assert_int_equal(catalog_space_named(c, "default")->live->run_count, 0);
    finish(c);
}

static void edits_that_do_not_fit_change_nothing(void **state)
{
    (void)state;
    struct catalog *c = some_catalog();
    struct edit e = {.flushed_commit = 10};
    assert_int_equal(apply(&c, &e), STRATA_OK);
    for (int fault = 0; fault < 8; fault++) {
        e = (struct edit){0};
        switch (fault) {
        case 0:
            assert_int_equal(edit_remove_table(&e, 1, false, 2), STRATA_OK);
            break;
        case 1:
            assert_int_equal(edit_remove_table(&e, 9, false, 1), STRATA_OK);
            break;
        case 2:
            add(&e, 9, false, 9, "a", "b");
            break;
        case 3:
            create(&e, 1, "third");
            break;
        case 4:
            create(&e, 3, "other");
            break;
        case 5:
            assert_int_equal(edit_drop_space(&e, 3, 1), STRATA_OK);
            break;
        case 6:
            e.flushed_commit = 9;
            break;
        default: // overlaps table 1 in run 1
            add(&e, 1, false, 10, "b", "c");
            e.tables[0].run = 1;
            break;
        }
        struct catalog *before = c;
        assert_int_equal(apply(&c, &e), STRATA_CORRUPT);
        assert_ptr_equal(c, before);
    }
    finish(c);
    assert_int_equal(fake.deleted_count, 0);
}

static void a_table_that_does_not_open_fails_the_edit(void **state)
{
    (void)state;
    struct catalog *c = some_catalog();
    struct edit e = {0};
    add(&e, 1, false, 8, "a", "b");
    add(&e, 1, false, 9, "a", "b");
    fake.fail_file = 9;
    assert_int_equal(apply(&c, &e), STRATA_CORRUPT);
    fake.fail_file = 0;
    assert_int_equal(fake.open, 3);
    finish(c);
}

static void seconds_continue_over_edits(void **state)
{
    (void)state;
    struct catalog *c = some_catalog();
    struct commit_second list[] = {
        {1, 1000000, 1000500}, {5, 1700000, 1900000}, {9, 3000000, 3000000}};
    for (size_t i = 0; i < 3; i++) {
        struct edit e = {0};
        assert_int_equal(edit_add_second(&e, &list[i]), STRATA_OK);
        assert_int_equal(apply(&c, &e), STRATA_OK);
    }
    assert_int_equal(c->second_count, 2);
    assert_int_equal(c->seconds[0].last_time_us, 1900000);
    assert_int_equal(c->seconds[1].first_commit, 9);
    finish(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_catalog_begins_at_1),
        cmocka_unit_test(keyspaces_are_found_by_number_and_name),
        cmocka_unit_test(an_edit_leaves_the_other_trees_alone),
        cmocka_unit_test(a_file_that_leaves_is_deleted_with_its_last_holder),
        cmocka_unit_test(an_edit_that_was_not_committed_deletes_nothing),
        cmocka_unit_test(a_moved_table_stays_open),
        cmocka_unit_test(a_narrowed_table_shares_the_open_file),
        cmocka_unit_test(an_excised_table_goes_from_live_to_history),
        cmocka_unit_test(a_dropped_keyspace_deletes_all_its_files),
        cmocka_unit_test(edits_that_do_not_fit_change_nothing),
        cmocka_unit_test(a_table_that_does_not_open_fails_the_edit),
        cmocka_unit_test(seconds_continue_over_edits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
