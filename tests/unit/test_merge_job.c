// Flushes and merges over real tables on a simulated disk: random commits of points and range
// deletes, flushes, merges of live and of history in small slices, given up in the middle now and
// then, with writes and flushes between their steps. After each the trees are read whole, and every
// key at every commit is compared with a list of all that was written.
#include "compact/compact.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#undef fail
#include "base/fail.h"
#include "base/hash.h"
#include "base/prng.h"
#include "kv/file_name.h"
#include "os/epoch.h"
#include "sim/sim_machine.h"

#define KEYS 24u
#define SOURCES_MAX 64u
#define SNAPSHOTS_MAX 16u

#define wrong(...)                                                                                 \
    do {                                                                                           \
        print_error(__VA_ARGS__);                                                                  \
        assert_true(false);                                                                        \
    } while (0)

struct version {
    uint64_t commit, end;
    uint8_t kind;
};

struct versions {
    struct version *list;
    size_t count, capacity;
};

// What one source holds: of each key its points, and the commits of range deletes over it.
struct source {
    struct versions points[KEYS];
    struct versions ranges[KEYS];
};

struct world {
    struct prng random;
    struct sim_disk *disk;
    struct sim_machine machine;
    struct os_dir *dir;
    struct os_memory memory;
    struct cache *cache;
    struct catalog *catalog;
    struct compact_env env;
    struct memtable *memtable;
    uint64_t commit, next_file, next_run;
    bool retain_all;
    uint64_t snapshots[SNAPSHOTS_MAX];
    uint32_t snapshot_count;
    uint64_t installs, moved, ejected, receipts, fail_install_at;
    bool stopping;
    char keys[KEYS][32];
    struct versions naive[KEYS];
    uint64_t ejected_run; // of the live merge in work
};

static void versions_push(struct versions *v, uint64_t commit, uint64_t end, uint8_t kind)
{
    if (v->count == v->capacity) {
        v->capacity = v->capacity == 0 ? 16 : v->capacity * 2;
        v->list = realloc(v->list, v->capacity * sizeof v->list[0]);
        assert_non_null(v->list);
    }
    v->list[v->count++] = (struct version){commit, end, kind};
}

static uint32_t below(struct world *w, uint32_t n)
{
    return (uint32_t)prng_below(&w->random, n);
}

static struct slice world_key(const struct world *w, uint32_t k)
{
    return slice_of(w->keys[k], strlen(w->keys[k]));
}

// Long enough that tables of a few KiB are cut, different for each version.
static size_t make_value(uint32_t k, uint64_t commit, uint8_t to[512])
{
    uint64_t word = prng_mix(k * 1000003u + commit);
    size_t bytes = word % 400;
    for (size_t i = 0; i < bytes; i++) {
        to[i] = (uint8_t)(prng_mix(word + i / 4) >> 8);
    }
    return bytes;
}

// ---- the engine's side

static uint64_t env_new_file(void *ctx)
{
    struct world *w = ctx;
    return w->next_file++;
}

static uint64_t env_new_run(void *ctx)
{
    struct world *w = ctx;
    return w->next_run++;
}

static strata_rc env_install(void *ctx, struct edit *e)
{
    struct world *w = ctx;
    if (w->fail_install_at != 0 && --w->fail_install_at == 0) {
        return STRATA_IO;
    }
    struct catalog *next;
    strata_rc rc = catalog_apply(w->catalog, e, &w->env.tables, &next);
    if (rc != STRATA_OK) {
        wrong("edit does not apply: %s", fail_text());
    }
    edit_committed(e, w->catalog);
    catalog_unref(w->catalog);
    w->catalog = next;
    w->installs++;
    return STRATA_OK;
}

static int64_t env_commit_time(void *ctx, uint64_t commit)
{
    (void)ctx;
    return (int64_t)commit * 1000;
}

static bool env_keep(void *ctx, uint64_t keyspace, uint64_t begin, uint64_t end)
{
    struct world *w = ctx;
    assert_true(keyspace == 1 && begin <= end);
    for (uint32_t i = 0; i < w->snapshot_count; i++) {
        if (begin <= w->snapshots[i] && w->snapshots[i] < end) {
            return true;
        }
    }
    return w->retain_all;
}

static bool env_stopping(void *ctx)
{
    const struct world *w = ctx;
    return w->stopping;
}

