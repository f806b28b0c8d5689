// Merges that separate values, bring them back beside their keys, and write them anew.
#include "compact/separate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"
#include "compact/output.h"
#include "lib/alloc_fault.h"
#include "lib/compact_world.h"

static void fill_open(struct compact_world *w, uint32_t commits)
{
    for (uint32_t i = 0; i < commits; i++) {
        compact_world_write(w);
        if (i % 40 == 39) {
            compact_world_flush(w);
        }
    }
    compact_world_flush(w);
}

// Values of at least `bytes` are separated as they are written; 0: none.
static void fill(struct compact_world *w, uint64_t seed, uint32_t bytes)
{
    compact_world_open(w, seed, true);
    if (bytes != 0) {
        compact_world_alter(w, STRATA_SEPARATION_ON, bytes, STRATA_COMPRESSION_NONE);
    }
    fill_open(w, 120);
}

static void merge_both(struct compact_world *w, bool rewrite)
{
    compact_world_merge_full(w, false, rewrite);
    compact_world_check(w);
    compact_world_merge_full(w, true, rewrite);
    compact_world_check(w);
}

// References that tables hold.
struct uses {
    uint64_t records, bytes;
};

static void add_uses(struct uses *u, const struct tree *t)
{
    for (uint32_t l = 0; l < t->level_count; l++) {
        for (uint32_t r = 0; r < t->levels[l].count; r++) {
            const struct run *run = t->levels[l].runs[r];
            for (uint32_t i = 0; i < run->count; i++) {
                const struct table_meta *meta = table_meta(run->tables[i]);
                for (uint32_t n = 0; n < meta->use_count; n++) {
                    u->records += meta->uses[n].records;
                    u->bytes += meta->uses[n].bytes;
                }
            }
        }
    }
}

static struct uses count_uses(const struct compact_world *w)
{
    struct uses u = {0};
    add_uses(&u, compact_world_space(w)->live);
    add_uses(&u, compact_world_space(w)->history);
    return u;
}

static void values_are_separated_when_it_is_turned_on(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w, 1, 0);
    compact_world_check(&w);
    assert_int_equal(w.separated, 0);
    compact_world_alter(&w, STRATA_SEPARATION_ON, 100, STRATA_COMPRESSION_NONE);
    merge_both(&w, false);
    assert_true(w.separated > 50);
    assert_int_equal(count_uses(&w).records, w.separated);
    uint64_t separated = w.separated;
    uint32_t files = w.catalog->value_file_count;
    merge_both(&w, false); // nothing is left to do
    assert_int_equal(w.separated, separated);
    assert_int_equal(w.catalog->value_file_count, files);
    compact_world_close(&w);
}

static void values_come_back_when_it_is_turned_off(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w, 2, 100);
    compact_world_check(&w);
    assert_true(w.separated > 50);
    compact_world_alter(&w, STRATA_SEPARATION_OFF, 0, STRATA_COMPRESSION_DEFAULT);
    merge_both(&w, true);
    assert_int_equal(w.separated, 0);
    assert_int_equal(count_uses(&w).records, 0);
    compact_world_close(&w);
}

static void only_values_below_the_new_size_come_back(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w, 3, 80);
    compact_world_check(&w);
    uint64_t before = w.separated;
    compact_world_alter(&w, STRATA_SEPARATION_ON, 250, STRATA_COMPRESSION_NONE);
    merge_both(&w, true);
    assert_true(w.separated > 20 && w.separated < before - 20);
    struct uses u = count_uses(&w);
    assert_true(u.bytes >= 250 * u.records);
    compact_world_close(&w);
}

// All live values then lie in few files, and the older files are referred to by nothing.
static void rewritten_values_leave_their_old_files(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w, 4, 64);
    uint32_t files = w.catalog->value_file_count;
    assert_true(files >= 3);
    uint64_t last = value_file_meta(w.catalog->value_files[files - 1])->file;
    compact_world_check(&w);
    uint64_t separated = w.separated;
    merge_both(&w, true);
    assert_int_equal(w.separated, separated);
    for (uint32_t i = 0; i < w.catalog->value_count; i++) {
        const struct catalog_value *v = &w.catalog->values[i];
        assert_true((v->live_uses + v->history_uses == 0) == (v->file <= last));
    }
    assert_true(w.sums.bytes_written != 0);
    compact_world_close(&w);
}

