// What is superseded or dead, and which work gives it back. Trees are made of tables without files:
// a table is a text "LOWER-UPPER" and its numbers.
#include "shape/shape_space.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/fake_table.h"
#include "unit/shape_tree.h"

#define MIB (1024ull * 1024)

struct spec {
    uint32_t level;
    uint64_t run;
    const char *lower, *upper;
    uint64_t entries, bytes, value_bytes, deletes, commit;
};

// The tree of `count` tables; its file numbers are 1, 2, ...
static struct tree *tree_of(const struct spec *specs, size_t count)
{
    struct tree_change changes[32] = {{0}};
    struct tree *empty;
    struct tree *t;
    assert_in_range(count, 1, 32);
    assert_int_equal(tree_new_empty(&empty), STRATA_OK);
    for (size_t i = 0; i < count; i++) {
        const struct spec *s = &specs[i];
        struct table_meta m = fake_meta(i + 1, s->lower, s->upper);
        m.entries = s->entries;
        m.bytes = s->bytes;
        m.value_bytes = s->value_bytes;
        m.deletes = s->deletes;
        m.range_fragments = 0;
        m.commit_least = s->commit < 10 ? 1 : s->commit - 9;
        m.commit_greatest = s->commit;
        changes[i] = (struct tree_change){.add = true, .level = s->level, .run = s->run};
        assert_int_equal(table_open(NULL, &m, &changes[i].table), STRATA_OK);
    }
    assert_int_equal(tree_apply(empty, changes, count, &t), STRATA_OK);
    for (size_t i = 0; i < count; i++) {
        table_unref(changes[i].table);
    }
    tree_unref(empty);
    return t;
}
#define TREE(...)                                                                                  \
    tree_of((const struct spec[]){__VA_ARGS__},                                                    \
            sizeof((const struct spec[]){__VA_ARGS__}) / sizeof(struct spec))

static void finish(struct tree *t)
{
    tree_unref(t);
    assert_int_equal(fake.open, 0);
}

static void expect_job(bool there, const struct shape_job *job, const char *text)
{
    char got[400];
    shape_job_print(job, there, got, sizeof got);
    assert_string_equal(got, text);
    assert_int_equal(there && job->rewrite, there && job->input_count == 1);
}

static void expect_pick(const struct tree *t, uint64_t floor, uint64_t superseded_max,
                        const uint64_t *claimed, size_t claimed_count, const char *text)
{
    struct shape_claims claims = {claimed, claimed_count};
    struct shape_job job;
    bool there = shape_pick_space(t, &claims, floor, superseded_max, &job);
    expect_job(there, &job, text);
}

// ---- the budget

static void budget_leaves_room_under_the_bound(void **state)
{
    (void)state;
    static const struct shape_needed cases[] = {
        {1000 * MIB, 0}, {0, 1000 * MIB}, {60 * MIB, 5000 * MIB}, {500 * MIB, 500 * MIB}};
    for (uint32_t percent = 110; percent <= 300; percent += 10) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            uint64_t bytes = cases[i].table_bytes + cases[i].value_bytes;
            struct shape_budget b = shape_budget_of(percent, &cases[i], MIB, 64 * MIB);
            uint64_t slack = bytes * (percent - 100) / 100;
            // Superseded, dead, and two generations of values that nobody has looked at.
            uint64_t unseen = cases[i].value_bytes == 0 ? 0 : 2 * b.seal_bytes;
            assert_true(b.superseded_max + b.dead_value_max + unseen < b.excess_hard);
            assert_true(b.excess_soft < b.excess_hard);
            assert_true(b.excess_hard <= slack + MIB);
            assert_true(b.slice_bytes <= 64 * MIB);
        }
    }
}

