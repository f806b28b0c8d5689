// Runs of point deletes that become range deletes, in merges above an older run.
#include "compact/turn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/alloc_fault.h"
#include "lib/compact_world.h"

// Every second key from `first` to `last`.
static void write_keys(struct compact_world *w, uint32_t first, uint32_t last, bool deletes)
{
    for (uint32_t k = first; k <= last; k += 2) {
        compact_world_put(w, k, deletes);
    }
}

// An old run that holds the even keys. Retention of nothing.
static void fill_open(struct compact_world *w)
{
    w->retention = COMPACT_WORLD_NONE;
    w->env.turn_deletes = 3;
    write_keys(w, 0, 34, false);
    compact_world_flush(w);
}

static void fill(struct compact_world *w)
{
    compact_world_open(w, 1, true);
    fill_open(w);
}

// The tables of this run and of the next one overlap, so that a merge reads both.
static void flush_first(struct compact_world *w)
{
    compact_world_put(w, 35, false);
    compact_world_flush(w);
    compact_world_put(w, 1, false);
}

// Merges the two newest runs, which are not the last.
static strata_rc try_merge(struct compact_world *w)
{
    struct tree *tree = compact_world_space(w)->live;
    const struct level *l = &tree->levels[0];
    struct shape shape = {.table_bytes = 4000, .size_ratio = 4, .level_count = 1};
    struct shape_job job = {
        .input_count = 2, .inputs = {l->runs[0], l->runs[1]}, .output_run = l->runs[1]->number};
    struct merge *m;
    assert_true(l->count >= 3);
    strata_rc rc = merge_new(&w->env, compact_world_space(w), false, tree, &job, &shape, 8000, &m);
    bool done = false;
    while (rc == STRATA_OK && !done) {
        rc = merge_step(m, &done);
    }
    if (rc == STRATA_OK) {
        w->sums = (struct compact_progress){0};
        compact_world_count(w, merge_progress(m));
    }
    merge_free(m);
    return rc;
}

// Flushes; of the two newest runs so many deletes become so many range deletes, others stay.
static void expect_turned(struct compact_world *w, uint64_t turned, uint64_t ranges, uint64_t stay)
{
    compact_world_flush(w);
    compact_world_check(w);
    assert_int_equal(try_merge(w), STRATA_OK);
    const struct run *run = compact_world_space(w)->live->levels[0].runs[0];
    assert_int_equal(w->sums.turned, turned);
    assert_int_equal(run->range_fragments, ranges);
    assert_int_equal(run->deletes, stay);
    compact_world_check(w);
    compact_world_merge_full(w, false, false);
    compact_world_check(w);
    compact_world_close(w);
}

static void deletes_become_one_range(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w);
    write_keys(&w, 10, 20, true);
    flush_first(&w);
    write_keys(&w, 22, 26, true);
    expect_turned(&w, 9, 1, 0);
}

// The tables below it then leave without being read.
static void what_a_range_covers_leaves(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w);
    write_keys(&w, 0, 20, true);
    compact_world_flush(&w);
    write_keys(&w, 18, 34, true);
    compact_world_flush(&w);
    assert_int_equal(compact_world_excise(&w, NULL), 0);
    assert_int_equal(try_merge(&w), STRATA_OK);
    assert_int_equal(compact_world_excise(&w, NULL), 1);
    compact_world_check(&w);
    compact_world_close(&w);
}

static void a_key_between_parts_them(void **state)
{
    (void)state;
    struct compact_world w;
    compact_world_open(&w, 2, true);
    compact_world_put(&w, 15, false); // only the oldest run knows it
    fill_open(&w);
    write_keys(&w, 8, 14, true);
    flush_first(&w);
    write_keys(&w, 16, 22, true);
    expect_turned(&w, 8, 2, 0);
}

static void a_put_between_parts_them(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w);
    write_keys(&w, 8, 14, true);
    compact_world_put(&w, 15, false);
    flush_first(&w);
    write_keys(&w, 16, 22, true);
    expect_turned(&w, 8, 2, 0);
}

static void a_range_delete_between_parts_them(void **state)
{
    (void)state;
    struct compact_world w;
    compact_world_open(&w, 3, true);
    w.retention = COMPACT_WORLD_NONE;
    w.env.turn_deletes = 3;
    write_keys(&w, 6, 10, false);
    write_keys(&w, 20, 24, false);
    compact_world_flush(&w);
    write_keys(&w, 6, 10, true);
    write_keys(&w, 20, 24, true);
    flush_first(&w);
    compact_world_delete_range(&w, 13, 16);
    expect_turned(&w, 6, 3, 0);
}

