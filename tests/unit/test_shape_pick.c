// Which job is picked: cases as text, then simulations that must keep the runs in age, end, and
// cost what they should.
#include "shape/shape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "unit/fake_table.h"
#include "unit/shape_tree.h"

enum kind { LAZY, LEVELED, HISTORY };

// A memtable of 10 bytes: lazy and leveled levels hold 40, 320, 2560 ...; history's 80, 640 ...
static struct shape shape_for(enum kind kind, uint64_t memtable_bytes)
{
    strata_keyspace_options options = {
        .shape = kind == LEVELED ? STRATA_SHAPE_LEVELED : STRATA_SHAPE_LAZY,
        .level0_runs_max = 20,
        .size_ratio = 8,
    };
    return kind == HISTORY ? shape_history(&options, memtable_bytes)
                           : shape_live(&options, memtable_bytes);
}

struct pick_case {
    enum kind kind;
    const char *tree;
    const char *job;
};

static const struct pick_case pick_cases[] = {
    {LAZY, "", "none"},
    {LAZY, "0 1:40", "none"},
    {LAZY, "0 4:10 3:10 2:10 1:10", "none"},
    // A run larger than its level, and nothing below: it moves.
    {LAZY, "0 1:41", "0:1 > 1:new last relabel"},
    {LAZY, "0 5:9 4:9 3:9 2:9 1:9", "0:5 0:4 0:3 0:2 0:1 > 1:new last"},
    // By bytes alone.
    {LAZY, "0 2:21 1:20", "0:2 0:1 > 1:new last"},
    // Level 1 is the last: one run there.
    {LAZY, "0 9:9 8:9 7:9 6:9 5:9\n1 3:45", "0:9 0:8 0:7 0:6 0:5 1:3 > 1:3 last"},
    {LAZY, "1 3:320", "none"},
    {LAZY, "1 3:321", "1:3 > 2:new last relabel"},
    // Level 1 is not the last: runs collect there.
    {LAZY, "0 9:9 8:9 7:9 6:9 5:9\n1 3:45\n2 1:330", "0:9 0:8 0:7 0:6 0:5 > 1:new"},
    {LAZY, "0 9:9\n1 8:45 7:45 6:45 5:45\n2 1:330", "none"},
    {LAZY, "0 9:9\n1 8:45 7:45 6:45 5:45 4:45\n2 1:330", "1:8 1:7 1:6 1:5 1:4 2:1 > 2:1 last"},
    // ... the newest of which grows to its share, a fourth of the level.
    {LAZY, "0 9:4 8:4 7:4 6:4 5:4\n1 3:60 2:80\n2 1:1000", "0:9 0:8 0:7 0:6 0:5 1:3 > 1:3"},
    {LAZY, "0 9:4 8:4 7:4 6:4 5:4\n1 3:61 2:80\n2 1:1000", "0:9 0:8 0:7 0:6 0:5 > 1:new"},
    {LAZY, "0 9:4 8:4 7:4 6:4 5:4\n1 3:60* 2:80\n2 1:1000", "0:9 0:8 0:7 0:6 0:5 > 1:new"},
    // Level 0 goes first.
    {LAZY, "0 14:9 13:9 12:9 11:9 10:9\n1 8:45 7:45 6:45 5:45 4:45\n2 1:330",
     "0:14 0:13 0:12 0:11 0:10 > 1:new"},
    // ... and beside it the deep merge.
    {LAZY, "0 14:9* 13:9* 12:9* 11:9* 10:9*\n1 8:45 7:45 6:45 5:45 4:45\n2 1:330",
     "1:8 1:7 1:6 1:5 1:4 2:1 > 2:1 last"},
    // Level 0 does not wait for a deep merge.
    {LAZY, "0 14:9 13:9 12:9 11:9 10:9\n1 8:45* 7:45* 6:45* 5:45* 4:45*\n2 1:330*",
     "0:14 0:13 0:12 0:11 0:10 > 1:new"},
    {LAZY, "0 14:9 13:9 12:9 11:9 10:9\n1 8:45*", "0:14 0:13 0:12 0:11 0:10 > 1:new"},
    // The oldest runs of level 0 are being merged: newer ones must not pass them.
    {LAZY, "0 14:9 13:9 12:9 11:9* 10:9*\n1 8:45*", "none"},
    {LAZY, "0 23:9 22:9 21:9 20:9 19:9 18:9 17:9 16:9 15:9 14:9 13:9 12:9* 11:9* 10:9*\n1 8:45*",
     "0:23 0:22 0:21 0:20 0:19 0:18 0:17 0:16 0:15 0:14 0:13 > 0:13"},
    // Newer claimed runs do not hinder older ones (a merge within the level).
    {LAZY, "0 14:9* 13:9* 12:9 11:9 10:9\n1 8:45", "0:12 0:11 0:10 1:8 > 1:8 last"},
    // Two runs on the last level, left by a level 0 that did not wait.
    {LAZY, "1 8:45 7:45", "1:8 1:7 > 1:7 last"},
    {LAZY, "1 8:45\n2 5:330 4:330", "2:5 2:4 > 2:4 last"},
    // Small flushes over a large last level.
    {LAZY, "0 9:1 8:1 7:3 6:1 5:2\n1 3:300", "0:7 0:6 > 0:6"},
    {LAZY, "0 9:1 8:1 7:3* 6:1 5:2\n1 3:300", "0:9 0:8 > 0:8"},
    {LEVELED, "0 9:9 8:9 7:9 6:9 5:9\n1 3:45", "0:9 0:8 0:7 0:6 0:5 1:3 > 1:3 last"},
    {LEVELED, "0 9:9 8:9 7:9 6:9 5:9\n1 3:45\n2 1:330", "0:9 0:8 0:7 0:6 0:5 1:3 > 1:3"},
    {LEVELED, "1 3:321\n2 1:330", "1:3 2:1 > 2:1 last"},
    {LEVELED, "1 3:321\n2 1:330*", "none"},
    // A level that was tiered becomes one run, within itself while it is not too large.
    {LEVELED, "1 6:45 5:45 4:45\n2 1:330", "1:6 1:5 1:4 > 1:4"},
    {LEVELED, "1 6:150 5:150 4:150\n2 1:330", "1:6 1:5 1:4 2:1 > 2:1 last"},
    {HISTORY, "0 8:9 7:9 6:9 5:9 4:9 3:9 2:9 1:9", "none"},
    {HISTORY, "0 9:8 8:8 7:8 6:8 5:8 4:8 3:8 2:8 1:8",
     "0:9 0:8 0:7 0:6 0:5 0:4 0:3 0:2 0:1 > 1:new last"},
    {HISTORY, "0 9:8 8:8 7:8 6:8 5:8 4:8 3:8 2:8 1:8\n1 10:70",
     "0:9 0:8 0:7 0:6 0:5 0:4 0:3 0:2 0:1 > 1:new"},
    // A large run sinks unread, and what is older than it is merged without it.
    {HISTORY, "0 3:8 2:8 1:90", "0:1 > 1:new last relabel"},
    {HISTORY, "0 4:8 3:90 2:8 1:8", "0:2 0:1 > 1:new last"},
    // No relief: a live merge may still be filling one of the runs.
    {HISTORY,
     "0 23:9 22:9 21:9 20:9 19:9 18:9 17:9 16:9 15:9 14:9 13:9 12:9 11:9 10:9 9:9 8:9 7:9*",
     "none"},
};