static void generations_grow_with_the_values(void **state)
{
    (void)state;
    struct shape_needed none = {0, 0};
    struct shape_needed some = {60 * MIB, 5120 * MIB};
    struct shape_needed huge = {60 * MIB, 512000 * MIB};
    assert_true(shape_budget_of(150, &none, 64 * MIB, MIB).seal_bytes == 16 * MIB);
    assert_true(shape_budget_of(150, &some, 64 * MIB, MIB).seal_bytes == 160 * MIB);
    assert_true(shape_budget_of(150, &huge, 64 * MIB, MIB).seal_bytes == 256 * MIB);
    assert_true(shape_budget_of(150, &huge, 128 * MIB, MIB).seal_bytes == 512 * MIB);
    assert_true(shape_seal_bytes(150, 0, 64 * MIB) == 4 * MIB);
    assert_true(shape_seal_bytes(150, 160 * MIB, 64 * MIB) == 10 * MIB);
    assert_true(shape_seal_bytes(300, 160 * MIB, 64 * MIB) == 20 * MIB);
    assert_true(shape_seal_bytes(150, 5120 * MIB, 64 * MIB) == 64 * MIB);
    assert_true(shape_seal_bytes(150, 0, MIB) == MIB / 4);
    assert_true(shape_seal_bytes(150, 0, MIB / 16) == MIB / 16);
    assert_true(shape_seal_bytes(UINT32_MAX, 0, 64 * MIB) == 64 * MIB);
}

// ---- what is superseded

static void overlapping_entries_supersede_as_many(void **state)
{
    (void)state;
    struct tree *t =
        TREE({0, 9, "a", "m", 10, 100, 1000, 0, 50},                                         //
             {1, 1, "a", "f", 50, 500, 5000, 0, 20}, {1, 1, "f", "p", 50, 700, 5000, 0, 20}, //
             {1, 1, "p", "z", 900, 9000, 9000, 0, 20});
    struct shape_superseded s = shape_superseded_of(t, UINT64_MAX);
    assert_int_equal(s.table_bytes, 120); // a tenth of the two tables that it overlaps
    assert_int_equal(s.value_bytes, 1000);
    // What came after the floor supersedes what is retained.
    s = shape_superseded_of(t, 49);
    assert_int_equal(s.table_bytes + s.value_bytes, 0);
    s = shape_superseded_of(t, 50);
    assert_int_equal(s.table_bytes, 120);
    assert_int_equal(shape_superseded_of(t, 0).table_bytes, 0);
    finish(t);
}

static void ranges_supersede_what_they_cover(void **state)
{
    (void)state;
    struct tree *t =
        TREE({0, 9, "a", "z", 1, 100, 0, 0, 50}, //
             {1, 1, "a", "k", 50, 1000, 5000, 0, 20}, {1, 1, "k", "u", 50, 2000, 7000, 0, 20});
    const struct range_del list[] = {{slice_of("c", 1), slice_of("h", 1), 50},
                                     {slice_of("k", 1), slice_of("v", 1), 30}};
    struct range_dels *dels;
    assert_int_equal(range_dels_build(list, 2, &dels), STRATA_OK);
    struct table *top = t->levels[0].runs[0]->tables[0];
    top->ranges = dels;
    top->meta.entries = 0;
    top->meta.range_fragments = 2;
    struct shape_superseded s = shape_superseded_of(t, 50);
    assert_int_equal(s.table_bytes, 500 + 2000);
    assert_int_equal(s.value_bytes, 2500 + 7000);
    s = shape_superseded_of(t, 30);
    assert_int_equal(s.table_bytes, 2000);
    assert_int_equal(shape_superseded_of(t, 29).value_bytes, 0);
    expect_pick(t, 50, 11999, NULL, 0, "0:9 1:1 > 1:1 last");
    range_dels_free(dels);
    finish(t);
}

static void data_in_key_order_supersedes_nothing(void **state)
{
    (void)state;
    struct tree *t = TREE({0, 9, "q", "z", 1000, 10000, 0, 0, 50}, //
                          {1, 1, "a", "q", 10, 100, 0, 0, 20});
    assert_int_equal(shape_superseded_of(t, UINT64_MAX).table_bytes, 0);
    expect_pick(t, UINT64_MAX, 0, NULL, 0, "none");
    finish(t);
}