static const struct catalog_space *world_space(const struct world *w)
{
    const struct catalog_space *s = catalog_space_find(w->catalog, 1);
    assert_non_null(s);
    return s;
}

static void world_open(struct world *w, uint64_t seed, bool retain_all)
{
    *w = (struct world){.retain_all = retain_all, .next_file = 1, .next_run = 1};
    w->random.state = seed;
    w->disk = sim_disk_new();
    sim_machine_init(&w->machine, w->disk, seed);
    struct os_machine *machine = &w->machine.base;
    assert_int_equal(machine->open_dir(machine, "/db", true, &w->dir), STRATA_OK);
    os_memory_init(&w->memory, 64u << 20);
    assert_int_equal(cache_new(&w->memory, &w->cache), STRATA_OK);
    w->env = (struct compact_env){.tables = {w->dir, w->cache, &w->memory},
                                  .incarnation = 7,
                                  .new_file_number = env_new_file,
                                  .new_run_number = env_new_run,
                                  .install = env_install,
                                  .commit_time = env_commit_time,
                                  .keep = env_keep,
                                  .stopping = env_stopping,
                                  .ctx = w};
    assert_int_equal(catalog_new(&w->catalog), STRATA_OK);
    strata_keyspace_options given = STRATA_KEYSPACE_OPTIONS_INIT;
    strata_keyspace_options options;
    given.block_bytes = 1024;
    given.history_block_bytes = 1024;
    given.compression = (strata_compression)prng_below(&w->random, 4);
    given.filter_off = prng_one_in(&w->random, 4);
    assert_int_equal(keyspace_options_resolve(&given, &options), STRATA_OK);
    struct edit e = {0};
    assert_int_equal(edit_create_space(&e, 1, "default", &options, 0), STRATA_OK);
    assert_int_equal(env_install(w, &e), STRATA_OK);
    edit_release(&e);
    assert_int_equal(memtable_new(&w->memtable), STRATA_OK);
    bool shared = prng_one_in(&w->random, 2);
    for (uint32_t k = 0; k < KEYS; k++) {
        snprintf(w->keys[k], sizeof w->keys[k], shared ? "a/long/prefix/%02u%s" : "%02u%s", k,
                 k % 3 == 0 ? "tail" : "");
    }
}

struct file_count {
    uint32_t tables;
};

static bool count_file(void *ctx, const char *name, bool regular)
{
    struct file_count *c = ctx;
    enum file_kind kind;
    uint64_t number;
    if (regular && file_name_parse(name, &kind, &number) && kind == FILE_TABLE) {
        c->tables++;
    }
    return true;
}

static uint32_t tree_tables(const struct tree *t)
{
    uint32_t n = 0;
    for (uint32_t l = 0; l < t->level_count; l++) {
        for (uint32_t r = 0; r < t->levels[l].count; r++) {
            n += t->levels[l].runs[r]->count;
        }
    }
    return n;
}

static void expect_no_stray_files(struct world *w)
{
    os_epoch_drain();
    struct file_count c = {0};
    assert_int_equal(os_dir_list(w->dir, count_file, &c), STRATA_OK);
    const struct catalog_space *s = world_space(w);
    assert_int_equal(c.tables, tree_tables(s->live) + tree_tables(s->history));
}

static void world_close(struct world *w)
{
    expect_no_stray_files(w);
    memtable_free(w->memtable);
    catalog_unref(w->catalog);
    os_epoch_drain();
    cache_free(w->cache);
    os_dir_close(w->dir);
    sim_machine_release(&w->machine);
    sim_disk_free(w->disk);
    for (uint32_t k = 0; k < KEYS; k++) {
        free(w->naive[k].list);
    }
}

// ---- writes

static void write_range(struct world *w, uint8_t points[KEYS])
{
    uint32_t begin = below(w, KEYS - 1);
    uint32_t width = prng_one_in(&w->random, 3) ? KEYS : 4;
    uint32_t end = begin + 1 + below(w, width);
    end = end < KEYS ? end : KEYS - 1;
    assert_int_equal(memtable_reserve(w->memtable, 1, 64), STRATA_OK);
    memtable_delete_range(w->memtable, world_key(w, begin), world_key(w, end), w->commit);
    for (uint32_t k = begin; k < end; k++) {
        points[k] = 0;
        struct versions *v = &w->naive[k];
        if (v->count == 0 || v->list[v->count - 1].commit != w->commit) {
            versions_push(v, w->commit, 0, KV_RANGE_DELETE);
        }
    }
}

