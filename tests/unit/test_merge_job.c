// Flushes and merges over real tables on a simulated disk: random commits, flushes, merges of live
// and of history in small slices, given up in the middle now and then, with writes and flushes
// between their steps.
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

// ---- merges

// Runs i..j of the sequence by age into the place of the oldest; or, when that is the oldest of its
// level, one level down as a new run; or one run down unread.
static bool pick_job(struct compact_world *w, const struct tree *t, struct shape_job *job)
{
    *job = (struct shape_job){0};
    uint32_t count = t->run_count;
    if (count == 0) {
        return false;
    }
    uint32_t i = compact_world_below(w, count);
    uint32_t j = i + compact_world_below(w, 4);
    j = j < count ? j : count - 1;
    uint32_t at = 0;
    uint32_t last_index = 0;
    for (uint32_t l = 0; l < t->level_count; l++) {
        for (uint32_t r = 0; r < t->levels[l].count; r++, at++) {
            if (at >= i && at <= j) {
                job->inputs[job->input_count] = t->levels[l].runs[r];
                job->input_levels[job->input_count++] = l;
                last_index = r;
            }
        }
    }
    for (uint32_t n = 0; n < job->input_count; n++) {
        if (job->inputs[n]->number == w->ejected_run) {
            return false;
        }
    }
    uint32_t level = job->input_levels[job->input_count - 1];
    job->output_level = level;
    job->output_run = job->inputs[job->input_count - 1]->number;
    job->to_last = j + 1 == count;
    if (last_index + 1 == t->levels[level].count && level < 4 && prng_one_in(&w->random, 2)) {
        job->output_level = level + 1;
        job->output_run = 0;
        job->relabel = job->input_count == 1 && prng_one_in(&w->random, 2);
    }
    return true;
}

// In the output run of a merge behind which nothing is older.
static void expect_no_deletes(const struct compact_world *w, const struct shape_job *job)
{
    const struct tree *tree = compact_world_space(w)->live;
    if (job->output_level >= tree->level_count || tree->levels[job->output_level].count == 0) {
        return; // nothing was left
    }
    const struct level *level = &tree->levels[job->output_level];
    const struct run *run = level->runs[level->count - 1];
    for (uint32_t i = 0; i < run->count && (job->output_run == 0 || run->number == job->output_run);
         i++) {
        assert_true(table_meta(run->tables[i])->deletes == 0);
        assert_true(table_meta(run->tables[i])->range_fragments == 0);
    }
}

static void merge_world(struct compact_world *w, bool history, bool with_writes)
{
    struct tree *tree = history ? compact_world_space(w)->history : compact_world_space(w)->live;
    struct shape_job job;
    if (!pick_job(w, tree, &job)) {
        return;
    }
    struct shape shape = {.table_bytes = 1500u << compact_world_below(w, 5), .size_ratio = 4};
    uint64_t slice_bytes =
        prng_one_in(&w->random, 3) ? UINT64_MAX : 2000u << compact_world_below(w, 4);
    struct merge *m;
    assert_int_equal(
        merge_new(&w->env, compact_world_space(w), history, tree, &job, &shape, slice_bytes, &m),
        STRATA_OK);
    bool done = false;
    bool gives_up = prng_one_in(&w->random, 6);
    if (!history) {
        w->ejected_run = merge_ejected_run(m);
    }
    while (!done && !(gives_up && prng_one_in(&w->random, 3))) {
        assert_int_equal(merge_step(m, &done), STRATA_OK);
        if (with_writes && prng_one_in(&w->random, 3)) {
            compact_world_write(w);
            if (prng_one_in(&w->random, 2)) {
                compact_world_flush(w);
            }
            if (!history && prng_one_in(&w->random, 4)) {
                merge_world(w, true, false);
            }
        }
    }
    const struct compact_progress *p = merge_progress(m);
    if (done) {
        assert_true(job.relabel ||
                    p->entries_in + p->dropped >= p->entries_out + p->ejected + p->receipts);
        if (job.to_last && !history && !job.relabel) {
            expect_no_deletes(w, &job);
        }
    }
    compact_world_count(w, p);
    w->ejected_run = history ? w->ejected_run : 0;
    merge_free(m);
}

