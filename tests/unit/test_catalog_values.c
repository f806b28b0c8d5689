// Value files in catalogs: they come and leave, are rewritten, and what tables refer to is summed.
#include "manifest/manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "lib/alloc_fault.h"
#include "unit/fake_table.h"
#include "unit/fake_value.h"

static void create(struct edit *e, uint64_t number, const char *name)
{
    strata_keyspace_options options;
    assert_int_equal(keyspace_options_resolve(NULL, &options), STRATA_OK);
    assert_int_equal(edit_create_space(e, number, name, &options, 4), STRATA_OK);
}

// A table that refers to `bytes` bytes of logical file `logical`.
static void add_table(struct edit *e, uint64_t keyspace, bool history, uint64_t file,
                      const char *lower, uint64_t logical, uint64_t bytes)
{
    struct table_value_use use = {logical, 1, bytes};
    struct table_meta meta = fake_meta(file, lower, "x");
    meta.keyspace = keyspace;
    meta.history = history;
    meta.uses = &use;
    meta.use_count = 1;
    meta.value_bytes = bytes;
    assert_int_equal(edit_add_table(e, keyspace, history, 0, file, &meta, NULL), STRATA_OK);
}

static void add_file(struct edit *e, uint64_t keyspace, uint64_t file, uint64_t first,
                     uint64_t second)
{
    struct value_logical logicals[2];
    struct value_meta meta = fake_value_meta(file, keyspace, logicals, first, second);
    assert_int_equal(edit_add_value_file(e, &meta, NULL), STRATA_OK);
}

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

// Keyspaces 1 and 2. In 1 the value files 10 and 11, the live table 20 with 300 bytes of 10 and the
// history table 21 with 200 bytes of it.
static struct catalog *some_catalog(void)
{
    struct catalog *c;
    struct edit e = {0};
    fake_values.deleted_count = 0;
    fake_values.opens = 0;
    assert_int_equal(catalog_new(&c), STRATA_OK);
    create(&e, 1, "default");
    create(&e, 2, "other");
    add_file(&e, 1, 11, 11, 0);
    add_file(&e, 1, 10, 10, 0);
    add_table(&e, 1, false, 20, "a", 10, 300);
    add_table(&e, 1, true, 21, "a", 10, 200);
    assert_int_equal(apply(&c, &e), STRATA_OK);
    assert_int_equal(fake_values.opens, 2);
    return c;
}

static void finish(struct catalog *c)
{
    catalog_unref(c);
    assert_int_equal(fake.open, 0);
    assert_int_equal(fake_values.open, 0);
}

static void expect_logical(const struct catalog *c, uint64_t logical, uint64_t in, uint64_t live,
                           uint64_t history)
{
    const struct catalog_value *v = catalog_value_find(c, logical);
    assert_non_null(v);
    assert_int_equal(value_file_meta(v->in)->file, in);
    assert_int_equal(v->stored_bytes, 1000);
    assert_int_equal(v->live_bytes, live);
    assert_int_equal(v->history_bytes, history);
}

static void references_are_summed_by_tree(void **state)
{
    (void)state;
    struct catalog *c = some_catalog();
    assert_int_equal(c->value_file_count, 2);
    assert_int_equal(value_file_meta(c->value_files[0])->file, 10);
    assert_int_equal(c->value_count, 2);
    expect_logical(c, 10, 10, 300, 200);
    expect_logical(c, 11, 11, 0, 0);
    assert_null(catalog_value_find(c, 12));
    assert_int_equal(c->next_file, 22);
    assert_int_equal(catalog_space_find(c, 1)->live->value_bytes, 300);
    struct edit e = {0};
    add_table(&e, 1, false, 22, "a", 10, 50);
    assert_int_equal(apply(&c, &e), STRATA_OK);
    expect_logical(c, 10, 10, 350, 200);
    assert_int_equal(edit_remove_table(&e, 1, false, 20), STRATA_OK);
    add_table(&e, 1, true, 20, "a", 10, 300); // moved to history
    assert_int_equal(apply(&c, &e), STRATA_OK);
    expect_logical(c, 10, 10, 50, 500);
    finish(c);
}