static void jobs_are_picked_as_the_cases_say(void **state)
{
    (void)state;
    static struct shape_tree s;
    for (size_t i = 0; i < sizeof pick_cases / sizeof pick_cases[0]; i++) {
        const struct pick_case *c = &pick_cases[i];
        struct shape shape = shape_for(c->kind, 10);
        struct shape_job job;
        char text[1024];
        shape_tree_parse(&s, c->tree);
        bool there = shape_pick(&s.tree, &shape, &s.claims, &job);
        shape_job_print(&job, there, text, sizeof text);
        if (strcmp(text, c->job) != 0) {
            print_error("case %zu:\n%s\nexpected %s\npicked   %s\n", i, c->tree, c->job, text);
        }
        assert_string_equal(text, c->job);
    }
}

struct full_case {
    const char *tree;
    bool rewrite_last;
    const char *job;
};

static const struct full_case full_cases[] = {
    {"", true, "none"},
    {"0 1:10", false, "0:1 > 1:new last relabel"},
    {"0 1:10", true, "0:1 > 1:new last"},
    {"1 1:10", false, "none"},
    {"1 1:10", true, "1:1 > 1:1 last"},
    {"0 3:10 2:10\n1 1:10", false, "0:3 0:2 1:1 > 1:1 last"},
    {"0 3:10 2:10*\n1 1:10", false, "none"},
    // The result is put where it is not too large.
    {"0 3:100 2:200\n1 1:300", false, "0:3 0:2 1:1 > 2:new last"},
    {"0 3:100\n2 1:300", false, "0:3 2:1 > 2:1 last"},
};