static void write_batch(struct world *w)
{
    w->commit++;
    uint8_t points[KEYS] = {0};
    uint32_t ops = 1 + below(w, 4);
    for (uint32_t i = 0; i < ops; i++) {
        uint32_t dice = below(w, 20);
        if (dice == 0) {
            write_range(w, points);
        } else {
            points[below(w, KEYS)] = dice < 15 ? KV_PUT : KV_DELETE;
        }
    }
    for (uint32_t k = 0; k < KEYS; k++) {
        if (points[k] == 0) {
            continue;
        }
        uint8_t value[512];
        struct slice key = world_key(w, k);
        struct kv_entry e = {.key = key.data,
                             .key_bytes = (uint32_t)key.bytes,
                             .value = value,
                             .commit = w->commit,
                             .kind = points[k]};
        e.value_bytes = points[k] == KV_PUT ? (uint32_t)make_value(k, w->commit, value) : 0;
        assert_int_equal(memtable_reserve(w->memtable, 1, key.bytes + e.value_bytes), STRATA_OK);
        memtable_add(w->memtable, &e, hash_key(key));
        versions_push(&w->naive[k], w->commit, 0, points[k]);
    }
}

static void flush_world(struct world *w)
{
    if (w->commit == 0) {
        return;
    }
    struct catalog *catalog = w->catalog;
    catalog_ref(catalog);
    struct flush_source source = {catalog_space_find(catalog, 1), w->memtable};
    struct edit base = {.log_first_segment = w->commit};
    struct flush *f;
    assert_int_equal(flush_new(&w->env, &source, 1, w->commit, 1u << 20, &base, &f), STRATA_OK);
    bool done = false;
    while (!done) {
        assert_int_equal(flush_step(f, &done), STRATA_OK);
    }
    assert_true(w->catalog->flushed_commit == w->commit);
    assert_true(w->catalog->log_first_segment == w->commit);
    w->ejected += flush_progress(f)->ejected;
    w->receipts += flush_progress(f)->receipts;
    flush_free(f);
    catalog_unref(catalog);
    memtable_free(w->memtable);
    assert_int_equal(memtable_new(&w->memtable), STRATA_OK);
}

// ---- reading the trees whole

static uint32_t key_index(const struct world *w, struct slice key)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        if (slice_equal(world_key(w, k), key)) {
            return k;
        }
    }
    wrong("unknown key");
    return 0;
}

static void read_cursor(const struct world *w, struct kv_cursor *c, struct source *to)
{
    strata_rc rc = kv_cursor_seek(c, slice_of(NULL, 0), false);
    while (rc == STRATA_OK) {
        const struct kv_entry *e = c->at;
        uint32_t k = key_index(w, kv_key(e));
        uint8_t value[512];
        if (e->kind == KV_PUT) {
            size_t bytes = make_value(k, e->commit, value);
            assert_true(slice_equal(kv_value(e), slice_of(value, bytes)));
        }
        versions_push(&to->points[k], e->commit, e->end, e->kind);
        rc = kv_cursor_next(c);
    }
    assert_int_equal(rc, STRATA_END);
    kv_cursor_close(c);
}

static void read_ranges(const struct world *w, const struct range_dels *dels, struct slice lower,
                        struct slice upper, struct source *to)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        struct slice key = world_key(w, k);
        const struct range_fragment *f = range_dels_cover(dels, key);
        if (f == NULL || (lower.data != NULL && slice_compare(key, lower) < 0) ||
            (upper.data != NULL && slice_compare(key, upper) >= 0)) {
            continue;
        }
        for (uint32_t i = 0; i < f->count; i++) {
            versions_push(&to->ranges[k], f->commits[i], 0, KV_RANGE_DELETE);
        }
    }
}

static struct source *source_new(void)
{
    struct source *s = calloc(1, sizeof *s);
    assert_non_null(s);
    return s;
}

static void source_free(struct source *s)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        free(s->points[k].list);
        free(s->ranges[k].list);
    }
    free(s);
}

