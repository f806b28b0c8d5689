#include "compact/compact.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/alloc_fault.h"
#include "lib/compact_world.h"

static void fill_open(struct compact_world *w)
{
    for (uint32_t i = 0; i < 100; i++) {
        compact_world_write(w);
        if (i == 50) {
            compact_world_flush(w);
        }
    }
    w->installs = w->installs_tried = 0;
}

static void fill(struct compact_world *w, uint64_t seed)
{
    compact_world_open(w, seed, true);
    fill_open(w);
}

static void one_run_of_live_and_one_of_history(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w, 1);
    uint32_t live = compact_world_space(&w)->live->run_count;
    uint32_t history = compact_world_space(&w)->history->run_count;
    compact_world_flush(&w);
    assert_int_equal(compact_world_space(&w)->live->run_count, live + 1);
    assert_int_equal(compact_world_space(&w)->history->run_count, history + 1);
    assert_int_equal(w.installs, 1);
    compact_world_check(&w);
    compact_world_close(&w);
}

static void deletes_into_an_empty_tree_are_receipts(void **state)
{
    (void)state;
    struct compact_world w;
    compact_world_open(&w, 2, true);
    for (uint32_t i = 0; i < 100; i++) {
        compact_world_write(&w);
    }
    compact_world_flush(&w);
    assert_true(w.sums.receipts > 0);
    const struct run *r = compact_world_space(&w)->live->levels[0].runs[0];
    assert_true(table_meta(r->tables[0])->deletes == 0);
    assert_true(table_meta(r->tables[0])->range_fragments == 0);
    compact_world_check(&w);
    compact_world_close(&w);
}

static void an_empty_memtable_moves_the_flushed_commit_only(void **state)
{
    (void)state;
    struct compact_world w;
    compact_world_open(&w, 3, true);
    w.commit = 9;
    assert_int_equal(compact_world_try_flush(&w), STRATA_OK);
    assert_true(w.catalog->flushed_commit == 9);
    assert_int_equal(compact_world_files(&w), 0);
    compact_world_close(&w);
}

static void a_stopped_flush_leaves_nothing(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w, 4);
    w.stopping = true;
    assert_int_equal(compact_world_try_flush(&w), STRATA_BUSY);
    compact_world_expect_no_stray_files(&w);
    w.stopping = false;
    compact_world_flush(&w);
    compact_world_check(&w);
    compact_world_close(&w);
}

// Deletes of files whose edit may be in the manifest would be the end of a database.
static void a_failed_install_removes_no_file(void **state)
{
    (void)state;
    struct compact_world w;
    compact_world_open(&w, 5, true);
    for (uint32_t i = 0; i < 100; i++) {
        compact_world_write(&w);
    }
    w.fail_install_at = 1;
    assert_int_equal(compact_world_try_flush(&w), STRATA_IO);
    assert_int_equal(compact_world_files(&w), 2); // one of live, one of history
    compact_world_remove_strays(&w);
    compact_world_close(&w);
}

// A put that nobody can see any more goes on as a delete where an older run may hold the key, and
// as nothing where none does.
static void expired_puts_are_flushed_as_deletes(void **state)
{
    (void)state;
    struct compact_world w;
    compact_world_open(&w, 8, false);
    for (uint32_t k = 0; k < 10; k++) {
        compact_world_put(&w, k, false);
    }
    compact_world_flush(&w);
    w.expiring = true;
    for (uint32_t k = 5; k < 15; k++) {
        compact_world_put(&w, k, false);
    }
    w.expiring = false;
    while (w.commit < 80) {
        compact_world_put(&w, 20, false);
    }
    w.sums = (struct compact_progress){0};
    compact_world_flush(&w);
    assert_int_equal(w.sums.expired, 10);
    const struct run *r = compact_world_space(&w)->live->levels[0].runs[0];
    assert_int_equal(r->entries, 6);
    assert_int_equal(r->deletes, 5);
    assert_int_equal(table_meta(r->tables[0])->expiring, 0);
    assert_true(compact_world_space(&w)->floor == w.commit);
    compact_world_check(&w);
    compact_world_close(&w);
}

