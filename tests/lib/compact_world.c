#include "lib/compact_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#undef fail
#include "base/alloc.h"
#include "base/fail.h"
#include "base/hash.h"
#include "kv/file_name.h"
#include "os/epoch.h"

#define SOURCES_MAX 64u

#define wrong(...)                                                                                 \
    do {                                                                                           \
        print_error(__VA_ARGS__);                                                                  \
        assert_true(false);                                                                        \
    } while (0)

// What one source holds: of each key its points, and the commits of range deletes over it.
struct source {
    struct compact_versions points[COMPACT_WORLD_KEYS];
    struct compact_versions ranges[COMPACT_WORLD_KEYS];
};

static void versions_push(struct compact_versions *v, uint64_t commit, uint64_t end, uint8_t kind)
{
    if (v->count == v->capacity) {
        v->capacity = v->capacity == 0 ? 16 : v->capacity * 2;
        v->list = realloc(v->list, v->capacity * sizeof v->list[0]);
        assert_non_null(v->list);
    }
    v->list[v->count++] = (struct compact_version){commit, end, kind};
}

uint32_t compact_world_below(struct compact_world *w, uint32_t n)
{
    return (uint32_t)prng_below(&w->random, n);
}

static struct slice compact_world_key(const struct compact_world *w, uint32_t k)
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
    struct compact_world *w = ctx;
    return w->next_file++;
}

static uint64_t env_new_run(void *ctx)
{
    struct compact_world *w = ctx;
    return w->next_run++;
}