static void world_run(struct compact_world *w, uint32_t steps)
{
    for (uint32_t i = 0; i < steps; i++) {
        uint32_t dice = compact_world_below(w, 100);
        if (dice < 62) {
            compact_world_write(w);
        } else if (dice < 76) {
            compact_world_flush(w);
        } else if (dice < 90) {
            merge_world(w, false, prng_one_in(&w->random, 2));
        } else if (dice < 96) {
            merge_world(w, true, prng_one_in(&w->random, 2));
        } else if (w->retention != COMPACT_WORLD_ALL) {
            compact_world_snapshot(w);
        }
        if (dice >= 62 && prng_one_in(&w->random, 4)) {
            compact_world_check(w);
        }
    }
    compact_world_check(w);
}

static void every_commit_stays_readable(void **state)
{
    (void)state;
    uint64_t moved = 0;
    uint64_t ejected = 0;
    uint64_t receipts = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct compact_world w;
        compact_world_open(&w, seed, true);
        world_run(&w, 150);
        moved += w.sums.tables_moved;
        ejected += w.sums.ejected;
        receipts += w.sums.receipts;
        compact_world_close(&w);
    }
    assert_true(moved > 10 && ejected > 100 && receipts > 10);
}

// Each run holds a few neighbouring keys, now and then a range delete: many blocks overlap nothing,
// others do so at one end, or lie under a range delete of another run.
static void every_commit_stays_readable_when_blocks_pass(void **state)
{
    (void)state;
    uint64_t passed = 0;
    uint64_t handed = 0;
    for (uint64_t seed = 301; seed <= 350; seed++) {
        struct compact_world w;
        compact_world_open(&w, seed, seed % 4 != 0);
        w.cluster_keys = 4 + 3 * (uint32_t)(seed % 4);
        world_run(&w, 150);
        passed += w.sums.blocks_passed;
        handed += w.sums.blocks_handed;
        compact_world_close(&w);
    }
    assert_true(passed > 300 && handed > 50);
}

static void snapshots_stay_readable_when_nothing_else_is_kept(void **state)
{
    (void)state;
    for (uint64_t seed = 101; seed <= 125; seed++) {
        struct compact_world w;
        compact_world_open(&w, seed, false);
        world_run(&w, 150);
        compact_world_close(&w);
    }
}

// With every retention, expiring puts, snapshots, excises.
static void run_retention(enum compact_world_retention retention, uint64_t seed,
                          struct compact_progress *sums, uint64_t *trimmed)
{
    struct compact_world w;
    uint64_t excised = 0;
    compact_world_open(&w, seed, true);
    w.retention = retention;
    w.versions = 1 + (uint32_t)(seed % 3);
    w.expiring = seed % 2 == 0;
    w.cluster_keys = seed % 3 == 0 ? 6 : 0;
    w.env.turn_deletes = 2 + (uint32_t)(seed % 2);
    for (uint32_t part = 0; part < 5; part++) {
        world_run(&w, 60);
        excised += compact_world_excise(&w, NULL);
        compact_world_check(&w);
        if (w.snapshot_count > 2) {
            w.snapshots[compact_world_below(&w, w.snapshot_count)] = w.snapshots[0];
            w.snapshots[0] = w.snapshots[--w.snapshot_count];
        }
    }
    sums->dropped += w.sums.dropped;
    sums->expired += w.sums.expired;
    sums->floors += w.sums.floors;
    sums->turned += w.sums.turned;
    sums->blocks_skipped += w.sums.blocks_skipped;
    sums->blocks_passed += w.sums.blocks_passed;
    sums->tables_moved += excised;
    *trimmed += w.trimmed;
    compact_world_close(&w);
}

// `puts` keys that expire, in `runs` runs, and one more commit a good while later.
static void fill_expiring(struct compact_world *w, uint32_t runs)
{
    compact_world_open(w, 31, true);
    for (uint32_t run = 0; run < runs; run++) {
        for (uint32_t k = 0; k < COMPACT_WORLD_KEYS - 1; k++) {
            w->expiring = k % 2 == run % 2;
            compact_world_put(w, k, false);
        }
        compact_world_flush(w);
    }
    w->expiring = false;
    for (uint32_t i = 0; i < 60; i++) {
        compact_world_put(w, COMPACT_WORLD_KEYS - 1, false);
    }
    compact_world_flush(w);
    w->retention = COMPACT_WORLD_NONE;
}

static uint64_t live_expiring(const struct compact_world *w)
{
    const struct tree *t = compact_world_space(w)->live;
    uint64_t expiring = 0;
    for (uint32_t l = 0; l < t->level_count; l++) {
        for (uint32_t r = 0; r < t->levels[l].count; r++) {
            for (uint32_t i = 0; i < t->levels[l].runs[r]->count; i++) {
                expiring += table_meta(t->levels[l].runs[r]->tables[i])->expiring;
            }
        }
    }
    return expiring;
}