static void nothing_dropped_leaves_the_floor(void **state)
{
    (void)state;
    struct compact_world w;
    compact_world_open(&w, 9, false);
    for (uint32_t k = 0; k < 10; k++) {
        compact_world_put(&w, k, false);
    }
    compact_world_flush(&w);
    assert_true(compact_world_space(&w)->floor == 0);
    compact_world_put(&w, 3, false);
    compact_world_put(&w, 3, false);
    compact_world_flush(&w);
    assert_true(compact_world_space(&w)->floor == w.commit);
    compact_world_check(&w);
    compact_world_close(&w);
}

static void what_the_caller_adds_is_installed_with_it(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w, 10);
    struct catalog *catalog = w.catalog;
    catalog_ref(catalog);
    struct flush_source source = {compact_world_space(&w), w.memtable};
    strata_keyspace_options options = source.space->options;
    options.retention_seconds = 77;
    struct edit base = {0};
    assert_int_equal(edit_set_floor(&base, 1, 5), STRATA_OK);
    assert_int_equal(edit_alter_space(&base, 1, &options), STRATA_OK);
    struct flush *f;
    assert_int_equal(flush_new(&w.env, &source, 1, w.commit, 1u << 20, &base, &f), STRATA_OK);
    edit_release(&base);
    bool done = false;
    while (!done) {
        assert_int_equal(flush_step(f, &done), STRATA_OK);
    }
    flush_free(f);
    catalog_unref(catalog);
    assert_true(compact_world_space(&w)->floor == 5);
    assert_int_equal(compact_world_space(&w)->options.retention_seconds, 77);
    compact_world_close(&w);
}

static void expect_as_before(struct compact_world *w)
{
    w->faults = false;
    if (w->installs == w->installs_tried) {
        compact_world_expect_no_stray_files(w);
    }
    if (w->installs == 0) {
        compact_world_check(w);
        compact_world_flush(w);
    }
    compact_world_remove_strays(w);
    memtable_free(w->memtable);
    assert_int_equal(memtable_new(NULL, &w->memtable), STRATA_OK);
    compact_world_check(w);
    compact_world_close(w);
}

static void an_error_of_the_disk_leaves_all_as_it_was(void **state)
{
    (void)state;
    bool fired = true;
    uint64_t n;
    for (n = 0; fired; n++) {
        struct compact_world w;
        fill(&w, 6);
        w.faults = true;
        struct sim_fault *rule = sim_machine_fail(
            &w.machine, (struct sim_fault){.ops = SIM_OP_ANY & ~SIM_OP_BIT(SIM_OP_UNLINK) &
                                                  ~SIM_OP_BIT(SIM_OP_CLOSE),
                                           .index = n,
                                           .error = 5});
        strata_rc rc = compact_world_try_flush(&w);
        fired = rule->fired != 0;
        assert_true(fired ? rc < 0 : rc == STRATA_OK);
        sim_machine_heal(&w.machine);
        expect_as_before(&w);
    }
    assert_true(n > 20); // places that were visited
}

static void an_allocation_that_fails_leaves_all_as_it_was(void **state)
{
    (void)state;
    uint64_t failed = 1;
    uint64_t n;
    for (n = 0; failed != 0; n++) {
        struct compact_world w;
        compact_world_open_real(&w, 7);
        fill_open(&w);
        w.faults = true;
        alloc_fault_arm(n, 1);
        strata_rc rc = compact_world_try_flush(&w);
        failed = alloc_fault_disarm();
        assert_true(rc == STRATA_OK || (failed != 0 && rc == STRATA_NO_MEMORY));
        expect_as_before(&w);
    }
    assert_true(n > 20); // places that were visited
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_run_of_live_and_one_of_history),
        cmocka_unit_test(deletes_into_an_empty_tree_are_receipts),
        cmocka_unit_test(an_empty_memtable_moves_the_flushed_commit_only),
        cmocka_unit_test(a_stopped_flush_leaves_nothing),
        cmocka_unit_test(a_failed_install_removes_no_file),
        cmocka_unit_test(expired_puts_are_flushed_as_deletes),
        cmocka_unit_test(nothing_dropped_leaves_the_floor),
        cmocka_unit_test(what_the_caller_adds_is_installed_with_it),
        cmocka_unit_test(an_error_of_the_disk_leaves_all_as_it_was),
        cmocka_unit_test(an_allocation_that_fails_leaves_all_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