static void full_compactions_take_everything(void **state)
{
    (void)state;
    static struct shape_tree s;
    struct shape shape = shape_for(LAZY, 10);
    for (size_t i = 0; i < sizeof full_cases / sizeof full_cases[0]; i++) {
        const struct full_case *c = &full_cases[i];
        struct shape_job job;
        char text[1024];
        shape_tree_parse(&s, c->tree);
        bool there = shape_pick_full(&s.tree, &shape, &s.claims, c->rewrite_last, &job);
        shape_job_print(&job, there, text, sizeof text);
        assert_string_equal(text, c->job);
    }
}

static void a_full_compaction_drops_the_deletes_of_the_only_run(void **state)
{
    (void)state;
    static struct shape_tree s;
    struct shape shape = shape_for(LAZY, 10);
    struct table_meta meta = fake_meta(3, "a", "b");
    struct table *t;
    struct shape_job job;
    for (int deletes = 0; deletes < 2; deletes++) {
        for (int history = 0; history < 2; history++) {
            meta.deletes = (uint64_t)deletes;
            meta.range_fragments = 0;
            meta.history = history != 0;
            assert_int_equal(table_open(NULL, &meta, &t), STRATA_OK);
            shape_tree_parse(&s, "1 1:10");
            s.runs[0].tables = &t;
            s.runs[0].count = 1;
            bool there = shape_pick_full(&s.tree, &shape, NULL, false, &job);
            assert_int_equal(there, deletes == 1 && history == 0);
            table_unref(t);
        }
    }
}

static void a_full_compaction_of_too_many_runs_goes_by_parts(void **state)
{
    (void)state;
    static struct shape_tree s;
    struct shape shape = shape_for(LAZY, 10);
    shape_tree_parse(&s, "1 1:10");
    for (uint32_t i = 0; i < 100; i++) {
        s.runs[i + 1] = (struct run){.number = 200 - i, .bytes = 1};
        s.order[0][i] = &s.runs[i + 1];
    }
    s.tree.levels[0].count = 100;
    shape_tree_count(&s);
    struct shape_job job;
    assert_true(shape_pick_full(&s.tree, &shape, NULL, false, &job));
    assert_int_equal(job.input_count, 64);
    assert_int_equal(job.output_level, 0);
    assert_int_equal(job.output_run, 200 - 63);
    assert_false(job.to_last);
}

// ---- simulations

#define HALVES 2 // the key space is cut in two; a job goes through it one half at a time

// A run's place in age is the flushes it holds in each half of the keys: from `oldest` to `newest`,
// both 0 when it holds none there.
struct age {
    uint64_t oldest, newest, bytes;
};

struct flight { // a job under way
    struct shape_job job;
    uint64_t numbers[64];        // of the inputs, which may be gone before it ends
    struct age held[64][HALVES]; // by the inputs when it was picked
    uint64_t output_run;
    uint32_t half; // that comes next
};