// Also where no other run overlaps and the table or the block could go over as it is.
static void what_has_expired_leaves_with_a_full_merge(void **state)
{
    (void)state;
    struct compact_world w;
    for (uint32_t runs = 1; runs <= 3; runs++) {
        fill_expiring(&w, runs);
        assert_true(live_expiring(&w) > 15);
        compact_world_merge_full(&w, false, false);
        assert_int_equal(live_expiring(&w), 0);
        assert_true(w.sums.expired > 15);
        assert_true(compact_world_space(&w)->floor == w.commit);
        compact_world_check(&w);
        compact_world_close(&w);
    }
}

static void a_snapshot_keeps_what_had_not_expired(void **state)
{
    (void)state;
    struct compact_world w;
    fill_expiring(&w, 1);
    uint64_t expiring = live_expiring(&w);
    w.snapshots[w.snapshot_count++] = COMPACT_WORLD_KEYS;
    compact_world_merge_full(&w, false, false);
    uint64_t left = live_expiring(&w);
    assert_true(left > 0 && left < expiring);
    compact_world_check(&w);
    w.snapshot_count = 0;
    compact_world_merge_full(&w, false, false);
    assert_int_equal(live_expiring(&w), 0);
    compact_world_check(&w);
    compact_world_close(&w);
}

// A counter's versions become one floor when all of history is merged, however often it was
// merged in parts before; a snapshot in the middle keeps its own.
static void old_versions_of_a_key_become_one_floor(void **state)
{
    (void)state;
    struct compact_world w;
    compact_world_open(&w, 32, true);
    w.retention = COMPACT_WORLD_VERSIONS;
    w.versions = 3;
    for (uint32_t i = 0; i < 200; i++) {
        compact_world_put(&w, 5, false);
        if (i % 20 == 19) {
            compact_world_flush(&w);
        }
        if (i % 60 == 59) {
            compact_world_merge_full(&w, true, false);
        }
    }
    compact_world_merge_full(&w, false, false);
    compact_world_merge_full(&w, true, false);
    const struct tree *t = compact_world_space(&w)->history;
    assert_int_equal(t->run_count, 1);
    assert_int_equal(table_meta(t->levels[t->level_count - 1].runs[0]->tables[0])->entries, 3);
    w.trimmed = 0;
    compact_world_check(&w);
    assert_int_equal(w.trimmed, 197);
    compact_world_snapshot(&w);
    for (uint32_t i = 0; i < 20; i++) {
        compact_world_put(&w, 5, false);
    }
    compact_world_flush(&w);
    compact_world_merge_full(&w, false, false);
    compact_world_merge_full(&w, true, false);
    t = compact_world_space(&w)->history;
    // Two values, a floor, the snapshot's value, a floor.
    assert_int_equal(table_meta(t->levels[t->level_count - 1].runs[0]->tables[0])->entries, 5);
    compact_world_check(&w);
    compact_world_close(&w);
}

static void retention_by_age_keeps_every_commit_from_the_floor_on(void **state)
{
    (void)state;
    struct compact_progress sums = {0};
    uint64_t trimmed = 0;
    for (uint64_t seed = 401; seed <= 424; seed++) {
        run_retention(COMPACT_WORLD_AGE, seed, &sums, &trimmed);
    }
    assert_true(sums.dropped > 100 && sums.expired > 50 && sums.tables_moved > 0);
    assert_true(sums.floors == 0 && trimmed == 0);
}

static void retention_of_nothing_keeps_the_present_and_the_registered(void **state)
{
    (void)state;
    struct compact_progress sums = {0};
    uint64_t trimmed = 0;
    for (uint64_t seed = 501; seed <= 524; seed++) {
        run_retention(COMPACT_WORLD_NONE, seed, &sums, &trimmed);
    }
    assert_true(sums.dropped > 100 && sums.expired > 50 && sums.tables_moved > 0);
    assert_true(sums.blocks_skipped > 0 && sums.turned > 20);
    assert_true(sums.floors == 0 && trimmed == 0);
}

static void retention_by_count_keeps_the_last_values(void **state)
{
    (void)state;
    struct compact_progress sums = {0};
    uint64_t trimmed = 0;
    for (uint64_t seed = 601; seed <= 624; seed++) {
        run_retention(COMPACT_WORLD_VERSIONS, seed, &sums, &trimmed);
    }
    assert_true(sums.floors > 100 && trimmed > 100);
    assert_true(sums.expired == 0 && sums.tables_moved == 0);
}

