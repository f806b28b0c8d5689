#include "compact/compact.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/alloc_fault.h"
#include "lib/compact_world.h"

static void put_keys(struct compact_world *w, uint32_t first, uint32_t count)
{
    for (uint32_t k = first; k < first + count; k++) {
        compact_world_put(w, k, false);
    }
    compact_world_flush(w);
}

// Retention of nothing; keys 4 - 11 in one table, 20 - 23 in another.
static void fill(struct compact_world *w)
{
    compact_world_open(w, 1, false);
    put_keys(w, 4, 8);
    put_keys(w, 20, 4);
}

static void delete_range(struct compact_world *w, uint32_t begin, uint32_t end)
{
    compact_world_delete_range(w, begin, end);
    compact_world_flush(w);
}

static void expect_excised(struct compact_world *w, uint64_t tables)
{
    uint64_t floor = compact_world_space(w)->floor;
    assert_int_equal(compact_world_excise(w, NULL), tables);
    assert_true(compact_world_space(w)->floor == (tables == 0 ? floor : w->commit));
    compact_world_check(w);
}

static void a_covered_table_leaves(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w);
    expect_excised(&w, 0);
    delete_range(&w, 3, 13);
    uint32_t files = compact_world_files(&w);
    expect_excised(&w, 1);
    assert_int_equal(compact_world_files(&w), files - 1);
    expect_excised(&w, 0);
    compact_world_close(&w);
}

static void a_table_that_is_covered_in_part_stays(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w);
    delete_range(&w, 5, 24);
    expect_excised(&w, 1); // the other one
    delete_range(&w, 3, 11);
    expect_excised(&w, 1); // all but one key were covered before, all are now
    compact_world_close(&w);
}

static void range_deletes_of_several_runs_cover_together(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w);
    delete_range(&w, 2, 7);
    delete_range(&w, 9, 14);
    expect_excised(&w, 0);
    delete_range(&w, 7, 9);
    expect_excised(&w, 1);
    compact_world_close(&w);
}

static void an_older_range_delete_covers_nothing(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w);
    delete_range(&w, 0, 30);
    put_keys(&w, 4, 8);
    expect_excised(&w, 2); // the old ones, not the new one
    compact_world_close(&w);
}

static void a_table_with_range_deletes_stays(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w);
    compact_world_put(&w, 5, false);
    compact_world_put(&w, 8, false);
    delete_range(&w, 6, 8);
    uint32_t runs = compact_world_space(&w)->live->run_count;
    delete_range(&w, 0, 30);
    expect_excised(&w, 2);
    assert_int_equal(compact_world_space(&w)->live->run_count, runs + 1 - 2);
    compact_world_close(&w);
}

static void a_registered_commit_keeps_the_table(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w);
    compact_world_snapshot(&w);
    delete_range(&w, 0, 30);
    expect_excised(&w, 0);
    // From here on it sees the range delete.
    w.snapshots[0] = w.commit;
    expect_excised(&w, 2);
    compact_world_close(&w);
}

static void a_snapshot_between_two_deletes_does_not_keep_it(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w);
    delete_range(&w, 0, 30);
    compact_world_snapshot(&w);
    delete_range(&w, 0, 30);
    expect_excised(&w, 2); // the older delete hides them from the snapshot already
    compact_world_close(&w);
}

static void the_floor_keeps_the_table(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w);
    w.retention = COMPACT_WORLD_AGE;
    delete_range(&w, 0, 30);
    uint64_t deleted = w.commit;
    while (w.commit < deleted + COMPACT_WORLD_AGE_COMMITS - 1) {
        compact_world_put(&w, 35, false);
    }
    assert_int_equal(compact_world_excise(&w, NULL), 0);
    compact_world_put(&w, 35, false); // now the floor is the commit of the range delete
    assert_int_equal(compact_world_excise(&w, NULL), 2);
    compact_world_check(&w);
    compact_world_close(&w);
}

static void a_claimed_run_is_left_alone(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w);
    delete_range(&w, 0, 30);
    const struct level *l = &compact_world_space(&w)->live->levels[0];
    uint64_t claimed = l->runs[1]->number;
    struct shape_claims claims = {&claimed, 1};
    assert_int_equal(compact_world_excise(&w, &claims), 1);
    compact_world_check(&w);
    assert_int_equal(compact_world_excise(&w, NULL), 1);
    compact_world_check(&w);
    compact_world_close(&w);
}