struct simulation {
    struct shape_tree s;
    struct age ages[SHAPE_TREE_RUNS][HALVES]; // of s.runs
    enum kind kind;
    bool fills; // history runs come by halves
    struct shape shape;
    uint64_t next_run, flushes;
    uint64_t bytes_flushed, bytes_merged;
    struct flight flights[2];
    size_t flight_count;
    uint64_t filling[4]; // history runs whose second half is still to come
    size_t filling_count;
};

static struct age *ages_of(struct simulation *x, const struct run *r)
{
    return x->ages[r - x->s.runs];
}

static struct run *sim_find(struct simulation *x, uint32_t level, uint64_t number)
{
    for (uint32_t i = 0; i < x->s.tree.levels[level].count; i++) {
        if (x->s.order[level][i]->number == number) {
            return x->s.order[level][i];
        }
    }
    return NULL;
}

static void sim_place(struct simulation *x, uint32_t level, struct run *r)
{
    struct level *l = &x->s.tree.levels[level];
    uint32_t at = 0;
    while (at < l->count && x->s.order[level][at]->number > r->number) {
        at++;
    }
    memmove(&x->s.order[level][at + 1], &x->s.order[level][at],
            (l->count - at) * sizeof(struct run *));
    x->s.order[level][at] = r;
    l->count++;
}

// Puts keys of one half into a run, which is made when it is not there.
static void sim_put(struct simulation *x, uint32_t level, uint64_t number, uint32_t half,
                    struct age age)
{
    struct run *r = sim_find(x, level, number);
    for (size_t i = 0; r == NULL && i < SHAPE_TREE_RUNS; i++) {
        if (x->s.runs[i].number == 0) {
            r = &x->s.runs[i];
            *r = (struct run){.number = number};
            memset(ages_of(x, r), 0, sizeof x->ages[0]);
            sim_place(x, level, r);
        }
    }
    assert_non_null(r);
    assert_int_equal(ages_of(x, r)[half].newest, 0); // else tables of the run would overlap
    ages_of(x, r)[half] = age;
    r->bytes += age.bytes;
}

// Takes keys of one half out of a run, which goes with its last.
static void sim_take(struct simulation *x, uint32_t level, uint64_t number, uint32_t half)
{
    struct run *r = sim_find(x, level, number);
    assert_non_null(r);
    r->bytes -= ages_of(x, r)[half].bytes;
    ages_of(x, r)[half] = (struct age){0};
    if (ages_of(x, r)[1 - half].newest != 0) {
        return;
    }
    struct level *l = &x->s.tree.levels[level];
    uint32_t at = 0;
    while (x->s.order[level][at] != r) {
        at++;
    }
    l->count--;
    memmove(&x->s.order[level][at], &x->s.order[level][at + 1],
            (l->count - at) * sizeof(struct run *));
    r->number = 0;
}

// In each half, runs stand in falling age over the whole tree, without gaps.
static void sim_check(struct simulation *x)
{
    shape_tree_count(&x->s);
    uint64_t expected[HALVES] = {x->flushes, x->flushes};
    for (uint32_t level = 0; level < x->s.tree.level_count; level++) {
        const struct level *l = &x->s.tree.levels[level];
        for (uint32_t i = 0; i < l->count; i++) {
            assert_true(i == 0 || l->runs[i - 1]->number > l->runs[i]->number);
            for (uint32_t half = 0; half < HALVES; half++) {
                const struct age *age = &ages_of(x, l->runs[i])[half];
                if (age->newest != 0 && x->kind != HISTORY) {
                    assert_int_equal(age->newest, expected[half]);
                    expected[half] = age->oldest - 1;
                }
            }
        }
    }
    assert_true(x->kind == HISTORY || (expected[0] == 0 && expected[1] == 0));
}

static struct age sim_flushed(const struct simulation *x, uint64_t bytes, uint32_t half)
{
    return (struct age){x->flushes, x->flushes, half == 0 ? bytes / 2 : bytes - bytes / 2};
}