static struct source *read_run(const struct world *w, const struct run *r)
{
    struct source *s = source_new();
    struct kv_cursor *c;
    assert_int_equal(run_cursor_open(w->cache, r->tables, r->count, false, 0, &c), STRATA_OK);
    read_cursor(w, c, s);
    for (uint32_t t = 0; t < r->count; t++) {
        const struct table_meta *meta = table_meta(r->tables[t]);
        assert_true(meta->time_least_us == (int64_t)meta->commit_least * 1000);
        read_ranges(w, table_range_dels(r->tables[t]), meta->lower, meta->upper, s);
    }
    return s;
}

static uint32_t read_tree(const struct world *w, const struct tree *t, struct source **to)
{
    assert_int_equal(tree_check(t), STRATA_OK);
    uint32_t n = 0;
    for (uint32_t l = 0; l < t->level_count; l++) {
        for (uint32_t r = 0; r < t->levels[l].count; r++) {
            assert_true(n < SOURCES_MAX);
            to[n++] = read_run(w, t->levels[l].runs[r]);
        }
    }
    return n;
}

static struct source *read_memtable(const struct world *w)
{
    struct source *s = source_new();
    struct kv_cursor *c;
    assert_int_equal(memtable_cursor_open(w->memtable, UINT64_MAX, &c), STRATA_OK);
    read_cursor(w, c, s);
    const struct range_dels *dels;
    assert_int_equal(memtable_range_dels(w->memtable, &dels), STRATA_OK);
    read_ranges(w, dels, slice_of(NULL, 0), slice_of(NULL, 0), s);
    return s;
}

// ---- the check

struct candidate {
    uint64_t commit; // 0: none
    uint8_t kind;
    bool skipped;
};

static void offer(struct candidate *c, uint64_t commit, uint8_t kind, uint64_t at)
{
    if (commit > at) {
        c->skipped = true;
    } else if (commit > c->commit ||
               (commit == c->commit && c->kind == KV_RANGE_DELETE && kind != KV_RANGE_DELETE)) {
        c->commit = commit;
        c->kind = kind;
    }
}

static void offer_all(struct candidate *c, const struct versions *v, uint64_t at)
{
    for (size_t i = 0; i < v->count; i++) {
        offer(c, v->list[i].commit, v->list[i].kind, at);
    }
}

struct image { // all that the trees and the memtable hold
    struct source *live[SOURCES_MAX];
    uint32_t live_count;
    struct source *history[SOURCES_MAX];
    uint32_t history_count;
};

static uint64_t image_get(const struct world *w, const struct image *m, uint32_t k, uint64_t at)
{
    struct candidate c = {0};
    for (uint32_t s = 0; s < m->live_count && c.commit == 0; s++) {
        offer_all(&c, &m->live[s]->points[k], at);
        offer_all(&c, &m->live[s]->ranges[k], at);
    }
    if ((c.commit == 0 || c.skipped) && at != w->commit) {
        for (uint32_t h = 0; h < m->history_count; h++) {
            const struct versions *v = &m->history[h]->points[k];
            for (size_t i = 0; i < v->count; i++) {
                if (v->list[i].commit <= at && at < v->list[i].end) {
                    offer(&c, v->list[i].commit, v->list[i].kind, at);
                }
            }
        }
    }
    return c.kind == KV_PUT ? c.commit : 0;
}

static bool image_holds(const struct image *m, uint32_t k, uint64_t commit)
{
    uint32_t found = 0;
    for (uint32_t s = 0; s < m->live_count + m->history_count; s++) {
        const struct source *from = s < m->live_count ? m->live[s] : m->history[s - m->live_count];
        for (size_t i = 0; i < from->points[k].count; i++) {
            found += from->points[k].list[i].commit == commit;
        }
    }
    return found == 1;
}

static void check_runs(const struct image *m, uint32_t k)
{
    for (uint32_t s = 1; s < m->live_count; s++) {
        const struct source *from = m->live[s];
        assert_true(from->points[k].count <= 1);
        for (size_t i = 0; from->points[k].count == 1 && i < from->ranges[k].count; i++) {
            assert_true(from->ranges[k].list[i].commit <= from->points[k].list[0].commit);
        }
    }
    for (uint32_t h = 0; h < m->history_count; h++) {
        const struct versions *v = &m->history[h]->points[k];
        for (size_t i = 1; i < v->count; i++) {
            assert_true(v->list[i].commit < v->list[i - 1].commit);
            assert_true(v->list[i].end <= v->list[i - 1].commit);
        }
    }
}