static void more_than_there_is_is_not_superseded(void **state)
{
    (void)state;
    struct tree *t = TREE({0, 9, "a", "z", 1000, 10, 0, 0, 50}, //
                          {1, 1, "a", "z", 10, 100, 7, 0, 20});
    assert_int_equal(shape_superseded_of(t, UINT64_MAX).table_bytes, 100);
    assert_int_equal(shape_superseded_of(t, UINT64_MAX).value_bytes, 7);
    finish(t);
}

// ---- merges

static void superseded_bytes_bring_a_merge_of_everything(void **state)
{
    (void)state;
    struct tree *t =
        TREE({0, 9, "a", "z", 10, 100, 0, 0, 60}, {0, 8, "a", "z", 10, 100, 0, 0, 50},
             {1, 5, "a", "z", 20, 200, 0, 0, 40}, {2, 1, "a", "z", 100, 1000, 0, 0, 20});
    expect_pick(t, UINT64_MAX, 400, NULL, 0, "none");
    expect_pick(t, UINT64_MAX, 399, NULL, 0, "0:9 0:8 1:5 2:1 > 2:1 last");
    expect_pick(t, 0, 399, NULL, 0, "none");
    uint64_t newer = 8;
    expect_pick(t, UINT64_MAX, 399, &newer, 1, "1:5 2:1 > 2:1 last");
    uint64_t oldest = 1;
    expect_pick(t, UINT64_MAX, 399, &oldest, 1, "none");
    uint64_t next = 5;
    expect_pick(t, UINT64_MAX, 399, &next, 1, "none");
    finish(t);
}

static void runs_of_level_0_alone_go_to_level_1(void **state)
{
    (void)state;
    struct tree *t = TREE({0, 9, "a", "z", 10, 100, 0, 0, 60}, {0, 8, "a", "z", 10, 100, 0, 0, 50});
    expect_pick(t, UINT64_MAX, 99, NULL, 0, "0:9 0:8 > 1:new last");
    finish(t);
}

static void dense_deletes_are_merged_down(void **state)
{
    (void)state;
    struct tree *t = TREE(
        {0, 9, "a", "z", 10, 100, 0, 0, 60}, //
        {0, 8, "b", "f", 50000, 500000, 0, 50000, 50}, {1, 5, "g", "z", 70000, 700000, 0, 0, 40},
        {2, 1, "a", "f", 60000, 600000, 0, 0, 20}, {2, 1, "f", "z", 900000, 9000000, 0, 0, 20});
    // Everything may be retained: the scan gains.
    expect_pick(t, 0, 0, NULL, 0, "0:8 1:5 2:1 > 2:1 last");
    uint64_t between = 5;
    expect_pick(t, 0, 0, &between, 1, "none");
    finish(t);
}

static void few_deletes_among_many_keys_wait(void **state)
{
    (void)state;
    struct tree *sparse = TREE({0, 8, "a", "z", 50000, 500000, 0, 50000, 50},
                               {2, 1, "a", "z", 900000, 9000000, 0, 0, 20});
    expect_pick(sparse, 0, 0, NULL, 0, "none");
    finish(sparse);
    struct tree *mixed = TREE({0, 8, "a", "z", 50000, 500000, 0, 20000, 50},
                              {2, 1, "a", "z", 20000, 9000000, 0, 0, 20});
    expect_pick(mixed, 0, 0, NULL, 0, "none");
    finish(mixed);
    struct tree *little =
        TREE({0, 8, "a", "z", 1000, 10000, 0, 1000, 50}, {2, 1, "a", "z", 1000, 10000, 0, 0, 20});
    expect_pick(little, 0, 0, NULL, 0, "none");
    finish(little);
}