static void sim_flush(struct simulation *x, uint32_t level, uint64_t bytes)
{
    uint64_t run = x->next_run++;
    x->flushes++;
    x->bytes_flushed += bytes;
    sim_put(x, level, run, 0, sim_flushed(x, bytes, 0));
    if (x->fills && x->filling_count < 4 && run % 3 == 0) {
        x->filling[x->filling_count++] = run;
    } else {
        sim_put(x, level, run, 1, sim_flushed(x, bytes, 1));
    }
    sim_check(x);
}

// A live merge ejects the rest of its first history run.
static void sim_fill(struct simulation *x)
{
    if (x->filling_count > 0) {
        sim_put(x, 0, x->filling[0], 1, (struct age){x->flushes, x->flushes, 50});
        x->filling_count--;
        memmove(x->filling, x->filling + 1, x->filling_count * sizeof x->filling[0]);
        sim_check(x);
    }
}

static bool sim_start(struct simulation *x)
{
    struct shape_job job;
    x->s.claims.count = 0;
    for (size_t i = 0; i < x->flight_count; i++) {
        const struct flight *f = &x->flights[i];
        for (uint32_t k = 0; k < f->job.input_count; k++) {
            x->s.claimed[x->s.claims.count++] = f->numbers[k];
        }
    }
    if (!shape_pick(&x->s.tree, &x->shape, &x->s.claims, &job)) {
        return false;
    }
    struct flight *f = &x->flights[x->flight_count++];
    *f = (struct flight){.job = job};
    f->output_run = job.output_run != 0 ? job.output_run : x->next_run++;
    for (uint32_t k = 0; k < job.input_count; k++) {
        for (size_t i = 0; i < x->s.claims.count; i++) {
            assert_int_not_equal(job.inputs[k]->number, x->s.claimed[i]);
        }
        f->numbers[k] = job.inputs[k]->number;
        memcpy(f->held[k], ages_of(x, job.inputs[k]), sizeof f->held[k]);
    }
    return true;
}

// One half of a job: its inputs' keys of that half leave their runs, the result comes in.
static void sim_step(struct simulation *x, size_t index)
{
    struct flight *f = &x->flights[index];
    struct age result = {0};
    for (uint32_t k = 0; k < f->job.input_count; k++) {
        const struct age *held = &f->held[k][f->half];
        if (held->newest == 0) {
            continue;
        }
        sim_take(x, f->job.input_levels[k], f->numbers[k], f->half);
        result.newest = result.newest == 0 ? held->newest : result.newest;
        result.oldest = held->oldest;
        result.bytes += held->bytes;
    }
    if (result.newest != 0) {
        sim_put(x, f->job.output_level, f->output_run, f->half, result);
        x->bytes_merged += f->job.relabel ? 0 : result.bytes;
    }
    sim_check(x);
    if (++f->half == HALVES) {
        x->flights[index] = x->flights[--x->flight_count];
    }
}

static void sim_finish(struct simulation *x)
{
    while (x->flight_count > 0) {
        sim_step(x, 0);
    }
}

static struct simulation *sim_new(enum kind kind, uint64_t memtable_bytes)
{
    struct simulation *x = calloc(1, sizeof *x);
    assert_non_null(x);
    x->kind = kind;
    x->shape = shape_for(kind, memtable_bytes);
    x->next_run = 1;
    x->s.claims.runs = x->s.claimed;
    shape_tree_count(&x->s);
    return x;
}

// Jobs until there are none; nothing may be owed then.
static void sim_settle(struct simulation *x)
{
    uint64_t jobs = 0;
    sim_finish(x);
    while (x->filling_count > 0) {
        sim_fill(x);
    }
    while (sim_start(x)) {
        sim_finish(x);
        assert_in_range(++jobs, 1, 1000);
    }
    assert_int_equal(shape_debt_bytes(&x->s.tree, &x->shape), 0);
}

static void settled_trees_have_their_shape(struct simulation *x)
{
    uint32_t last = shape_last_level(&x->s.tree);
    for (uint32_t level = 0; level < x->s.tree.level_count; level++) {
        assert_in_range(x->s.tree.levels[level].count, 0,
                        shape_runs_max(&x->s.tree, &x->shape, level));
        if (level < last) {
            assert_in_range(x->s.tree.levels[level].bytes, 0,
                            shape_level_at(&x->shape, level).bytes_max);
        }
    }
}