static void history_leaves_with_the_floor(void **state)
{
    (void)state;
    struct compact_world w;
    compact_world_open(&w, 2, true);
    for (uint32_t i = 0; i < 60; i++) {
        compact_world_write(&w);
        if (i % 20 == 19) {
            compact_world_flush(&w);
        }
    }
    uint64_t count = compact_world_space(&w)->history->run_count;
    assert_true(count == 3);
    expect_excised(&w, 0);
    const struct run *oldest = compact_world_space(&w)->history->levels[0].runs[2];
    uint64_t inside = table_meta(oldest->tables[0])->commit_least;
    w.retention = COMPACT_WORLD_NONE;
    w.snapshots[w.snapshot_count++] = inside;
    assert_int_equal(compact_world_excise(&w, NULL), 2);
    compact_world_check(&w);
    w.snapshot_count = 0;
    assert_int_equal(compact_world_excise(&w, NULL), 1);
    assert_int_equal(compact_world_space(&w)->history->run_count, 0);
    compact_world_check(&w);
    compact_world_close(&w);
}

// A merge that meets the range delete does not read what it covers.
static void a_merge_skips_what_is_covered(void **state)
{
    (void)state;
    struct compact_world w;
    for (uint32_t registered = 0; registered < 2; registered++) {
        compact_world_open(&w, 3, false);
        for (uint32_t run = 0; run < 3; run++) {
            put_keys(&w, 2, 32);
        }
        if (registered == 1) {
            compact_world_snapshot(&w);
        }
        delete_range(&w, 4, 30);
        compact_world_merge_full(&w, false, false);
        // Each run once, for all of its blocks. The snapshot lies between all puts and the delete.
        assert_int_equal(w.sums.blocks_skipped, registered == 0 ? 3 : 0);
        compact_world_check(&w);
        compact_world_close(&w);
    }
}

// In small tables and slices. Returns how many blocks were skipped.
static uint64_t merge_in_slices(struct compact_world *w)
{
    struct tree *tree = compact_world_space(w)->live;
    struct shape shape = {.table_bytes = 1000, .size_ratio = 4, .level_count = 1};
    struct shape_job job;
    struct merge *m;
    bool done = false;
    uint64_t installs = w->installs;
    assert_true(shape_pick_full(tree, &shape, NULL, true, &job));
    job.rewrite = true;
    assert_int_equal(
        merge_new(&w->env, compact_world_space(w), false, tree, &job, &shape, 1000, &m), STRATA_OK);
    while (!done) {
        assert_int_equal(merge_step(m, &done), STRATA_OK);
    }
    uint64_t skipped = merge_progress(m)->blocks_skipped;
    assert_true(w->installs > installs + 2);
    merge_free(m);
    return skipped;
}

// Tables that earlier slices have ended are gone by then.
static void a_merge_skips_behind_a_slice(void **state)
{
    (void)state;
    struct compact_world w;
    compact_world_open(&w, 4, false);
    put_keys(&w, 0, 36);
    put_keys(&w, 0, 36);
    assert_int_equal(merge_in_slices(&w), 0);
    put_keys(&w, 0, 36);
    delete_range(&w, 24, 35);
    assert_true(merge_in_slices(&w) >= 2);
    compact_world_check(&w);
    compact_world_close(&w);
}

static void an_allocation_that_fails_changes_nothing(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w);
    delete_range(&w, 0, 30);
    struct compact_trim trim;
    assert_int_equal(w.env.trim(&w, 1, &trim), STRATA_OK);
    uint64_t failed = 1;
    uint64_t n;
    for (n = 0; failed != 0; n++) {
        struct edit e = {0};
        uint64_t bytes;
        alloc_fault_arm(n, 1);
        strata_rc rc = compact_excise(&trim, compact_world_space(&w), NULL, &e, &bytes);
        failed = alloc_fault_disarm();
        assert_int_equal(rc, failed != 0 ? STRATA_NO_MEMORY : STRATA_OK);
        edit_release(&e);
    }
    assert_true(n > 1);
    compact_trim_release(&trim);
    compact_world_check(&w);
    compact_world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_covered_table_leaves),
        cmocka_unit_test(a_table_that_is_covered_in_part_stays),
        cmocka_unit_test(range_deletes_of_several_runs_cover_together),
        cmocka_unit_test(an_older_range_delete_covers_nothing),
        cmocka_unit_test(a_table_with_range_deletes_stays),
        cmocka_unit_test(a_registered_commit_keeps_the_table),
        cmocka_unit_test(a_snapshot_between_two_deletes_does_not_keep_it),
        cmocka_unit_test(the_floor_keeps_the_table),
        cmocka_unit_test(a_claimed_run_is_left_alone),
        cmocka_unit_test(history_leaves_with_the_floor),
        cmocka_unit_test(a_merge_skips_what_is_covered),
        cmocka_unit_test(a_merge_skips_behind_a_slice),
        cmocka_unit_test(an_allocation_that_fails_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
