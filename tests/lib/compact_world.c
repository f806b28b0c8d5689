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

static void versions_push(struct compact_versions *v, struct compact_version x)
{
    if (v->count == v->capacity) {
        v->capacity = v->capacity == 0 ? 16 : v->capacity * 2;
        v->list = realloc(v->list, v->capacity * sizeof v->list[0]);
        assert_non_null(v->list);
    }
    v->list[v->count++] = x;
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
    return (int64_t)commit * COMPACT_WORLD_COMMIT_US;
}

// By which expiry is judged: whole seconds.
static int64_t time_of(uint64_t commit)
{
    int64_t us = env_commit_time(NULL, commit);
    return us - us % 1000000;
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
    if (w->retention == COMPACT_WORLD_ALL) {
        return STRATA_OK;
    }
    trim_out->commits = alloc_zeroed(w->snapshot_count, sizeof(uint64_t));
    trim_out->times_us = alloc_zeroed(w->snapshot_count, sizeof(int64_t));
    if (trim_out->commits == NULL || trim_out->times_us == NULL) {
        compact_trim_release(trim_out);
        return alloc_failed("a trim", w->snapshot_count * sizeof(uint64_t));
    }
    trim_out->count = w->snapshot_count;
    memcpy(trim_out->commits, w->snapshots, w->snapshot_count * sizeof(uint64_t));
    qsort(trim_out->commits, trim_out->count, sizeof(uint64_t), commit_compare);
    for (size_t i = 0; i < trim_out->count; i++) {
        trim_out->times_us[i] = time_of(trim_out->commits[i]);
    }
    if (w->retention == COMPACT_WORLD_VERSIONS) {
        trim_out->versions = w->versions;
    } else if (w->retention == COMPACT_WORLD_NONE) {
        trim_out->floor = w->commit;
    } else if (w->commit > COMPACT_WORLD_AGE_COMMITS) {
        trim_out->floor = w->commit - COMPACT_WORLD_AGE_COMMITS;
    }
    trim_out->floor_time_us = trim_out->floor == 0 ? 0 : time_of(trim_out->floor);
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

static strata_rc env_value_file(void *ctx, uint64_t logical, struct value_file **file_out)
{
    const struct compact_world *w = ctx;
    const struct catalog_value *v = catalog_value_find(w->catalog, logical);
    assert_true(v != NULL || w->values != NULL);
    *file_out = v != NULL ? v->in : w->values;
    value_file_ref(*file_out);
    return STRATA_OK;
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

// The table or value file of that number, if there is one.
static void unlink_number(struct compact_world *w, uint64_t number)
{
    char name[FILE_NAME_BYTES];
    file_name_make(name, FILE_TABLE, number);
    assert_int_equal(os_dir_unlink(w->dir, name), STRATA_OK);
    file_name_make(name, FILE_VALUE, number);
    assert_int_equal(os_dir_unlink(w->dir, name), STRATA_OK);
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
        unlink_number(w, n);
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
                                  .value_file = env_value_file,
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
    assert_int_equal(memtable_new(NULL, &w->memtable), STRATA_OK);
    bool shared = prng_one_in(&w->random, 2);
    for (uint32_t k = 0; k < COMPACT_WORLD_KEYS; k++) {
        snprintf(w->keys[k], sizeof w->keys[k], shared ? "a/long/prefix/%02u%s" : "%02u%s", k,
                 k % 3 == 0 ? "tail" : "");
    }
}

void compact_world_open(struct compact_world *w, uint64_t seed, bool retain_all)
{
    *w = (struct compact_world){.retention = retain_all ? COMPACT_WORLD_ALL : COMPACT_WORLD_NONE,
                                .versions = 1,
                                .next_file = 1,
                                .next_run = 1};
    world_fill(w, seed);
}

void compact_world_open_real(struct compact_world *w, uint64_t seed)
{
    *w = (struct compact_world){.versions = 1, .next_file = 1, .next_run = 1};
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(w->path, sizeof w->path, "%s/strata_compact_XXXXXX", parent);
    world_fill(w, seed);
}

struct file_count {
    uint32_t tables, values;
};

static bool count_file(void *ctx, const char *name, bool regular)
{
    struct file_count *c = ctx;
    enum file_kind kind;
    uint64_t number;
    if (regular && file_name_parse(name, &kind, &number)) {
        c->tables += kind == FILE_TABLE;
        c->values += kind == FILE_VALUE;
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

static struct file_count count_files(struct compact_world *w)
{
    os_epoch_drain();
    struct file_count c = {0};
    assert_int_equal(os_dir_list(w->dir, count_file, &c), STRATA_OK);
    return c;
}

uint32_t compact_world_files(struct compact_world *w)
{
    return count_files(w).tables;
}

void compact_world_expect_no_stray_files(struct compact_world *w)
{
    const struct catalog_space *s = compact_world_space(w);
    struct file_count c = count_files(w);
    assert_int_equal(c.tables, tree_tables(s->live) + tree_tables(s->history));
    assert_int_equal(c.values, w->catalog->value_file_count + (w->values != NULL));
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

static bool names_values(const struct compact_world *w, uint64_t file)
{
    bool names = w->values != NULL && w->values_number == file;
    for (uint32_t i = 0; i < w->catalog->value_file_count; i++) {
        names |= value_file_meta(w->catalog->value_files[i])->file == file;
    }
    return names;
}

void compact_world_remove_strays(struct compact_world *w)
{
    os_epoch_drain();
    const struct catalog_space *s = compact_world_space(w);
    for (uint64_t n = 1; n < w->next_file; n++) {
        if (!tree_names(s->live, n) && !tree_names(s->history, n) && !names_values(w, n)) {
            unlink_number(w, n);
        }
    }
}

static void drop_values(struct compact_world *w, bool deletes)
{
    if (w->values != NULL && deletes) {
        value_file_delete_at_close(w->values);
    }
    value_file_unref(w->values);
    w->values = NULL;
}

void compact_world_alter(struct compact_world *w, strata_separation separation, uint32_t bytes,
                         strata_compression compression)
{
    strata_keyspace_options change = STRATA_KEYSPACE_OPTIONS_INIT;
    strata_keyspace_options options;
    struct edit e = {0};
    change.separation = separation;
    change.separate_bytes = bytes;
    change.value_compression = compression;
    assert_int_equal(keyspace_options_alter(&compact_world_space(w)->options, &change, &options),
                     STRATA_OK);
    assert_int_equal(edit_alter_space(&e, 1, &options), STRATA_OK);
    assert_int_equal(compact_world_install(w, &e), STRATA_OK);
    edit_release(&e);
}

void compact_world_close(struct compact_world *w)
{
    compact_world_expect_no_stray_files(w);
    drop_values(w, true);
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

static void add_range(struct compact_world *w, uint32_t begin, uint32_t end)
{
    assert_int_equal(memtable_reserve(w->memtable, 1, 64), STRATA_OK);
    memtable_delete_range(w->memtable, compact_world_key(w, begin), compact_world_key(w, end),
                          w->commit);
    for (uint32_t k = begin; k < end; k++) {
        struct compact_versions *v = &w->naive[k];
        if (v->count == 0 || v->list[v->count - 1].commit != w->commit) {
            versions_push(v,
                          (struct compact_version){.commit = w->commit, .kind = KV_RANGE_DELETE});
        }
    }
}

void compact_world_delete_range(struct compact_world *w, uint32_t begin, uint32_t end)
{
    w->commit++;
    add_range(w, begin, end);
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
    memset(points + begin, 0, end - begin);
    add_range(w, begin, end);
}

// As a commit does it: the value goes to the memtable's value file, a reference stands for it.
static void separate_value(struct compact_world *w, struct kv_entry *e,
                           uint8_t to[KV_VALUE_REF_BYTES_MAX])
{
    const strata_keyspace_options *options = &compact_world_space(w)->options;
    if (e->kind != KV_PUT || options->separation != STRATA_SEPARATION_ON ||
        e->value_bytes < options->separate_bytes) {
        return;
    }
    if (w->values == NULL) {
        struct value_env env = {w->dir, w->cache, &w->memory, w->files};
        w->values_number = w->next_file++;
        assert_int_equal(value_file_new(&env, w->values_number, 1, 7, &w->values), STRATA_OK);
    }
    struct value_place place;
    assert_int_equal(value_file_append(w->values, kv_value(e), options->value_compression, &place),
                     STRATA_OK);
    e->kind = KV_PUT_SEPARATED;
    e->value_bytes = kv_value_ref_encode(&place.ref, to);
    e->value = to;
}

static void world_add(struct compact_world *w, uint32_t k, uint8_t kind, uint64_t expiry)
{
    uint8_t value[512];
    uint8_t ref[KV_VALUE_REF_BYTES_MAX];
    struct slice key = compact_world_key(w, k);
    struct kv_entry e = {.key = key.data,
                         .key_bytes = (uint32_t)key.bytes,
                         .value = value,
                         .commit = w->commit,
                         .kind = kind};
    e.value_bytes = kind == KV_PUT ? (uint32_t)make_value(k, w->commit, value) : 0;
    e.expiry = kind == KV_PUT ? expiry : 0;
    separate_value(w, &e, ref);
    assert_int_equal(memtable_reserve(w->memtable, 1, key.bytes + e.value_bytes), STRATA_OK);
    memtable_add(w->memtable, &e, hash_key(key));
    versions_push(&w->naive[k],
                  (struct compact_version){.commit = w->commit, .expiry = e.expiry, .kind = kind});
}

// Up to so many seconds after the commit that is being written.
static uint64_t make_expiry(struct compact_world *w, uint32_t seconds)
{
    return (uint64_t)time_of(w->commit) + 1000000u * (1 + compact_world_below(w, seconds));
}

void compact_world_put(struct compact_world *w, uint32_t k, bool deletes)
{
    w->commit++;
    world_add(w, k, deletes ? KV_DELETE : KV_PUT, w->expiring ? make_expiry(w, 8) : 0);
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
            bool expires = w->expiring && prng_one_in(&w->random, 3);
            world_add(w, k, points[k], expires ? make_expiry(w, 20) : 0);
        }
    }
}

void compact_world_snapshot(struct compact_world *w)
{
    if (w->snapshot_count < COMPACT_WORLD_SNAPSHOTS_MAX) {
        w->snapshots[w->snapshot_count++] = w->commit;
    }
}

uint64_t compact_world_excise(struct compact_world *w, const struct shape_claims *claims)
{
    struct compact_trim trim;
    struct edit e = {0};
    uint64_t bytes;
    assert_int_equal(w->env.trim(w, 1, &trim), STRATA_OK);
    assert_int_equal(compact_excise(&trim, compact_world_space(w), claims, &e, &bytes), STRATA_OK);
    uint64_t tables = e.table_count;
    assert_true((bytes != 0) == (tables != 0));
    if (bytes != 0) {
        assert_int_equal(compact_world_install(w, &e), STRATA_OK);
    }
    edit_release(&e);
    compact_trim_release(&trim);
    return tables;
}

void compact_world_merge_full(struct compact_world *w, bool history, bool rewrite_values)
{
    struct tree *tree = history ? compact_world_space(w)->history : compact_world_space(w)->live;
    struct shape shape = {.table_bytes = 4000, .size_ratio = 4, .level_count = 1};
    struct shape_job job;
    w->sums = (struct compact_progress){0};
    if (!shape_pick_full(tree, &shape, NULL, true, &job)) {
        return;
    }
    job.rewrite = job.input_count == 1;
    struct merge *m;
    assert_int_equal(
        merge_new(&w->env, compact_world_space(w), history, tree, &job, &shape, 8000, &m),
        STRATA_OK);
    bool done = false;
    if (rewrite_values) {
        merge_rewrite_values(m);
    }
    while (!done) {
        assert_int_equal(merge_step(m, &done), STRATA_OK);
    }
    compact_world_count(w, merge_progress(m));
    merge_free(m);
}

void compact_world_count(struct compact_world *w, const struct compact_progress *p)
{
    struct compact_progress *s = &w->sums;
    s->tables_moved += p->tables_moved;
    s->blocks_passed += p->blocks_passed;
    s->blocks_handed += p->blocks_handed;
    s->blocks_skipped += p->blocks_skipped;
    s->ejected += p->ejected;
    s->receipts += p->receipts;
    s->bytes_written += p->bytes_written;
    s->dropped += p->dropped;
    s->expired += p->expired;
    s->floors += p->floors;
    s->turned += p->turned;
}

strata_rc compact_world_try_flush(struct compact_world *w)
{
    struct catalog *catalog = w->catalog;
    catalog_ref(catalog);
    struct flush_source source = {compact_world_space(w), w->memtable};
    struct edit base = {.log_first_segment = w->commit};
    struct flush *f = NULL;
    strata_rc rc = w->values == NULL ? STRATA_OK : value_file_finish(w->values);
    if (rc == STRATA_OK && w->values != NULL) {
        rc = edit_add_value_file(&base, value_file_meta(w->values), w->values);
    }
    if (rc == STRATA_OK) {
        rc = flush_new(&w->env, &source, 1, w->commit, 1u << 20, &base, &f);
    }
    edit_release(&base);
    bool done = false;
    while (rc == STRATA_OK && !done) {
        rc = flush_step(f, &done);
    }
    if (rc == STRATA_OK) {
        compact_world_count(w, flush_progress(f));
    }
    flush_free(f);
    catalog_unref(catalog);
    if (rc == STRATA_OK) {
        drop_values(w, false);
    }
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
    assert_int_equal(memtable_new(NULL, &w->memtable), STRATA_OK);
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

static void check_value(struct compact_world *w, uint32_t k, const struct kv_entry *e)
{
    uint8_t expected[512];
    uint8_t value[512];
    struct slice is = kv_value(e);
    size_t bytes = make_value(k, e->commit, expected);
    if (e->kind == KV_PUT_SEPARATED) {
        struct kv_value_ref ref;
        struct value_file *file;
        assert_int_equal(kv_value_ref_decode(is, &ref), STRATA_OK);
        assert_true(ref.bytes == bytes);
        assert_int_equal(env_value_file(w, ref.file, &file), STRATA_OK);
        assert_int_equal(value_file_read(file, &ref, 0, value, bytes), STRATA_OK);
        value_file_unref(file);
        is = slice_of(value, bytes);
    }
    assert_true(slice_equal(is, slice_of(expected, bytes)));
}

// An expiry goes with its put through every job.
static void expect_expiry(const struct compact_versions *v, const struct kv_entry *e)
{
    size_t i = 0;
    while (i < v->count && (v->list[i].commit != e->commit || v->list[i].kind == KV_RANGE_DELETE)) {
        i++;
    }
    assert_true(i < v->count && v->list[i].expiry == e->expiry);
}

static void read_cursor(struct compact_world *w, struct kv_cursor *c, struct source *to)
{
    strata_rc rc = kv_cursor_seek(c, slice_of(NULL, 0), false);
    while (rc == STRATA_OK) {
        const struct kv_entry *e = c->at;
        uint32_t k = key_index(w, kv_key(e));
        bool separated = e->kind == KV_PUT_SEPARATED;
        if (e->kind == KV_PUT || separated) {
            check_value(w, k, e);
            expect_expiry(&w->naive[k], e);
        }
        w->separated += separated;
        if (e->kind == KV_PUT && e->value_bytes > w->inline_greatest) {
            w->inline_greatest = e->value_bytes;
        }
        versions_push(&to->points[k], (struct compact_version){e->commit, e->end, e->expiry,
                                                               separated ? KV_PUT : e->kind});
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
            versions_push(&to->ranges[k], (struct compact_version){.commit = f->commits[i],
                                                                   .kind = KV_RANGE_DELETE});
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

static struct source *read_run(struct compact_world *w, const struct run *r)
{
    struct source *s = source_new();
    struct kv_cursor *c;
    assert_int_equal(
        run_cursor_open(w->cache, r->tables, r->count, w->cluster_keys % 2 == 0, 0, &c), STRATA_OK);
    read_cursor(w, c, s);
    for (uint32_t t = 0; t < r->count; t++) {
        const struct table_meta *meta = table_meta(r->tables[t]);
        verify_new(w, r->tables[t]);
        assert_true(meta->time_least_us == env_commit_time(NULL, meta->commit_least));
        read_ranges(w, table_range_dels(r->tables[t]), meta->lower, meta->upper, s);
    }
    return s;
}

static uint32_t read_tree(struct compact_world *w, const struct tree *t, struct source **to)
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

static struct source *read_memtable(struct compact_world *w)
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
    struct compact_version version; // commit 0: none
    bool skipped;
};

static void offer(struct candidate *c, const struct compact_version *v, uint64_t at)
{
    if (v->commit > at) {
        c->skipped = true;
    } else if (v->commit > c->version.commit ||
               (v->commit == c->version.commit && c->version.kind == KV_RANGE_DELETE &&
                v->kind != KV_RANGE_DELETE)) {
        c->version = *v;
    }
}

static void offer_all(struct candidate *c, const struct compact_versions *v, uint64_t at)
{
    for (size_t i = 0; i < v->count; i++) {
        offer(c, &v->list[i], at);
    }
}

#define TRIMMED UINT64_MAX

// The commit of the value that is seen; 0: none.
static uint64_t value_of(const struct compact_version *v, uint64_t at)
{
    if (v->kind == KV_FLOOR) {
        return TRIMMED;
    }
    bool hidden = v->expiry != 0 && (int64_t)v->expiry <= time_of(at);
    return v->kind == KV_PUT && !hidden ? v->commit : 0;
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
    for (uint32_t s = 0; s < m->live_count && c.version.commit == 0; s++) {
        offer_all(&c, &m->live[s]->points[k], at);
        offer_all(&c, &m->live[s]->ranges[k], at);
    }
    struct candidate past = {0};
    if ((c.version.commit == 0 || c.skipped) && at != w->commit) {
        for (uint32_t h = 0; h < m->history_count; h++) {
            const struct compact_versions *v = &m->history[h]->points[k];
            for (size_t i = 0; i < v->count; i++) {
                if (v->list[i].commit <= at && at < v->list[i].end) {
                    offer(&past, &v->list[i], at);
                }
            }
        }
    }
    if (past.version.kind == KV_FLOOR) {
        return TRIMMED;
    }
    if (past.version.commit != 0) {
        offer(&c, &past.version, at);
    }
    return value_of(&c.version, at);
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

// With retention by count: has the key had versions - 1 values between what it was and what it is?
static bool may_be_trimmed(const struct compact_world *w, uint32_t k, uint64_t was)
{
    struct candidate present = {0};
    uint32_t between = 0;
    offer_all(&present, &w->naive[k], w->commit);
    for (size_t i = 0; i < w->naive[k].count; i++) {
        const struct compact_version *v = &w->naive[k].list[i];
        between += v->kind == KV_PUT && v->commit > was && v->commit != present.version.commit;
    }
    return w->retention == COMPACT_WORLD_VERSIONS && between + 1 >= w->versions;
}

static void check_key(struct compact_world *w, const struct image *m, uint32_t k)
{
    uint64_t floor = compact_world_space(w)->floor;
    for (uint64_t at = 0; at <= w->commit; at++) {
        if (at < floor && !world_is_registered(w, at)) {
            continue;
        }
        struct candidate want = {0};
        offer_all(&want, &w->naive[k], at);
        uint64_t expected = value_of(&want.version, at);
        uint64_t got = image_get(w, m, k, at);
        if (got == TRIMMED && !world_is_registered(w, at) &&
            may_be_trimmed(w, k, want.version.commit)) {
            w->trimmed++;
        } else if (got != expected) {
            wrong("key %u at %d: commit %d, expected %d", k, (int)at, (int)got, (int)expected);
        }
    }
}

void compact_world_check(struct compact_world *w)
{
    struct image m = {0};
    bool all = w->retention == COMPACT_WORLD_ALL;
    w->separated = w->inline_greatest = 0;
    m.live[0] = read_memtable(w);
    m.live_count = 1 + read_tree(w, compact_world_space(w)->live, m.live + 1);
    m.history_count = read_tree(w, compact_world_space(w)->history, m.history);
    w->verified = w->next_file;
    for (uint32_t k = 0; k < COMPACT_WORLD_KEYS; k++) {
        check_key(w, &m, k);
        for (size_t i = 0; i < w->naive[k].count && all; i++) {
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