static void random_trees_always_settle(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 4000; seed++) {
        struct prng random = {seed};
        struct simulation *x = sim_new((enum kind)(seed % 3), 1000);
        // Any tree: runs of any size on any level, oldest first, deepest first.
        for (uint32_t level = 1 + (uint32_t)prng_below(&random, 6); level-- > 0;) {
            for (uint64_t runs = prng_below(&random, level == 0 ? 90 : 12); runs > 0; runs--) {
                uint64_t bytes = prng_below(&random, 1000ull << prng_below(&random, 3 * level + 3));
                sim_flush(x, level, 2 + bytes);
            }
        }
        sim_check(x);
        sim_settle(x);
        settled_trees_have_their_shape(x);
        free(x);
    }
}

static void flushes_and_two_jobs_at_once_keep_the_order(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct prng random = {seed};
        struct simulation *x = sim_new((enum kind)(seed % 3), 1000);
        x->fills = x->kind == HISTORY;
        uint64_t small = prng_below(&random, 3); // sizes vary, or are all tiny, or all full
        for (int step = 0; step < 1500; step++) {
            uint64_t what = prng_below(&random, 10);
            if (what < 3 && x->s.tree.levels[0].count < 60) {
                sim_flush(x, 0,
                          small == 0   ? 2 + prng_below(&random, 1000)
                          : small == 1 ? 2 + prng_below(&random, 9)
                                       : 1000);
            } else if (what == 3) {
                sim_fill(x);
            } else if (what < 6 && x->flight_count < 2) {
                (void)sim_start(x);
            } else if (x->flight_count > 0) {
                sim_step(x, prng_below(&random, x->flight_count));
            }
        }
        sim_settle(x);
        settled_trees_have_their_shape(x);
        free(x);
    }
}

static double amplification(enum kind kind, uint64_t flushes, uint64_t memtable_bytes,
                            uint64_t flush_bytes)
{
    struct simulation *x = sim_new(kind, memtable_bytes);
    for (uint64_t i = 0; i < flushes; i++) {
        sim_flush(x, 0, flush_bytes);
        while (sim_start(x)) {
            sim_finish(x);
        }
    }
    double result = 1 + (double)x->bytes_merged / (double)x->bytes_flushed;
    print_message("%s, %" PRIu64 " flushes of %" PRIu64 " of %" PRIu64
                  ": every byte written %.2f times, %" PRIu32 " runs on %" PRIu32 " levels\n",
                  kind == LAZY      ? "lazy"
                  : kind == LEVELED ? "leveled"
                                    : "history",
                  flushes, flush_bytes, memtable_bytes, result, x->s.tree.run_count,
                  x->s.tree.level_count);
    free(x);
    return result;
}

static void write_amplification_stays_in_its_bounds(void **state)
{
    (void)state;
    double lazy = amplification(LAZY, 100, 1000, 1000);
    double leveled = amplification(LEVELED, 100, 1000, 1000);
    double history = amplification(HISTORY, 100, 1000, 1000);
    assert_true(lazy < leveled);
    assert_true(lazy < 7 && leveled < 10 && history < 3);
    assert_true(amplification(LAZY, 2000, 1000, 1000) < 9);
    assert_true(amplification(LEVELED, 2000, 1000, 1000) < 15);
    assert_true(amplification(HISTORY, 2000, 1000, 1000) < 5);
    // Flushes a thousandth of a memtable in size.
    assert_true(amplification(LAZY, 20000, 100000, 100) < 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_are_picked_as_the_cases_say),
        cmocka_unit_test(full_compactions_take_everything),
        cmocka_unit_test(a_full_compaction_drops_the_deletes_of_the_only_run),
        cmocka_unit_test(a_full_compaction_of_too_many_runs_goes_by_parts),
        cmocka_unit_test(random_trees_always_settle),
        cmocka_unit_test(flushes_and_two_jobs_at_once_keep_the_order),
        cmocka_unit_test(write_amplification_stays_in_its_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
