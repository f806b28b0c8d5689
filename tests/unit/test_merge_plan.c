#include "compact/merge_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/compact_world.h"

// Input tables are made by flushes of puts at chosen keys: the plan looks at their bounds only.
#define TABLE_BYTES 1024u // so that a table of a few puts is small only where a test wants it

struct plan_case {
    struct compact_world world;
    struct shape_job job;
    struct merge_plan plan;
    struct merge_plan_rules rules; // but for the bytes
};

static void put_keys(struct compact_world *w, uint32_t first, uint32_t count, bool deletes)
{
    for (uint32_t k = first; k < first + count; k++) {
        compact_world_put(w, k, deletes);
    }
    compact_world_flush(w);
}

// All runs of the tree, newest first, into the place of the oldest.
static void make_plan(struct plan_case *c, bool to_last, bool new_run, uint64_t table_bytes)
{
    const struct level *l = &compact_world_space(&c->world)->live->levels[0];
    c->job = (struct shape_job){.to_last = to_last};
    for (uint32_t i = 0; i < l->count; i++) {
        c->job.inputs[c->job.input_count++] = l->runs[i];
    }
    c->job.output_run = new_run ? 0 : l->runs[l->count - 1]->number;
    c->job.output_level = new_run ? 1 : 0;
    c->plan = (struct merge_plan){0};
    struct merge_plan_rules rules = c->rules;
    rules.table_bytes = table_bytes;
    assert_int_equal(merge_plan_make(&c->plan, &c->job, &rules), STRATA_OK);
}

static void plan_close(struct plan_case *c)
{
    merge_plan_release(&c->plan);
    compact_world_close(&c->world);
}

static void expect_group(const struct plan_case *c, size_t index, enum merge_group_kind kind,
                         size_t first, size_t count)
{
    assert_true(index < c->plan.group_count);
    const struct merge_group *g = &c->plan.groups[index];
    assert_int_equal(g->kind, kind);
    assert_int_equal(g->first, first);
    assert_int_equal(g->count, count);
}

static void tables_that_overlap_nothing_move(void **state)
{
    (void)state;
    struct plan_case c = {0};
    compact_world_open(&c.world, 1, true);
    put_keys(&c.world, 8, 4, false);
    put_keys(&c.world, 0, 4, false);
    make_plan(&c, true, true, TABLE_BYTES);
    assert_int_equal(c.plan.group_count, 2);
    expect_group(&c, 0, MERGE_MOVE, 0, 1);
    expect_group(&c, 1, MERGE_MOVE, 1, 1);
    plan_close(&c);
}

static void a_table_of_the_output_run_stays(void **state)
{
    (void)state;
    struct plan_case c = {0};
    compact_world_open(&c.world, 2, true);
    put_keys(&c.world, 8, 4, false); // the oldest run
    put_keys(&c.world, 0, 4, false);
    make_plan(&c, true, false, TABLE_BYTES);
    expect_group(&c, 0, MERGE_MOVE, 0, 1);
    expect_group(&c, 1, MERGE_STAY, 1, 1);
    plan_close(&c);
}

static void tables_that_overlap_are_one_group(void **state)
{
    (void)state;
    struct plan_case c = {0};
    compact_world_open(&c.world, 3, true);
    put_keys(&c.world, 0, 4, false);
    put_keys(&c.world, 3, 6, false);
    put_keys(&c.world, 8, 4, false);
    put_keys(&c.world, 16, 4, false);
    make_plan(&c, true, true, TABLE_BYTES);
    assert_int_equal(c.plan.group_count, 2);
    expect_group(&c, 0, MERGE_REWRITE, 0, 3);
    expect_group(&c, 1, MERGE_MOVE, 3, 1);
    plan_close(&c);
}

static void deletes_that_end_here_are_rewritten(void **state)
{
    (void)state;
    struct plan_case c = {0};
    compact_world_open(&c.world, 4, true);
    put_keys(&c.world, 0, 24, false); // so that the deletes of the next run stay
    put_keys(&c.world, 0, 4, true);
    put_keys(&c.world, 8, 4, false);
    const struct level *l = &compact_world_space(&c.world)->live->levels[0];
    c.job = (struct shape_job){
        .input_count = 2, .inputs = {l->runs[0], l->runs[1]}, .output_level = 1, .to_last = true};
    c.plan = (struct merge_plan){0};
    struct merge_plan_rules rules = {.table_bytes = TABLE_BYTES};
    assert_int_equal(merge_plan_make(&c.plan, &c.job, &rules), STRATA_OK);
    expect_group(&c, 0, MERGE_REWRITE, 0, 1);
    expect_group(&c, 1, MERGE_MOVE, 1, 1);
    merge_plan_release(&c.plan);
    // With older runs below they go on as they are.
    c.job.to_last = false;
    assert_int_equal(merge_plan_make(&c.plan, &c.job, &rules), STRATA_OK);
    expect_group(&c, 0, MERGE_MOVE, 0, 1);
    plan_close(&c);
}