// Every job that the shape asks for, until it asks for none.
static uint32_t run_jobs_of_shape(struct compact_world *w, bool history, const struct shape *shape)
{
    uint32_t jobs = 0;
    for (;; jobs++) {
        struct tree *tree =
            history ? compact_world_space(w)->history : compact_world_space(w)->live;
        struct shape_job job;
        if (!shape_pick(tree, shape, NULL, &job)) {
            return jobs;
        }
        struct merge *m;
        assert_int_equal(
            merge_new(&w->env, compact_world_space(w), history, tree, &job, shape, 4000, &m),
            STRATA_OK);
        bool done = false;
        while (!done) {
            assert_int_equal(merge_step(m, &done), STRATA_OK);
        }
        compact_world_count(w, merge_progress(m));
        merge_free(m);
    }
}

static void jobs_of_the_shape_keep_every_commit(void **state)
{
    (void)state;
    uint32_t jobs = 0;
    uint32_t deepest = 0;
    for (uint64_t seed = 201; seed <= 208; seed++) {
        struct compact_world w;
        compact_world_open(&w, seed, true);
        strata_keyspace_options options = compact_world_space(&w)->options;
        options.size_ratio = 2;
        options.shape = seed % 2 == 0 ? STRATA_SHAPE_LAZY : STRATA_SHAPE_LEVELED;
        struct shape live = shape_live(&options, 256);
        struct shape history = shape_history(&options, 256);
        live.table_bytes = history.table_bytes = 1500;
        for (uint32_t i = 0; i < 300; i++) {
            compact_world_write(&w);
            if (i % 6 == 5) {
                compact_world_flush(&w);
                jobs += run_jobs_of_shape(&w, false, &live);
                jobs += run_jobs_of_shape(&w, true, &history);
            }
            if (i % 60 == 59) {
                compact_world_check(&w);
            }
        }
        uint32_t levels = compact_world_space(&w)->live->level_count;
        deepest = levels > deepest ? levels : deepest;
        compact_world_close(&w);
    }
    assert_true(jobs > 50 && deepest > 2);
}

static void a_full_merge_leaves_one_run_without_deletes(void **state)
{
    (void)state;
    struct compact_world w;
    compact_world_open(&w, 7, true);
    for (uint32_t i = 0; i < 200; i++) {
        compact_world_write(&w);
        if (i % 20 == 19) {
            compact_world_flush(&w);
        }
    }
    struct tree *tree = compact_world_space(&w)->live;
    struct shape shape = {.table_bytes = 3000, .size_ratio = 4, .level_count = 1};
    struct shape_job job;
    assert_true(shape_pick_full(tree, &shape, NULL, false, &job));
    struct merge *m;
    assert_int_equal(
        merge_new(&w.env, compact_world_space(&w), false, tree, &job, &shape, 4000, &m), STRATA_OK);
    bool done = false;
    while (!done) {
        assert_int_equal(merge_step(m, &done), STRATA_OK);
    }
    assert_true(merge_bytes_total(m) == merge_progress(m)->bytes_read);
    merge_free(m);
    tree = compact_world_space(&w)->live;
    assert_int_equal(tree->run_count, 1);
    const struct run *r = tree->levels[tree->level_count - 1].runs[0];
    assert_true(r->count > 1);
    for (uint32_t i = 0; i < r->count; i++) {
        assert_true(table_meta(r->tables[i])->deletes == 0);
        assert_true(table_meta(r->tables[i])->range_fragments == 0);
    }
    compact_world_check(&w);
    compact_world_close(&w);
}

static void a_stopped_merge_keeps_what_was_installed(void **state)
{
    (void)state;
    struct compact_world w;
    compact_world_open(&w, 9, true);
    for (uint32_t i = 0; i < 120; i++) {
        compact_world_write(&w);
        if (i % 30 == 29) {
            compact_world_flush(&w);
        }
    }
    struct tree *tree = compact_world_space(&w)->live;
    struct shape shape = {.table_bytes = 1500, .size_ratio = 4, .level_count = 1};
    struct shape_job job;
    assert_true(shape_pick_full(tree, &shape, NULL, false, &job));
    struct merge *m;
    assert_int_equal(
        merge_new(&w.env, compact_world_space(&w), false, tree, &job, &shape, 2000, &m), STRATA_OK);
    bool done = false;
    uint64_t before = w.installs;
    while (w.installs == before) {
        assert_int_equal(merge_step(m, &done), STRATA_OK);
        assert_false(done);
    }
    w.stopping = true;
    assert_int_equal(merge_step(m, &done), STRATA_BUSY);
    merge_free(m);
    compact_world_check(&w);
    compact_world_close(&w);
}