static void a_narrowed_table_counts_as_a_whole_and_sums_are_clamped(void **state)
{
    (void)state;
    struct catalog *c = some_catalog();
    struct edit e = {0};
    add_table(&e, 1, false, 22, "a", 10, 900);
    assert_int_equal(apply(&c, &e), STRATA_OK);
    expect_logical(c, 10, 10, 1000, 0);
    assert_int_equal(edit_remove_table(&e, 1, false, 22), STRATA_OK);
    add_table(&e, 1, false, 22, "k", 10, 900);
    assert_int_equal(apply(&c, &e), STRATA_OK);
    expect_logical(c, 10, 10, 1000, 0);
    assert_int_equal(catalog_value_find(c, 10)->live_uses, 1200);
    assert_int_equal(edit_remove_table(&e, 1, false, 22), STRATA_OK);
    assert_int_equal(apply(&c, &e), STRATA_OK);
    expect_logical(c, 10, 10, 300, 200);
    finish(c);
}

static void a_rewrite_moves_logical_files_and_keeps_their_sums(void **state)
{
    (void)state;
    struct catalog *c = some_catalog();
    struct edit e = {0};
    add_table(&e, 1, false, 23, "a", 11, 70);
    assert_int_equal(apply(&c, &e), STRATA_OK);
    struct value_file *reader = catalog_value_find(c, 10)->in;
    value_file_ref(reader);
    assert_int_equal(edit_remove_value_file(&e, 1, 10), STRATA_OK);
    assert_int_equal(edit_remove_value_file(&e, 1, 11), STRATA_OK);
    add_file(&e, 1, 30, 10, 11);
    assert_int_equal(apply(&c, &e), STRATA_OK);
    assert_int_equal(c->value_file_count, 1);
    expect_logical(c, 10, 30, 300, 200);
    expect_logical(c, 11, 30, 70, 0);
    assert_true(fake_value_was_deleted(11));
    assert_false(fake_value_was_deleted(10));
    value_file_unref(reader);
    assert_true(fake_value_was_deleted(10));
    // Again, and the logical file that nothing refers to any more is left out.
    assert_int_equal(edit_remove_table(&e, 1, false, 23), STRATA_OK);
    assert_int_equal(edit_remove_value_file(&e, 1, 30), STRATA_OK);
    add_file(&e, 1, 31, 10, 0);
    assert_int_equal(apply(&c, &e), STRATA_OK);
    assert_null(catalog_value_find(c, 11));
    expect_logical(c, 10, 31, 300, 200);
    finish(c);
}

static void an_edit_that_was_not_committed_deletes_no_value_file(void **state)
{
    (void)state;
    struct catalog *c = some_catalog(), *next;
    struct edit e = {0};
    assert_int_equal(edit_remove_value_file(&e, 1, 11), STRATA_OK);
    assert_int_equal(catalog_apply(c, &e, NULL, &next), STRATA_OK);
    edit_release(&e);
    assert_null(catalog_value_find(next, 11));
    catalog_unref(next);
    finish(c);
    assert_int_equal(fake_values.deleted_count, 0);
}

static void a_dropped_keyspace_deletes_its_value_files(void **state)
{
    (void)state;
    struct catalog *c = some_catalog();
    struct edit e = {0};
    add_file(&e, 2, 12, 12, 0);
    add_table(&e, 2, false, 24, "a", 12, 10);
    assert_int_equal(apply(&c, &e), STRATA_OK);
    assert_int_equal(edit_drop_space(&e, 1, 9), STRATA_OK);
    assert_int_equal(apply(&c, &e), STRATA_OK);
    assert_true(fake_value_was_deleted(10) && fake_value_was_deleted(11));
    assert_int_equal(fake_values.deleted_count, 2);
    assert_int_equal(c->value_count, 1);
    expect_logical(c, 12, 12, 10, 0);
    finish(c);
}