static void few_deletes_stay(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w);
    write_keys(&w, 8, 8, true);
    flush_first(&w);
    write_keys(&w, 10, 10, true);
    expect_turned(&w, 0, 0, 2);
}

static void a_commit_between_that_is_asked_for_parts_them(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w);
    write_keys(&w, 8, 14, true);
    compact_world_snapshot(&w);
    flush_first(&w);
    write_keys(&w, 16, 22, true);
    expect_turned(&w, 8, 2, 0);
}

static void deletes_that_are_retained_stay(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w);
    w.retention = COMPACT_WORLD_AGE;
    write_keys(&w, 8, 14, true);
    flush_first(&w);
    write_keys(&w, 16, 22, true);
    expect_turned(&w, 0, 0, 8);
}

// Deletes of one commit handed in at the middle one of three runs, over keys that the others hold.
static uint64_t turn_at(struct compact_world *w, uint64_t commit)
{
    struct compact_progress progress = {0};
    struct output_set set;
    struct output out;
    struct output_place place = {.levels = 1, .table_bytes = 1u << 20, .size_ratio = 4};
    struct compact_trim trim = {.floor = 1000};
    struct tree *tree = compact_world_space(w)->live;
    struct shape_job job = {.input_count = 1, .inputs = {tree->levels[0].runs[1]}};
    output_set_init(&set, &w->env, &progress);
    output_init(&out, &set, compact_world_space(w), &place);
    struct turn t = {.env = &w->env, .trim = &trim, .out = &out, .keyspace = 1};
    assert_int_equal(turn_init(&t, tree, &job), STRATA_OK);
    for (uint32_t k = 2; k <= 8; k += 2) {
        struct kv_entry e = {.key = (const uint8_t *)w->keys[k],
                             .key_bytes = (uint32_t)strlen(w->keys[k]),
                             .commit = commit,
                             .kind = KV_DELETE};
        assert_int_equal(turn_add(&t, &e, 0), STRATA_OK);
    }
    assert_int_equal(turn_close(&t), STRATA_OK);
    assert_int_equal(turn_write(&t, slice_of(NULL, 0)), STRATA_OK);
    turn_release(&t);
    output_release(&out);
    output_set_release(&set);
    return progress.turned;
}

// By the commits of tables: what older runs hold must be older, what newer ones hold newer.
static void all_below_is_older_and_all_above_newer(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w);
    uint64_t below = w.commit;
    compact_world_put(&w, 35, false);
    compact_world_put(&w, 35, false);
    compact_world_flush(&w);
    write_keys(&w, 2, 8, false);
    compact_world_flush(&w);
    assert_int_equal(turn_at(&w, below), 0);
    assert_int_equal(turn_at(&w, below + 1), 4);
    assert_int_equal(turn_at(&w, below + 2), 4);
    assert_int_equal(turn_at(&w, below + 3), 0);
    compact_world_close(&w);
}

static void an_allocation_that_fails_leaves_a_whole_tree(void **state)
{
    (void)state;
    uint64_t failed = 1;
    uint64_t n;
    for (n = 0; failed != 0; n++) {
        struct compact_world w;
        compact_world_open_real(&w, 22);
        fill_open(&w);
        write_keys(&w, 0, 16, true);
        compact_world_flush(&w);
        write_keys(&w, 20, 34, true);
        compact_world_flush(&w);
        w.faults = true;
        alloc_fault_arm(n, 1);
        strata_rc rc = try_merge(&w);
        failed = alloc_fault_disarm();
        assert_true(rc == STRATA_OK || (failed != 0 && rc == STRATA_NO_MEMORY));
        w.faults = false;
        compact_world_check(&w);
        compact_world_merge_full(&w, false, false);
        compact_world_check(&w);
        compact_world_remove_strays(&w);
        compact_world_close(&w);
    }
    assert_true(n > 20); // places that were visited
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deletes_become_one_range),
        cmocka_unit_test(what_a_range_covers_leaves),
        cmocka_unit_test(a_key_between_parts_them),
        cmocka_unit_test(a_put_between_parts_them),
        cmocka_unit_test(a_range_delete_between_parts_them),
        cmocka_unit_test(few_deletes_stay),
        cmocka_unit_test(a_commit_between_that_is_asked_for_parts_them),
        cmocka_unit_test(deletes_that_are_retained_stay),
        cmocka_unit_test(all_below_is_older_and_all_above_newer),
        cmocka_unit_test(an_allocation_that_fails_leaves_a_whole_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