// Also of tables that overlap nothing, and would move.
static void values_of_every_table_are_rewritten(void **state)
{
    (void)state;
    struct compact_world w;
    compact_world_open(&w, 8, true);
    // So that tables hold enough beside their references not to be small.
    compact_world_alter(&w, STRATA_SEPARATION_ON, 300, STRATA_COMPRESSION_NONE);
    for (uint32_t k = 0; k < COMPACT_WORLD_KEYS; k++) {
        compact_world_put(&w, k, false);
        if (k % 18 == 17) {
            compact_world_flush(&w);
        }
    }
    assert_int_equal(w.catalog->value_file_count, 2);
    compact_world_merge_full(&w, false, true);
    assert_true(w.catalog->values[0].live_bytes == 0 && w.catalog->values[1].live_bytes == 0);
    compact_world_check(&w);
    compact_world_close(&w);
}

static void a_merge_without_a_change_leaves_values_alone(void **state)
{
    (void)state;
    struct compact_world w;
    fill(&w, 5, 64);
    uint32_t files = w.catalog->value_file_count;
    merge_both(&w, false);
    assert_int_equal(w.catalog->value_file_count, files);
    compact_world_close(&w);
}

// Blocks that could pass are looked into, when their values must change.
static void blocks_pass_only_with_values_that_may_stay(void **state)
{
    (void)state;
    struct compact_world w;
    for (uint32_t changed = 0; changed < 2; changed++) {
        compact_world_open(&w, 6, true);
        compact_world_alter(&w, STRATA_SEPARATION_ON, 200, STRATA_COMPRESSION_NONE);
        for (uint32_t half = 0; half < 2; half++) {
            for (uint32_t k = half * 18; k < half * 18 + 17; k++) {
                compact_world_put(&w, k, false);
            }
            compact_world_put(&w, half == 0 ? 17 : 18, false);
            compact_world_flush(&w);
        }
        compact_world_put(&w, 17, false);
        compact_world_put(&w, 18, false);
        compact_world_flush(&w);
        if (changed == 1) {
            compact_world_alter(&w, STRATA_SEPARATION_ON, 64, STRATA_COMPRESSION_NONE);
        }
        compact_world_merge_full(&w, false, false);
        assert_true(changed == 1 || w.sums.blocks_passed > 0);
        compact_world_merge_full(&w, true, false);
        compact_world_check(&w);
        assert_true(w.inline_greatest < (changed == 1 ? 64 : 200));
        compact_world_close(&w);
    }
}

static void change_options(struct compact_world *w)
{
    static const uint32_t bytes[] = {64, 100, 200, 390};
    if (prng_one_in(&w->random, 4)) {
        compact_world_alter(w, STRATA_SEPARATION_OFF, 0, STRATA_COMPRESSION_DEFAULT);
    } else {
        compact_world_alter(w, STRATA_SEPARATION_ON, bytes[compact_world_below(w, 4)],
                            (strata_compression)(1 + compact_world_below(w, 3)));
    }
}

// Everything at once, with merges of random parts of the trees and every retention.
static void every_commit_stays_readable_through_changes(void **state)
{
    (void)state;
    for (uint64_t seed = 801; seed <= 824; seed++) {
        struct compact_world w;
        compact_world_open(&w, seed, true);
        w.retention = (enum compact_world_retention)(seed % 4);
        w.versions = 2;
        w.expiring = seed % 2 == 0;
        for (uint32_t part = 0; part < 8; part++) {
            change_options(&w);
            fill_open(&w, 30);
            if (prng_one_in(&w.random, 3)) {
                compact_world_snapshot(&w);
            }
            if (prng_one_in(&w.random, 2)) {
                compact_world_merge_full(&w, false, prng_one_in(&w.random, 2));
            }
            if (prng_one_in(&w.random, 2)) {
                compact_world_merge_full(&w, true, prng_one_in(&w.random, 2));
            }
            (void)compact_world_excise(&w, NULL);
            compact_world_check(&w);
        }
        compact_world_close(&w);
    }
}

// ---- large values

struct large {
    struct compact_world w;
    struct compact_progress progress;
    struct output_set set;
    struct separate separate;
    struct separate_queue queue;
    struct kv_value_ref refs[4]; // as they came out
    uint64_t inlined;            // bytes of values that did
    uint32_t count;
};