static void world_check(struct world *w)
{
    struct image m = {0};
    m.live[0] = read_memtable(w);
    m.live_count = 1 + read_tree(w, world_space(w)->live, m.live + 1);
    m.history_count = read_tree(w, world_space(w)->history, m.history);
    for (uint32_t k = 0; k < KEYS; k++) {
        for (uint64_t at = 0; at <= w->commit; at++) {
            if (!w->retain_all && at != w->commit && !env_keep(w, 1, at, at + 1)) {
                continue;
            }
            struct candidate want = {0};
            offer_all(&want, &w->naive[k], at);
            uint64_t expected = want.kind == KV_PUT ? want.commit : 0;
            if (image_get(w, &m, k, at) != expected) {
                wrong("key %u at %d: commit %d, expected %d", k, (int)at,
                      (int)image_get(w, &m, k, at), (int)expected);
            }
        }
        for (size_t i = 0; i < w->naive[k].count && w->retain_all; i++) {
            const struct version *v = &w->naive[k].list[i];
            assert_true(v->kind == KV_RANGE_DELETE || image_holds(&m, k, v->commit));
        }
        check_runs(&m, k);
    }
    for (uint32_t i = 0; i < m.live_count; i++) {
        source_free(m.live[i]);
    }
    for (uint32_t i = 0; i < m.history_count; i++) {
        source_free(m.history[i]);
    }
}

// ---- merges