static void several_runs_of_deletes_add_up(void **state)
{
    (void)state;
    struct tree *t = TREE({0, 9, "a", "z", 50000, 500000, 0, 50000, 60},
                          {0, 8, "a", "z", 50000, 500000, 0, 50000, 50},
                          {0, 7, "a", "z", 50000, 500000, 0, 50000, 45},
                          {2, 1, "a", "z", 190000, 9000000, 0, 0, 20});
    expect_pick(t, 0, 0, NULL, 0, "0:9 0:8 0:7 2:1 > 2:1 last");
    finish(t);
}

static void deletes_of_the_last_run_are_dropped(void **state)
{
    (void)state;
    struct tree *t = TREE({0, 9, "a", "z", 10, 100, 0, 0, 60}, //
                          {1, 1, "a", "z", 20000, 200000, 0, 5000, 20});
    expect_pick(t, 0, 0, NULL, 0, "1:1 > 1:1 last");
    uint64_t other = 9;
    expect_pick(t, 0, 0, &other, 1, "none"); // somebody may be filling it
    finish(t);
    struct tree *one = TREE({0, 9, "a", "z", 20000, 200000, 0, 20000, 60});
    expect_pick(one, 0, 0, NULL, 0, "0:9 > 1:new last");
    finish(one);
}

// ---- history

static struct shape_history_need need_of(uint64_t floor, uint32_t versions)
{
    return (struct shape_history_need){
        .floor = floor, .versions = versions, .slack_percent = 50, .live_bytes = 1000};
}

static void ends_by(struct tree *t, uint64_t file, uint64_t begin, uint64_t end)
{
    for (uint32_t l = 0; l < t->level_count; l++) {
        for (uint32_t r = 0; r < t->levels[l].count; r++) {
            struct run *run = t->levels[l].runs[r];
            for (uint32_t i = 0; i < run->count; i++) {
                if (run->tables[i]->meta.file == file) {
                    run->tables[i]->meta.commit_least = begin;
                    run->tables[i]->meta.end_greatest = end;
                }
            }
        }
    }
}

static void trimmed_history_is_rewritten_once_for_a_floor(void **state)
{
    (void)state;
    struct tree *t =
        TREE({0, 9, "a", "z", 10, 1000, 0, 0, 60}, //
             {1, 5, "a", "m", 10, 1000, 0, 0, 60}, {1, 5, "m", "z", 10, 1000, 0, 0, 60});
    ends_by(t, 1, 800, 1000);
    ends_by(t, 2, 100, 400);
    ends_by(t, 3, 100, 500);
    const struct run *old = t->levels[1].runs[0];
    assert_true(shape_trimmed_share(old, 0, 300) == 0.5);
    assert_true(shape_trimmed_share(old, 200, 350) == 0.5);
    assert_true(shape_trimmed_share(old, 300, 300) == 0);
    assert_true(shape_trimmed_share(old, 0, 500) == 1);
    assert_true(shape_trimmed_share(old, 500, 900) == 0);
    struct shape_claims none = {NULL, 0};
    struct shape_job job;
    struct shape_history_need need = need_of(150, 0);
    expect_job(shape_pick_history(t, &none, &need, &job), &job, "none");
    need.floor = 300;
    expect_job(shape_pick_history(t, &none, &need, &job), &job, "1:5 > 1:5 last");
    struct shape_rewritten done = {5, 300};
    need.rewritten = &done;
    need.rewritten_count = 1;
    expect_job(shape_pick_history(t, &none, &need, &job), &job, "none");
    need.floor = 350; // a fourth of what is left
    expect_job(shape_pick_history(t, &none, &need, &job), &job, "1:5 > 1:5 last");
    uint64_t claimed = 5;
    struct shape_claims claims = {&claimed, 1};
    expect_job(shape_pick_history(t, &claims, &need, &job), &job, "none");
    finish(t);
}