static strata_rc large_emit(void *ctx, const struct kv_entry *e)
{
    struct large *l = ctx;
    assert_true(l->count < 4);
    if (e->kind == KV_PUT_SEPARATED) {
        assert_int_equal(kv_value_ref_decode(kv_value(e), &l->refs[l->count]), STRATA_OK);
    } else {
        l->inlined += e->value_bytes;
    }
    l->count++;
    return STRATA_OK;
}

// Values of these sizes in one file, which stands for the memtable's.
static void large_file(struct large *l, const uint8_t *value, const uint32_t sizes[3],
                       struct kv_value_ref refs_out[3])
{
    struct value_env env = {l->w.dir, l->w.cache, &l->w.memory, l->w.files};
    l->w.values_number = l->w.next_file++;
    assert_int_equal(value_file_new(&env, l->w.values_number, 1, 7, &l->w.values), STRATA_OK);
    for (uint32_t i = 0; i < 3; i++) {
        struct value_place place;
        assert_int_equal(value_file_append(l->w.values, slice_of(value + i, sizes[i]),
                                           STRATA_COMPRESSION_NONE, &place),
                         STRATA_OK);
        refs_out[i] = place.ref;
    }
    assert_int_equal(value_file_finish(l->w.values), STRATA_OK);
}

// A value of 9 MiB goes over in pieces, to a file of its own, those around it whole; all in their
// order.
static void large_values_go_over_in_pieces(void **state)
{
    (void)state;
    struct large l = {0};
    static const uint32_t sizes[3] = {5000, (9u << 20) + 17, 3u << 20};
    struct kv_value_ref refs[3];
    compact_world_open(&l.w, 7, true);
    uint8_t *value = malloc(sizes[1] + 3);
    uint8_t *back = malloc(sizes[1]);
    assert_non_null(value);
    assert_non_null(back);
    for (uint32_t i = 0; i < sizes[1] + 3; i++) {
        value[i] = (uint8_t)prng_mix(i / 8);
    }
    large_file(&l, value, sizes, refs);
    output_set_init(&l.set, &l.w.env, &l.progress);
    separate_init(&l.separate, &l.set, compact_world_space(&l.w));
    l.separate.rewrite = true;
    for (uint32_t i = 0; i < 3; i++) {
        uint8_t bytes[KV_VALUE_REF_BYTES_MAX];
        struct kv_entry e = {.key = (const uint8_t *)"abc" + i,
                             .key_bytes = 1,
                             .value = bytes,
                             .value_bytes = kv_value_ref_encode(&refs[i], bytes),
                             .commit = 1,
                             .kind = KV_PUT_SEPARATED};
        assert_int_equal(separate_add(&l.separate, &l.queue, &e, large_emit, &l), STRATA_OK);
        assert_int_equal(l.count, 0);
    }
    assert_int_equal(separate_drain(&l.separate, &l.queue, large_emit, &l), STRATA_OK);
    assert_int_equal(l.count, 3);
    assert_int_equal(separate_finish(&l.separate), STRATA_OK);
    assert_int_equal(l.set.value_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(l.refs[i].bytes, sizes[i]);
        assert_true(value_file_meta(l.set.values[i])->file == l.refs[i].file);
        assert_int_equal(value_file_read(l.set.values[i], &l.refs[i], 0, back, sizes[i]),
                         STRATA_OK);
        assert_memory_equal(value + i, back, sizes[i]);
    }
    separate_queue_release(&l.queue);
    separate_release(&l.separate);
    output_set_release(&l.set);
    compact_world_close(&l.w);
    free(value);
    free(back);
}