// The open file of the job is taken, and goes with the edit when the keyspace was dropped.
static void what_belongs_to_a_dropped_keyspace_is_left_out(void **state)
{
    (void)state;
    struct catalog *c = some_catalog();
    struct edit e = {0};
    struct value_logical logicals[2];
    struct value_meta meta = fake_value_meta(40, 2, logicals, 40, 0);
    struct value_file *f;
    assert_int_equal(value_file_open(NULL, &meta, &f), STRATA_OK);
    for (int dropped = 0; dropped < 2; dropped++) {
        assert_int_equal(edit_add_value_file(&e, &meta, f), STRATA_OK);
        add_table(&e, 2, false, 41, "a", 40, 10);
        assert_int_equal(edit_set_floor(&e, 2, 5), STRATA_OK);
        assert_int_equal(edit_remove_value_file(&e, 1, 11), STRATA_OK);
        if (dropped == 0) {
            edit_leave_out_dropped(&e, c);
            assert_int_equal(e.value_count, 2);
            assert_int_equal(e.table_count, 1);
            assert_int_equal(e.floor_count, 1);
            edit_release(&e);
            assert_int_equal(edit_drop_space(&e, 2, 9), STRATA_OK);
            assert_int_equal(apply(&c, &e), STRATA_OK);
        }
    }
    value_file_unref(f);
    edit_leave_out_dropped(&e, c);
    assert_true(fake_value_was_deleted(40));
    assert_int_equal(e.value_count, 1);
    assert_int_equal(e.table_count, 0);
    assert_int_equal(e.floor_count, 0);
    assert_int_equal(apply(&c, &e), STRATA_OK);
    finish(c);
}

static void floors_rise_and_options_change(void **state)
{
    (void)state;
    struct catalog *c = some_catalog();
    struct edit e = {0};
    strata_keyspace_options options = catalog_space_find(c, 1)->options;
    options.retention = STRATA_RETENTION_NONE;
    assert_int_equal(edit_alter_space(&e, 1, &options), STRATA_OK);
    assert_int_equal(edit_set_floor(&e, 1, 77), STRATA_OK);
    assert_int_equal(edit_set_floor(&e, 1, 70), STRATA_OK);
    assert_int_equal(apply(&c, &e), STRATA_OK);
    assert_int_equal(catalog_space_find(c, 1)->options.retention, STRATA_RETENTION_NONE);
    assert_int_equal(catalog_space_find(c, 1)->floor, 77);
    assert_int_equal(catalog_space_find(c, 2)->options.retention, STRATA_RETENTION_ALL);
    assert_int_equal(edit_set_floor(&e, 1, 76), STRATA_OK);
    assert_int_equal(apply(&c, &e), STRATA_OK);
    assert_int_equal(catalog_space_find(c, 1)->floor, 77);
    assert_int_equal(catalog_space_find(c, 2)->floor, 0);
    finish(c);
}

static void bad_edit(struct edit *e, int fault, const strata_keyspace_options *options)
{
    switch (fault) {
    case 0: // its table is still there
        assert_int_equal(edit_remove_value_file(e, 1, 10), STRATA_OK);
        break;
    case 1: // the logical file is in file 10
        add_file(e, 1, 50, 10, 0);
        break;
    case 2:
        add_file(e, 1, 51, 51, 52);
        add_file(e, 1, 53, 52, 0);
        break;
    case 3:
        add_file(e, 1, 11, 60, 0);
        break;
    case 4:
        add_file(e, 9, 61, 61, 0);
        break;
    case 5:
        add_table(e, 1, false, 62, "a", 12, 10);
        break;
    case 6: // of another keyspace
        add_table(e, 2, false, 63, "a", 10, 10);
        break;
    case 7: // leaves in the same edit
        add_table(e, 1, false, 64, "a", 11, 10);
        assert_int_equal(edit_remove_value_file(e, 1, 11), STRATA_OK);
        break;
    case 8:
        assert_int_equal(edit_remove_value_file(e, 1, 12), STRATA_OK);
        break;
    case 9:
        assert_int_equal(edit_remove_value_file(e, 2, 11), STRATA_OK);
        break;
    case 10:
        assert_int_equal(edit_set_floor(e, 9, 1), STRATA_OK);
        break;
    case 11:
        assert_int_equal(edit_alter_space(e, 9, options), STRATA_OK);
        break;
    default: // a file that does not open
        add_file(e, 1, 65, 65, 0);
        fake_values.fail_file = 65;
        break;
    }
}