static void small_tables_melt_together(void **state)
{
    (void)state;
    struct plan_case c = {0};
    compact_world_open(&c.world, 5, true);
    put_keys(&c.world, 0, 2, false);
    put_keys(&c.world, 4, 2, false);
    put_keys(&c.world, 8, 2, false);
    make_plan(&c, true, true, 1u << 20);
    assert_int_equal(c.plan.group_count, 1);
    expect_group(&c, 0, MERGE_REWRITE, 0, 3);
    plan_close(&c);
}

static void a_small_table_in_its_place_melts_only_beside_others(void **state)
{
    (void)state;
    struct plan_case c = {0};
    compact_world_open(&c.world, 6, true);
    put_keys(&c.world, 4, 2, false); // the oldest run
    make_plan(&c, true, false, 1u << 20);
    expect_group(&c, 0, MERGE_STAY, 0, 1);
    merge_plan_release(&c.plan);
    put_keys(&c.world, 8, 2, false);
    make_plan(&c, true, false, 1u << 20);
    assert_int_equal(c.plan.group_count, 1);
    expect_group(&c, 0, MERGE_REWRITE, 0, 2);
    plan_close(&c);
}

static void what_would_move_is_read_where_versions_may_go(void **state)
{
    (void)state;
    struct plan_case c = {.rules = {.history = true, .read_moved = true}};
    compact_world_open(&c.world, 7, true);
    put_keys(&c.world, 8, 4, false); // the oldest run
    put_keys(&c.world, 0, 4, false);
    make_plan(&c, true, false, TABLE_BYTES);
    expect_group(&c, 0, MERGE_REWRITE, 0, 1);
    expect_group(&c, 1, MERGE_STAY, 1, 1);
    plan_close(&c);
}

static void expired_tables_are_read(void **state)
{
    (void)state;
    struct plan_case c = {.rules = {.expires = true}};
    compact_world_open(&c.world, 8, true);
    c.world.expiring = true;
    put_keys(&c.world, 8, 4, false); // the oldest run
    put_keys(&c.world, 0, 4, false);
    make_plan(&c, true, false, TABLE_BYTES);
    expect_group(&c, 0, MERGE_REWRITE, 0, 1);
    expect_group(&c, 1, MERGE_STAY, 1, 1);
    merge_plan_release(&c.plan);
    make_plan(&c, false, false, TABLE_BYTES); // an older run needs the deletes that they become
    expect_group(&c, 0, MERGE_MOVE, 0, 1);
    merge_plan_release(&c.plan);
    // All that is as old as the commit between the two runs has expired.
    c.rules.expired_us = 4 * COMPACT_WORLD_COMMIT_US;
    make_plan(&c, true, false, TABLE_BYTES);
    assert_int_equal(c.plan.group_count, 1);
    expect_group(&c, 0, MERGE_REWRITE, 0, 2);
    plan_close(&c);
}

// Also when it has not all expired: that is what a merge of one run is for.
static void a_merge_of_one_run_looks_again(void **state)
{
    (void)state;
    struct plan_case c = {.rules = {.expires = true}};
    compact_world_open(&c.world, 10, true);
    c.world.expiring = true;
    put_keys(&c.world, 8, 4, false);
    make_plan(&c, true, false, TABLE_BYTES);
    expect_group(&c, 0, MERGE_REWRITE, 0, 1);
    merge_plan_release(&c.plan);
    c.rules.expires = false;
    make_plan(&c, true, false, TABLE_BYTES);
    expect_group(&c, 0, MERGE_STAY, 0, 1);
    plan_close(&c);
}

static void everything_can_be_read(void **state)
{
    (void)state;
    struct plan_case c = {0};
    compact_world_open(&c.world, 9, true);
    put_keys(&c.world, 8, 4, false);
    put_keys(&c.world, 0, 4, false);
    make_plan(&c, true, false, TABLE_BYTES);
    assert_int_equal(c.plan.group_count, 2);
    merge_plan_read_all(&c.plan);
    assert_int_equal(c.plan.group_count, 1);
    expect_group(&c, 0, MERGE_REWRITE, 0, 2);
    plan_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_that_overlap_nothing_move),
        cmocka_unit_test(a_table_of_the_output_run_stays),
        cmocka_unit_test(tables_that_overlap_are_one_group),
        cmocka_unit_test(deletes_that_end_here_are_rewritten),
        cmocka_unit_test(small_tables_melt_together),
        cmocka_unit_test(a_small_table_in_its_place_melts_only_beside_others),
        cmocka_unit_test(what_would_move_is_read_where_versions_may_go),
        cmocka_unit_test(expired_tables_are_read),
        cmocka_unit_test(a_merge_of_one_run_looks_again),
        cmocka_unit_test(everything_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