static void what_is_done_is_a_question_of_size(void **state)
{
    (void)state;
    static const struct {
        uint32_t bytes, separate;
        bool rewrite, separated;
        enum separate_verdict verdict;
    } cases[] = {
        {99, 100, false, false, SEPARATE_KEEP},
        {100, 100, false, false, SEPARATE_OUT},
        {100, 0, true, false, SEPARATE_KEEP},
        {99, 100, false, true, SEPARATE_IN},
        {100, 100, false, true, SEPARATE_KEEP},
        {100, 100, true, true, SEPARATE_ANEW},
        {99, 100, true, true, SEPARATE_IN},
        {SEPARATE_ALWAYS_BYTES, 0, false, true, SEPARATE_IN},
        {SEPARATE_ALWAYS_BYTES + 1, 0, false, true, SEPARATE_KEEP},
        {SEPARATE_ALWAYS_BYTES + 1, 0, true, true, SEPARATE_ANEW},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct separate s = {.bytes = cases[i].separate, .rewrite = cases[i].rewrite};
        uint8_t bytes[KV_VALUE_REF_BYTES_MAX];
        struct kv_value_ref ref = {5, 0, cases[i].bytes};
        struct kv_entry e = {.kind = KV_PUT, .value_bytes = cases[i].bytes};
        if (cases[i].separated) {
            e.kind = KV_PUT_SEPARATED;
            e.value = bytes;
            e.value_bytes = kv_value_ref_encode(&ref, bytes);
        }
        enum separate_verdict verdict;
        assert_int_equal(separate_judge(&s, &e, &verdict), STRATA_OK);
        assert_int_equal(verdict, cases[i].verdict);
    }
    struct separate s = {.bytes = 100};
    struct kv_entry bad = {
        .kind = KV_PUT_SEPARATED, .value = (const uint8_t *)"\xff", .value_bytes = 1};
    enum separate_verdict verdict;
    assert_int_equal(separate_judge(&s, &bad, &verdict), STRATA_CORRUPT);
}

// ---- faults

// A full merge whose values must all change.
static strata_rc merge_all(struct compact_world *w)
{
    struct tree *tree = compact_world_space(w)->live;
    struct shape shape = {.table_bytes = 1500, .size_ratio = 4, .level_count = 1};
    struct shape_job job;
    assert_true(shape_pick_full(tree, &shape, NULL, true, &job));
    struct merge *m;
    strata_rc rc = merge_new(&w->env, compact_world_space(w), false, tree, &job, &shape, 4000, &m);
    bool done = false;
    if (rc == STRATA_OK) {
        merge_rewrite_values(m);
    }
    while (rc == STRATA_OK && !done) {
        rc = merge_step(m, &done);
    }
    merge_free(m);
    return rc;
}

static void prepare(struct compact_world *w)
{
    compact_world_alter(w, STRATA_SEPARATION_ON, 150, STRATA_COMPRESSION_NONE);
    fill_open(w, 80);
    compact_world_alter(w, STRATA_SEPARATION_ON, 220, STRATA_COMPRESSION_LZ4);
    w->faults = true;
    w->installs = w->installs_tried = 0;
}

static void expect_whole(struct compact_world *w)
{
    compact_world_check(w);
    if (w->installs == w->installs_tried) {
        compact_world_expect_no_stray_files(w);
    }
    w->faults = false;
    assert_int_equal(merge_all(w), STRATA_OK);
    compact_world_check(w);
    compact_world_remove_strays(w);
    compact_world_close(w);
}

static void an_error_of_the_disk_leaves_a_whole_tree(void **state)
{
    (void)state;
    bool fired = true;
    uint64_t n;
    for (n = 0; fired; n += n < 60 ? 1 : 7) {
        struct compact_world w;
        compact_world_open(&w, 21, true);
        prepare(&w);
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
    }
    assert_true(n > 60); // places that were visited
}

static void an_allocation_that_fails_leaves_a_whole_tree(void **state)
{
    (void)state;
    uint64_t failed = 1;
    uint64_t n;
    for (n = 0; failed != 0; n += n < 60 ? 1 : 7) {
        struct compact_world w;
        compact_world_open_real(&w, 22);
        prepare(&w);
        alloc_fault_arm(n, 1);
        strata_rc rc = merge_all(&w);
        failed = alloc_fault_disarm();
        assert_true(rc == STRATA_OK || (failed != 0 && rc == STRATA_NO_MEMORY));
        expect_whole(&w);
    }
    assert_true(n > 60); // places that were visited
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_separated_when_it_is_turned_on),
        cmocka_unit_test(values_come_back_when_it_is_turned_off),
        cmocka_unit_test(only_values_below_the_new_size_come_back),
        cmocka_unit_test(rewritten_values_leave_their_old_files),
        cmocka_unit_test(values_of_every_table_are_rewritten),
        cmocka_unit_test(a_merge_without_a_change_leaves_values_alone),
        cmocka_unit_test(blocks_pass_only_with_values_that_may_stay),
        cmocka_unit_test(every_commit_stays_readable_through_changes),
        cmocka_unit_test(large_values_go_over_in_pieces),
        cmocka_unit_test(what_is_done_is_a_question_of_size),
        cmocka_unit_test(an_error_of_the_disk_leaves_a_whole_tree),
        cmocka_unit_test(an_allocation_that_fails_leaves_a_whole_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