// A merge under faults: it ends with the error, what is installed is right, nothing else is left.
static strata_rc merge_all(struct compact_world *w)
{
    struct tree *tree = compact_world_space(w)->live;
    struct shape shape = {.table_bytes = 1500, .size_ratio = 4, .level_count = 1};
    struct shape_job job;
    assert_true(shape_pick_full(tree, &shape, NULL, true, &job));
    struct merge *m;
    strata_rc rc = merge_new(&w->env, compact_world_space(w), false, tree, &job, &shape, 4000, &m);
    bool done = false;
    while (rc == STRATA_OK && !done) {
        rc = merge_step(m, &done);
    }
    if (m != NULL) {
        compact_world_count(w, merge_progress(m));
    }
    merge_free(m);
    return rc;
}

static void fill_world(struct compact_world *w)
{
    w->cluster_keys = 14; // runs overlap at their ends: some blocks pass
    for (uint32_t i = 0; i < 150; i++) {
        w->cluster = i / 50 * 11;
        compact_world_write(w);
        if (i % 50 == 49) {
            compact_world_flush(w);
        }
    }
    compact_world_check(w); // which leaves the blocks in the cache
    w->faults = true;
    w->installs = w->installs_tried = 0;
}

// When an install was tried and failed its files stay: see compact.h.
static void expect_whole(struct compact_world *w)
{
    compact_world_check(w);
    if (w->installs == w->installs_tried) {
        compact_world_expect_no_stray_files(w);
    }
    w->faults = false;
    assert_int_equal(merge_all(w), STRATA_OK);
    assert_true(w->sums.blocks_passed > 0 && w->sums.blocks_handed > 0);
    compact_world_check(w);
}

static void forget_stray_files(struct compact_world *w)
{
    compact_world_remove_strays(w);
    compact_world_close(w);
}

static void an_error_of_the_disk_leaves_a_whole_tree(void **state)
{
    (void)state;
    bool fired = true;
    uint64_t n;
    for (n = 0; fired; n += n < 40 ? 1 : 5) {
        struct compact_world w;
        compact_world_open(&w, 21, true);
        fill_world(&w);
        struct sim_fault *rule = sim_machine_fail(
            &w.machine, (struct sim_fault){.ops = SIM_OP_ANY & ~SIM_OP_BIT(SIM_OP_UNLINK) &
                                                  ~SIM_OP_BIT(SIM_OP_CLOSE),
                                           .index = n,
                                           .error = 5});
        strata_rc rc = merge_all(&w);
        fired = rule->fired != 0;
        assert_true(rc == STRATA_OK || (fired && rc < 0));
        sim_machine_heal(&w.machine);
        expect_whole(&w);
        forget_stray_files(&w);
    }
    assert_true(n > 50); // places that were visited
}

static void an_allocation_that_fails_leaves_a_whole_tree(void **state)
{
    (void)state;
    uint64_t failed = 1;
    uint64_t n;
    for (n = 0; failed != 0; n += n < 60 ? 1 : 7) {
        struct compact_world w;
        compact_world_open_real(&w, 22);
        fill_world(&w);
        alloc_fault_arm(n, 1);
        strata_rc rc = merge_all(&w);
        failed = alloc_fault_disarm();
        assert_true(rc == STRATA_OK || (failed != 0 && rc == STRATA_NO_MEMORY));
        expect_whole(&w);
        forget_stray_files(&w);
    }
    assert_true(n > 50); // places that were visited
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_of_the_shape_keep_every_commit),
        cmocka_unit_test(a_full_merge_leaves_one_run_without_deletes),
        cmocka_unit_test(a_stopped_merge_keeps_what_was_installed),
        cmocka_unit_test(an_error_of_the_disk_leaves_a_whole_tree),
        cmocka_unit_test(an_allocation_that_fails_leaves_a_whole_tree),
        cmocka_unit_test(every_commit_stays_readable),
        cmocka_unit_test(every_commit_stays_readable_when_blocks_pass),
        cmocka_unit_test(snapshots_stay_readable_when_nothing_else_is_kept),
        cmocka_unit_test(what_has_expired_leaves_with_a_full_merge),
        cmocka_unit_test(a_snapshot_keeps_what_had_not_expired),
        cmocka_unit_test(old_versions_of_a_key_become_one_floor),
        cmocka_unit_test(retention_by_age_keeps_every_commit_from_the_floor_on),
        cmocka_unit_test(retention_of_nothing_keeps_the_present_and_the_registered),
        cmocka_unit_test(retention_by_count_keeps_the_last_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