static void edits_that_do_not_fit_change_nothing(void **state)
{
    (void)state;
    struct catalog *c = some_catalog();
    for (int fault = 0; fault < 13; fault++) {
        struct edit e = {0};
        bad_edit(&e, fault, &catalog_space_find(c, 1)->options);
        struct catalog *before = c;
        assert_int_equal(apply(&c, &e), STRATA_CORRUPT);
        assert_ptr_equal(c, before);
    }
    fake_values.fail_file = 0;
    expect_logical(c, 10, 10, 300, 200);
    finish(c);
    assert_int_equal(fake_values.deleted_count, 0);
}

#define RANDOM_TABLES 40

struct random_table {
    uint64_t file; // 0: none
    uint64_t logical, bytes;
    bool history;
};

// The sums that are kept from edit to edit are those of the tables.
static void sums_follow_random_edits(void **state)
{
    (void)state;
    struct prng random = {11};
    struct catalog *c = some_catalog();
    struct random_table tables[RANDOM_TABLES] = {{0}};
    uint64_t next_file = 100;
    for (int round = 0; round < 400; round++) {
        struct edit e = {0};
        for (int changes = 0; changes < 3; changes++) {
            struct random_table *t = &tables[prng_below(&random, RANDOM_TABLES)];
            if (t->file >= next_file - 3 && t->file != 0) {
                continue; // came with this edit
            }
            if (t->file != 0) {
                assert_int_equal(edit_remove_table(&e, 1, t->history, t->file), STRATA_OK);
                t->file = 0;
                continue;
            }
            *t = (struct random_table){next_file++, 10 + prng_below(&random, 2),
                                       1 + prng_below(&random, 300), prng_one_in(&random, 2)};
            add_table(&e, 1, t->history, t->file, "a", t->logical, t->bytes);
        }
        next_file += 4;
        assert_int_equal(apply(&c, &e), STRATA_OK);
        for (uint64_t logical = 10; logical < 12; logical++) {
            uint64_t sums[2] = {logical == 10 ? 300 : 0, logical == 10 ? 200 : 0};
            for (int i = 0; i < RANDOM_TABLES; i++) {
                if (tables[i].file != 0 && tables[i].logical == logical) {
                    sums[tables[i].history] += tables[i].bytes;
                }
            }
            assert_int_equal(catalog_value_find(c, logical)->live_uses, sums[0]);
            assert_int_equal(catalog_value_find(c, logical)->history_uses, sums[1]);
        }
    }
    finish(c);
}

static void every_allocation_can_fail(void **state)
{
    (void)state;
    struct catalog *c = some_catalog();
    struct edit e = {0};
    add_file(&e, 1, 12, 12, 13);
    add_table(&e, 1, false, 24, "a", 12, 10);
    assert_int_equal(edit_remove_table(&e, 1, false, 20), STRATA_OK);
    strata_rc rc = STRATA_NO_MEMORY;
    uint64_t tries = 0;
    while (rc == STRATA_NO_MEMORY) {
        struct catalog *next;
        alloc_fault_arm(tries++, 1);
        rc = catalog_apply(c, &e, NULL, &next);
        (void)alloc_fault_disarm();
        catalog_unref(next);
        assert_int_equal(fake_values.open, 2);
    }
    assert_int_equal(rc, STRATA_OK);
    assert_true(tries > 10);
    edit_release(&e);
    expect_logical(c, 10, 10, 300, 200);
    finish(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references_are_summed_by_tree),
        cmocka_unit_test(a_narrowed_table_counts_as_a_whole_and_sums_are_clamped),
        cmocka_unit_test(a_rewrite_moves_logical_files_and_keeps_their_sums),
        cmocka_unit_test(an_edit_that_was_not_committed_deletes_no_value_file),
        cmocka_unit_test(a_dropped_keyspace_deletes_its_value_files),
        cmocka_unit_test(what_belongs_to_a_dropped_keyspace_is_left_out),
        cmocka_unit_test(floors_rise_and_options_change),
        cmocka_unit_test(edits_that_do_not_fit_change_nothing),
        cmocka_unit_test(sums_follow_random_edits),
        cmocka_unit_test(every_allocation_can_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