// Runs i..j of the sequence by age into the place of the oldest; or, when that is the oldest of its
// level, one level down as a new run; or one run down unread.
static bool pick_job(struct world *w, const struct tree *t, struct shape_job *job)
{
    *job = (struct shape_job){0};
    uint32_t count = t->run_count;
    if (count == 0) {
        return false;
    }
    uint32_t i = below(w, count);
    uint32_t j = i + below(w, 4);
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

static void merge_world(struct world *w, bool history, bool with_writes)
{
    struct tree *tree = history ? world_space(w)->history : world_space(w)->live;
    struct shape_job job;
    if (!pick_job(w, tree, &job)) {
        return;
    }
    struct shape shape = {.table_bytes = 1500u << below(w, 5), .size_ratio = 4};
    uint64_t slice_bytes = prng_one_in(&w->random, 3) ? UINT64_MAX : 2000u << below(w, 4);
    struct merge *m;
    assert_int_equal(
        merge_new(&w->env, world_space(w), history, tree, &job, &shape, slice_bytes, &m),
        STRATA_OK);
    bool done = false;
    bool gives_up = prng_one_in(&w->random, 6);
    if (!history) {
        w->ejected_run = merge_ejected_run(m);
    }
    while (!done && !(gives_up && prng_one_in(&w->random, 3))) {
        assert_int_equal(merge_step(m, &done), STRATA_OK);
        if (with_writes && prng_one_in(&w->random, 3)) {
            write_batch(w);
            if (prng_one_in(&w->random, 2)) {
                flush_world(w);
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
    }
    w->moved += p->tables_moved;
    w->ejected += p->ejected;
    w->receipts += p->receipts;
    w->ejected_run = history ? w->ejected_run : 0;
    merge_free(m);
}

static void world_run(struct world *w, uint32_t steps)
{
    for (uint32_t i = 0; i < steps; i++) {
        uint32_t dice = below(w, 100);
        if (dice < 62) {
            write_batch(w);
        } else if (dice < 76) {
            flush_world(w);
        } else if (dice < 90) {
            merge_world(w, false, prng_one_in(&w->random, 2));
        } else if (dice < 96) {
            merge_world(w, true, prng_one_in(&w->random, 2));
        } else if (!w->retain_all && w->snapshot_count < SNAPSHOTS_MAX) {
            w->snapshots[w->snapshot_count++] = w->commit;
        }
        if (dice >= 62 && prng_one_in(&w->random, 4)) {
            world_check(w);
        }
    }
    world_check(w);
}

static void every_commit_stays_readable(void **state)
{
    (void)state;
    uint64_t moved = 0;
    uint64_t ejected = 0;
    uint64_t receipts = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world w;
        world_open(&w, seed, true);
        world_run(&w, 150);
        moved += w.moved;
        ejected += w.ejected;
        receipts += w.receipts;
        world_close(&w);
    }
    assert_true(moved > 10 && ejected > 100 && receipts > 10);
}

static void snapshots_stay_readable_when_nothing_else_is_kept(void **state)
{
    (void)state;
    for (uint64_t seed = 101; seed <= 125; seed++) {
        struct world w;
        world_open(&w, seed, false);
        world_run(&w, 150);
        world_close(&w);
    }
}

static void a_full_merge_leaves_one_run_without_deletes(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 7, true);
    for (uint32_t i = 0; i < 200; i++) {
        write_batch(&w);
        if (i % 20 == 19) {
            flush_world(&w);
        }
    }
    struct tree *tree = world_space(&w)->live;
    struct shape shape = {.table_bytes = 3000, .size_ratio = 4, .level_count = 1};
    struct shape_job job;
    assert_true(shape_pick_full(tree, &shape, NULL, false, &job));
    struct merge *m;
    assert_int_equal(merge_new(&w.env, world_space(&w), false, tree, &job, &shape, 4000, &m),
                     STRATA_OK);
    bool done = false;
    while (!done) {
        assert_int_equal(merge_step(m, &done), STRATA_OK);
    }
    assert_true(merge_bytes_total(m) == merge_progress(m)->bytes_read);
    merge_free(m);
    tree = world_space(&w)->live;
    assert_int_equal(tree->run_count, 1);
    const struct run *r = tree->levels[tree->level_count - 1].runs[0];
    assert_true(r->count > 1);
    for (uint32_t i = 0; i < r->count; i++) {
        assert_true(table_meta(r->tables[i])->deletes == 0);
        assert_true(table_meta(r->tables[i])->range_fragments == 0);
    }
    world_check(&w);
    world_close(&w);
}

static void a_stopped_merge_keeps_what_was_installed(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 9, true);
    for (uint32_t i = 0; i < 120; i++) {
        write_batch(&w);
        if (i % 30 == 29) {
            flush_world(&w);
        }
    }
    struct tree *tree = world_space(&w)->live;
    struct shape shape = {.table_bytes = 1500, .size_ratio = 4, .level_count = 1};
    struct shape_job job;
    assert_true(shape_pick_full(tree, &shape, NULL, false, &job));
    struct merge *m;
    assert_int_equal(merge_new(&w.env, world_space(&w), false, tree, &job, &shape, 2000, &m),
                     STRATA_OK);
    bool done = false;
    uint64_t before = w.installs;
    while (w.installs == before) {
        assert_int_equal(merge_step(m, &done), STRATA_OK);
        assert_false(done);
    }
    w.stopping = true;
    assert_int_equal(merge_step(m, &done), STRATA_BUSY);
    merge_free(m);
    world_check(&w);
    world_close(&w);
}

// Deletes of the files whose edit may be in the manifest would be the end of a database.
static void a_failed_install_removes_no_file(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 11, true);
    for (uint32_t i = 0; i < 40; i++) {
        write_batch(&w);
    }
    struct flush_source source = {world_space(&w), w.memtable};
    struct flush *f;
    assert_int_equal(flush_new(&w.env, &source, 1, w.commit, 1u << 20, NULL, &f), STRATA_OK);
    w.fail_install_at = 1;
    bool done = false;
    strata_rc rc = STRATA_OK;
    while (rc == STRATA_OK) {
        rc = flush_step(f, &done);
    }
    assert_int_equal(rc, STRATA_IO);
    assert_false(done);
    flush_free(f);
    struct file_count c = {0};
    assert_int_equal(os_dir_list(w.dir, count_file, &c), STRATA_OK);
    assert_int_equal(c.tables, 2); // one of live, one of history
    for (uint64_t n = 1; n < w.next_file; n++) {
        char name[FILE_NAME_BYTES];
        file_name_make(name, FILE_TABLE, n);
        assert_int_equal(os_dir_unlink(w.dir, name), STRATA_OK);
    }
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_merge_leaves_one_run_without_deletes),
        cmocka_unit_test(a_stopped_merge_keeps_what_was_installed),
        cmocka_unit_test(a_failed_install_removes_no_file),
        cmocka_unit_test(every_commit_stays_readable),
        cmocka_unit_test(snapshots_stay_readable_when_nothing_else_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