static strata_rc compact_world_install(void *ctx, struct edit *e)
{
    struct compact_world *w = ctx;
    w->installs_tried++;
    if (w->fail_install_at != 0 && --w->fail_install_at == 0) {
        return STRATA_IO;
    }
    struct catalog *next;
    strata_rc rc = catalog_apply(w->catalog, e, &w->env.tables, &next);
    if (rc != STRATA_OK && w->faults) {
        return rc;
    }
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

static int commit_compare(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;
    return (*x > *y) - (*x < *y);
}

static strata_rc env_trim(void *ctx, uint64_t keyspace, struct compact_trim *trim_out)
{
    struct compact_world *w = ctx;
    assert_int_equal(keyspace, 1);
    *trim_out = (struct compact_trim){0};
    if (w->retain_all) {
        return STRATA_OK;
    }
    trim_out->commits = alloc_zeroed(w->snapshot_count, sizeof(uint64_t));
    trim_out->times_us = alloc_zeroed(w->snapshot_count, sizeof(int64_t));
    if (trim_out->commits == NULL || trim_out->times_us == NULL) {
        compact_trim_release(trim_out);
        return alloc_failed("a trim", w->snapshot_count * sizeof(uint64_t));
    }
    trim_out->floor = w->commit;
    trim_out->count = w->snapshot_count;
    memcpy(trim_out->commits, w->snapshots, w->snapshot_count * sizeof(uint64_t));
    qsort(trim_out->commits, trim_out->count, sizeof(uint64_t), commit_compare);
    return STRATA_OK;
}

static bool world_is_registered(const struct compact_world *w, uint64_t commit)
{
    for (uint32_t i = 0; i < w->snapshot_count; i++) {
        if (w->snapshots[i] == commit) {
            return true;
        }
    }
    return false;
}

static bool env_stopping(void *ctx)
{
    const struct compact_world *w = ctx;
    return w->stopping;
}

const struct catalog_space *compact_world_space(const struct compact_world *w)
{
    const struct catalog_space *s = catalog_space_find(w->catalog, 1);
    assert_non_null(s);
    return s;
}

static void world_open_dir(struct compact_world *w, uint64_t seed)
{
    struct os_machine *machine = os_machine_posix();
    const char *path = "/db";
    if (w->path[0] != 0) {
        assert_non_null(mkdtemp(w->path));
        path = w->path;
    } else {
        w->disk = sim_disk_new();
        sim_machine_init(&w->machine, w->disk, seed);
        machine = &w->machine.base;
    }
    assert_int_equal(machine->open_dir(machine, path, true, &w->dir), STRATA_OK);
}

static void world_close_dir(struct compact_world *w)
{
    if (w->path[0] == 0) {
        os_dir_close(w->dir);
        sim_machine_release(&w->machine);
        sim_disk_free(w->disk);
        return;
    }
    for (uint64_t n = 1; n < w->next_file; n++) {
        char name[FILE_NAME_BYTES];
        file_name_make(name, FILE_TABLE, n);
        assert_int_equal(os_dir_unlink(w->dir, name), STRATA_OK);
    }
    os_dir_close(w->dir);
    assert_int_equal(rmdir(w->path), 0);
}

static void world_fill(struct compact_world *w, uint64_t seed)
{
    w->random.state = seed;
    world_open_dir(w, seed);
    os_memory_init(&w->memory, 64u << 20);
    assert_int_equal(cache_new(&w->memory, &w->cache), STRATA_OK);
    assert_int_equal(os_file_cache_new(w->dir, 8, &w->files), STRATA_OK);
    w->env = (struct compact_env){.tables = {w->dir, w->cache, &w->memory, w->files},
                                  .incarnation = 7,
                                  .new_file_number = env_new_file,
                                  .new_run_number = env_new_run,
                                  .install = compact_world_install,
                                  .commit_time = env_commit_time,
                                  .trim = env_trim,
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
    assert_int_equal(compact_world_install(w, &e), STRATA_OK);
    edit_release(&e);
    assert_int_equal(memtable_new(&w->memtable), STRATA_OK);
    bool shared = prng_one_in(&w->random, 2);
    for (uint32_t k = 0; k < COMPACT_WORLD_KEYS; k++) {
        snprintf(w->keys[k], sizeof w->keys[k], shared ? "a/long/prefix/%02u%s" : "%02u%s", k,
                 k % 3 == 0 ? "tail" : "");
    }
}

void compact_world_open(struct compact_world *w, uint64_t seed, bool retain_all)
{
    *w = (struct compact_world){.retain_all = retain_all, .next_file = 1, .next_run = 1};
    world_fill(w, seed);
}

void compact_world_open_real(struct compact_world *w, uint64_t seed)
{
    *w = (struct compact_world){.retain_all = true, .next_file = 1, .next_run = 1};
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(w->path, sizeof w->path, "%s/strata_compact_XXXXXX", parent);
    world_fill(w, seed);
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

uint32_t compact_world_files(struct compact_world *w)
{
    os_epoch_drain();
    struct file_count c = {0};
    assert_int_equal(os_dir_list(w->dir, count_file, &c), STRATA_OK);
    return c.tables;
}

void compact_world_expect_no_stray_files(struct compact_world *w)
{
    const struct catalog_space *s = compact_world_space(w);
    assert_int_equal(compact_world_files(w), tree_tables(s->live) + tree_tables(s->history));
}

static bool tree_names(const struct tree *t, uint64_t file)
{
    for (uint32_t l = 0; l < t->level_count; l++) {
        for (uint32_t r = 0; r < t->levels[l].count; r++) {
            const struct run *run = t->levels[l].runs[r];
            for (uint32_t i = 0; i < run->count; i++) {
                if (table_meta(run->tables[i])->file == file) {
                    return true;
                }
            }
        }
    }
    return false;
}

void compact_world_remove_strays(struct compact_world *w)
{
    os_epoch_drain();
    const struct catalog_space *s = compact_world_space(w);
    for (uint64_t n = 1; n < w->next_file; n++) {
        if (!tree_names(s->live, n) && !tree_names(s->history, n)) {
            char name[FILE_NAME_BYTES];
            file_name_make(name, FILE_TABLE, n);
            assert_int_equal(os_dir_unlink(w->dir, name), STRATA_OK);
        }
    }
}

void compact_world_close(struct compact_world *w)
{
    compact_world_expect_no_stray_files(w);
    memtable_free(w->memtable);
    catalog_unref(w->catalog);
    os_epoch_drain();
    cache_free(w->cache);
    os_file_cache_free(w->files);
    assert_int_equal(os_memory_used(&w->memory), 0);
    world_close_dir(w);
    for (uint32_t k = 0; k < COMPACT_WORLD_KEYS; k++) {
        free(w->naive[k].list);
    }
}

// ---- writes

// A key to write to.
static uint32_t pick_key(struct compact_world *w)
{
    return w->cluster_keys == 0 ? compact_world_below(w, COMPACT_WORLD_KEYS)
                                : w->cluster + compact_world_below(w, w->cluster_keys);
}

static void move_cluster(struct compact_world *w)
{
    if (w->cluster_keys == 0) {
        return;
    }
    uint32_t places = COMPACT_WORLD_KEYS - w->cluster_keys + 1;
    w->cluster = prng_one_in(&w->random, 2) ? (w->cluster + w->cluster_keys) % places
                                            : compact_world_below(w, places);
}

static void write_range(struct compact_world *w, uint8_t points[COMPACT_WORLD_KEYS])
{
    bool all = w->cluster_keys == 0 || prng_one_in(&w->random, 6);
    uint32_t first = all ? 0 : w->cluster;
    uint32_t last = all ? COMPACT_WORLD_KEYS - 1 : w->cluster + w->cluster_keys - 1;
    uint32_t begin = first + compact_world_below(w, last - first);
    uint32_t width = prng_one_in(&w->random, 3) ? COMPACT_WORLD_KEYS : 4;
    uint32_t end = begin + 1 + compact_world_below(w, width);
    end = end < last ? end : last;
    assert_int_equal(memtable_reserve(w->memtable, 1, 64), STRATA_OK);
    memtable_delete_range(w->memtable, compact_world_key(w, begin), compact_world_key(w, end),
                          w->commit);
    for (uint32_t k = begin; k < end; k++) {
        points[k] = 0;
        struct compact_versions *v = &w->naive[k];
        if (v->count == 0 || v->list[v->count - 1].commit != w->commit) {
            versions_push(v, w->commit, 0, KV_RANGE_DELETE);
        }
    }
}

static void world_add(struct compact_world *w, uint32_t k, uint8_t kind)
{
    uint8_t value[512];
    struct slice key = compact_world_key(w, k);
    struct kv_entry e = {.key = key.data,
                         .key_bytes = (uint32_t)key.bytes,
                         .value = value,
                         .commit = w->commit,
                         .kind = kind};
    e.value_bytes = kind == KV_PUT ? (uint32_t)make_value(k, w->commit, value) : 0;
    assert_int_equal(memtable_reserve(w->memtable, 1, key.bytes + e.value_bytes), STRATA_OK);
    memtable_add(w->memtable, &e, hash_key(key));
    versions_push(&w->naive[k], w->commit, 0, kind);
}

void compact_world_put(struct compact_world *w, uint32_t k, bool deletes)
{
    w->commit++;
    world_add(w, k, deletes ? KV_DELETE : KV_PUT);
}

void compact_world_write(struct compact_world *w)
{
    w->commit++;
    uint8_t points[COMPACT_WORLD_KEYS] = {0};
    uint32_t ops = 1 + compact_world_below(w, 4);
    for (uint32_t i = 0; i < ops; i++) {
        uint32_t dice = compact_world_below(w, w->cluster_keys == 0 ? 20 : 50);
        if (dice == 0) {
            write_range(w, points);
        } else {
            points[pick_key(w)] = dice < 15 || dice >= 20 ? KV_PUT : KV_DELETE;
        }
    }
    for (uint32_t k = 0; k < COMPACT_WORLD_KEYS; k++) {
        if (points[k] != 0) {
            world_add(w, k, points[k]);
        }
    }
}

strata_rc compact_world_try_flush(struct compact_world *w)
{
    struct catalog *catalog = w->catalog;
    catalog_ref(catalog);
    struct flush_source source = {compact_world_space(w), w->memtable};
    struct edit base = {.log_first_segment = w->commit};
    struct flush *f;
    strata_rc rc = flush_new(&w->env, &source, 1, w->commit, 1u << 20, &base, &f);
    bool done = false;
    while (rc == STRATA_OK && !done) {
        rc = flush_step(f, &done);
    }
    if (rc == STRATA_OK) {
        w->ejected += flush_progress(f)->ejected;
        w->receipts += flush_progress(f)->receipts;
    }
    flush_free(f);
    catalog_unref(catalog);
    return rc;
}

void compact_world_flush(struct compact_world *w)
{
    if (w->commit == 0) {
        return;
    }
    assert_int_equal(compact_world_try_flush(w), STRATA_OK);
    assert_true(w->catalog->flushed_commit == w->commit);
    assert_true(w->catalog->log_first_segment == w->commit);
    memtable_free(w->memtable);
    assert_int_equal(memtable_new(&w->memtable), STRATA_OK);
    move_cluster(w);
}

// ---- reading the trees whole

static uint32_t key_index(const struct compact_world *w, struct slice key)
{
    for (uint32_t k = 0; k < COMPACT_WORLD_KEYS; k++) {
        if (slice_equal(compact_world_key(w, k), key)) {
            return k;
        }
    }
    wrong("unknown key");
    return 0;
}

static void read_cursor(const struct compact_world *w, struct kv_cursor *c, struct source *to)
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

static void read_ranges(const struct compact_world *w, const struct range_dels *dels,
                        struct slice lower, struct slice upper, struct source *to)
{
    for (uint32_t k = 0; k < COMPACT_WORLD_KEYS; k++) {
        struct slice key = compact_world_key(w, k);
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
    for (uint32_t k = 0; k < COMPACT_WORLD_KEYS; k++) {
        free(s->points[k].list);
        free(s->ranges[k].list);
    }
    free(s);
}

static void world_fault(void *ctx, const char *text)
{
    (void)ctx;
    print_error("%s\n", text);
}

static void verify_new(const struct compact_world *w, struct table *t)
{
    uint64_t blocks;
    if (table_meta(t)->file >= w->verified) {
        assert_int_equal(table_verify(t, world_fault, NULL, &blocks), STRATA_OK);
    }
}

static struct source *read_run(const struct compact_world *w, const struct run *r)
{
    struct source *s = source_new();
    struct kv_cursor *c;
    assert_int_equal(
        run_cursor_open(w->cache, r->tables, r->count, w->cluster_keys % 2 == 0, 0, &c), STRATA_OK);
    read_cursor(w, c, s);
    for (uint32_t t = 0; t < r->count; t++) {
        const struct table_meta *meta = table_meta(r->tables[t]);
        verify_new(w, r->tables[t]);
        assert_true(meta->time_least_us == (int64_t)meta->commit_least * 1000);
        read_ranges(w, table_range_dels(r->tables[t]), meta->lower, meta->upper, s);
    }
    return s;
}

static uint32_t read_tree(const struct compact_world *w, const struct tree *t, struct source **to)
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

static struct source *read_memtable(const struct compact_world *w)
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

static void offer_all(struct candidate *c, const struct compact_versions *v, uint64_t at)
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

static uint64_t image_get(const struct compact_world *w, const struct image *m, uint32_t k,
                          uint64_t at)
{
    struct candidate c = {0};
    for (uint32_t s = 0; s < m->live_count && c.commit == 0; s++) {
        offer_all(&c, &m->live[s]->points[k], at);
        offer_all(&c, &m->live[s]->ranges[k], at);
    }
    if ((c.commit == 0 || c.skipped) && at != w->commit) {
        for (uint32_t h = 0; h < m->history_count; h++) {
            const struct compact_versions *v = &m->history[h]->points[k];
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
        const struct compact_versions *v = &m->history[h]->points[k];
        for (size_t i = 1; i < v->count; i++) {
            assert_true(v->list[i].commit < v->list[i - 1].commit);
            assert_true(v->list[i].end <= v->list[i - 1].commit);
        }
    }
}

void compact_world_check(struct compact_world *w)
{
    struct image m = {0};
    m.live[0] = read_memtable(w);
    m.live_count = 1 + read_tree(w, compact_world_space(w)->live, m.live + 1);
    m.history_count = read_tree(w, compact_world_space(w)->history, m.history);
    w->verified = w->next_file;
    for (uint32_t k = 0; k < COMPACT_WORLD_KEYS; k++) {
        for (uint64_t at = 0; at <= w->commit; at++) {
            if (!w->retain_all && at != w->commit && !world_is_registered(w, at)) {
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
            const struct compact_version *v = &w->naive[k].list[i];
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