static void last_versions_are_compared_when_enough_are_new(void **state)
{
    (void)state;
    struct tree *t = TREE({0, 9, "a", "z", 10, 100, 200, 0, 60}, //
                          {1, 5, "a", "z", 10, 1000, 500, 0, 60});
    struct shape_claims none = {NULL, 0};
    struct shape_job job;
    struct shape_history_need need = need_of(0, 3);
    need.live_bytes = 500; // an eighth of 2000 is 250
    assert_true(shape_pick_history(t, &none, &need, &job));
    assert_int_equal(job.input_count, 2);
    assert_int_equal(job.output_level, 1);
    assert_int_equal(job.output_run, 5);
    assert_true(job.rewrite && job.to_last);
    need.live_bytes = 5000;
    expect_job(shape_pick_history(t, &none, &need, &job), &job, "none");
    need = need_of(0, 0);
    need.live_bytes = 0;
    expect_job(shape_pick_history(t, &none, &need, &job), &job, "none");
    finish(t);
}

// ---- value files

static size_t pick(const struct shape_value_file *files, size_t count, uint64_t dead_max,
                   uint64_t live_max, uint64_t *victims)
{
    struct shape_value_need need = {dead_max, live_max};
    return shape_pick_values(files, count, &need, victims);
}

static void unused_value_files_leave_together(void **state)
{
    (void)state;
    const struct shape_value_file files[] = {
        {3, 100, 90, 0}, {4, 100, 90, 10}, {5, 100, 90, 0}, {6, 100, 90, 90}};
    uint64_t victims[SHAPE_VICTIMS_MAX];
    assert_int_equal(pick(files, 4, UINT64_MAX, 0, victims), 2);
    assert_int_equal(victims[0], 3);
    assert_int_equal(victims[1], 5);
}

static void worst_value_file_goes_first_when_the_budget_is_spent(void **state)
{
    (void)state;
    const struct shape_value_file files[] = {
        {3, 1000, 1000, 800}, {4, 100, 100, 10}, {5, 1000, 500, 400}};
    uint64_t victims[SHAPE_VICTIMS_MAX];
    assert_int_equal(shape_dead_bytes(&files[0]), 200);
    assert_int_equal(shape_dead_bytes(&files[1]), 90);
    assert_int_equal(shape_dead_bytes(&files[2]), 200);
    assert_int_equal(pick(files, 3, 490, 0, victims), 0);
    assert_int_equal(pick(files, 3, 489, 5000, victims), 1);
    assert_int_equal(victims[0], 4);
    // More than one when it takes more to come within the budget, what is live in them fits, and
    // their shares are alike.
    assert_int_equal(pick(files, 3, 100, 5000, victims), 1);
    const struct shape_value_file alike[] = {
        {3, 1000, 1000, 500}, {4, 1000, 1000, 450}, {5, 1000, 1000, 500}, {6, 1000, 1000, 900}};
    assert_int_equal(pick(alike, 4, 1649, 950, victims), 1);
    assert_int_equal(pick(alike, 4, 1000, 949, victims), 1);
    assert_int_equal(pick(alike, 4, 1000, 950, victims), 2);
    assert_int_equal(victims[0], 4);
    assert_int_equal(victims[1], 3);
    assert_int_equal(pick(alike, 4, 0, 5000, victims), 3);
    assert_int_equal(victims[2], 5);
    // Nothing dead, and no budget: nothing to gain.
    const struct shape_value_file whole[] = {{3, 1000, 1000, 1000}, {4, 1000, 1000, 1200}};
    assert_int_equal(pick(whole, 2, 0, 5000, victims), 0);
}

static void many_small_value_files_are_joined(void **state)
{
    (void)state;
    struct shape_value_file files[100];
    uint64_t victims[SHAPE_VICTIMS_MAX];
    for (uint64_t i = 0; i < 100; i++) {
        files[i] = (struct shape_value_file){i + 1, i % 2 == 0 ? MIB : 60 * MIB, 1000, 1000};
    }
    assert_int_equal(pick(files, 100, UINT64_MAX, UINT64_MAX, victims), 0);
    for (uint64_t i = 0; i < 100; i++) {
        files[i].bytes = 3 * MIB;
    }
    assert_int_equal(pick(files, 100, UINT64_MAX, UINT64_MAX, victims), 21); // 63 MiB
    assert_int_equal(victims[20], 21);
    assert_int_equal(pick(files, 100, UINT64_MAX, 20 * MIB, victims), 6);
    assert_int_equal(pick(files, 100, UINT64_MAX, 12 * MIB, victims), 0); // not so small
}

// Files are overwritten at random, rewritten as picked: the dead bytes stay within the budget, and
// picking always ends.
static void rewrites_keep_within_the_budget(void **state)
{
    (void)state;
    struct shape_value_file files[64];
    uint64_t victims[SHAPE_VICTIMS_MAX];
    uint64_t random = 7;
    for (uint64_t i = 0; i < 64; i++) {
        files[i] = (struct shape_value_file){i + 1, MIB, MIB, MIB};
    }
    uint64_t rewritten = 0;
    for (unsigned step = 0; step < 20000; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        struct shape_value_file *f = &files[(random >> 40) % 64];
        f->used_bytes -= f->used_bytes < 4096 ? f->used_bytes : 4096;
        size_t picked = pick(files, 64, 16 * MIB, 0, victims);
        for (size_t i = 0; i < picked; i++) {
            // Refilled by new values: the data keeps its size.
            struct shape_value_file *v = &files[victims[i] - 1];
            assert_true(v->used_bytes < v->stored_bytes);
            rewritten += v->used_bytes;
            v->used_bytes = MIB;
        }
        uint64_t dead = 0;
        for (size_t i = 0; i < 64; i++) {
            dead += shape_dead_bytes(&files[i]);
        }
        assert_true(dead <= 16 * MIB);
    }
    // A fourth of the space is dead on average, so a victim has more than that.
    assert_true(rewritten < 3 * 20000ull * 4096);
}

// ---- the bound

static void shapes_that_cannot_keep_the_bound_are_refused(void **state)
{
    (void)state;
    static const struct {
        strata_retention retention;
        uint32_t ratio, percent;
        strata_rc rc;
    } cases[] = {
        {STRATA_RETENTION_ALL, 2, 110, STRATA_OK},  {STRATA_RETENTION_NONE, 2, 199, STRATA_INVALID},
        {STRATA_RETENTION_NONE, 2, 200, STRATA_OK}, {STRATA_RETENTION_AGE, 8, 114, STRATA_INVALID},
        {STRATA_RETENTION_AGE, 8, 115, STRATA_OK},  {STRATA_RETENTION_VERSIONS, 64, 110, STRATA_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        strata_keyspace_options o = {.retention = cases[i].retention,
                                     .size_ratio = cases[i].ratio,
                                     .space_bound_percent = cases[i].percent};
        assert_int_equal(shape_bound_check(&o), cases[i].rc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(budget_leaves_room_under_the_bound),
        cmocka_unit_test(generations_grow_with_the_values),
        cmocka_unit_test(overlapping_entries_supersede_as_many),
        cmocka_unit_test(ranges_supersede_what_they_cover),
        cmocka_unit_test(data_in_key_order_supersedes_nothing),
        cmocka_unit_test(more_than_there_is_is_not_superseded),
        cmocka_unit_test(superseded_bytes_bring_a_merge_of_everything),
        cmocka_unit_test(runs_of_level_0_alone_go_to_level_1),
        cmocka_unit_test(dense_deletes_are_merged_down),
        cmocka_unit_test(few_deletes_among_many_keys_wait),
        cmocka_unit_test(several_runs_of_deletes_add_up),
        cmocka_unit_test(deletes_of_the_last_run_are_dropped),
        cmocka_unit_test(trimmed_history_is_rewritten_once_for_a_floor),
        cmocka_unit_test(last_versions_are_compared_when_enough_are_new),
        cmocka_unit_test(unused_value_files_leave_together),
        cmocka_unit_test(worst_value_file_goes_first_when_the_budget_is_spent),
        cmocka_unit_test(many_small_value_files_are_joined),
        cmocka_unit_test(rewrites_keep_within_the_budget),
        cmocka_unit_test(shapes_that_cannot_keep_the_bound_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
