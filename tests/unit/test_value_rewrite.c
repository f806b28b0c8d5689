// Rewrites of value files beside flushes and merges, over a real manifest on a simulated disk:
// after each of them every reference leads to its value, also after a crash, and no file stays that
// nothing names.
#include "compact/compact.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/prng.h"
#include "kv/file_name.h"
#include "lib/alloc_fault.h"
#include "os/epoch.h"
#include "sim/sim_machine.h"

#define KEYS 200u
#define LARGE_BYTES (2500u << 10) // three chunks

struct rewrite_world {
    struct prng random;
    struct sim_disk *disk;
    struct sim_machine machine;
    char path[64]; // of a real directory; empty: on the simulated machine
    struct os_dir *dir;
    struct os_memory memory;
    struct cache *cache;
    struct os_file_cache *files;
    struct compact_env env;
    struct catalog *catalog;
    struct manifest *manifest;
    uint64_t next_file, next_run, commit;
    bool retain_none;
    bool stopping;
    strata_rc refuse_install; // nothing is appended then
    uint64_t present[KEYS];   // commit of the live version; 0: none
};

// ---- the engine's side

static uint64_t env_new_file(void *ctx)
{
    return ((struct rewrite_world *)ctx)->next_file++;
}

static uint64_t env_new_run(void *ctx)
{
    return ((struct rewrite_world *)ctx)->next_run++;
}

static strata_rc env_install(void *ctx, struct edit *e)
{
    struct rewrite_world *w = ctx;
    struct catalog *next;
    if (w->refuse_install != STRATA_OK) {
        return w->refuse_install;
    }
    edit_leave_out_dropped(e, w->catalog);
    e->next_file = w->next_file;
    e->next_run = w->next_run;
    strata_rc rc = catalog_apply(w->catalog, e, &w->env.tables, &next);
    if (rc == STRATA_OK) {
        rc = manifest_append(w->manifest, e);
        if (rc != STRATA_OK) {
            catalog_unref(next);
        }
    }
    if (rc == STRATA_OK) {
        edit_committed(e, w->catalog);
        catalog_unref(w->catalog);
        w->catalog = next;
    }
    return rc;
}

static int64_t env_commit_time(void *ctx, uint64_t commit)
{
    (void)ctx;
    return (int64_t)commit;
}

static strata_rc env_trim(void *ctx, uint64_t keyspace, struct compact_trim *trim_out)
{
    const struct rewrite_world *w = ctx;
    (void)keyspace;
    *trim_out = (struct compact_trim){.floor = w->retain_none ? w->commit : 0};
    return STRATA_OK;
}

static strata_rc env_value_file(void *ctx, uint64_t logical, struct value_file **file_out)
{
    const struct rewrite_world *w = ctx;
    const struct catalog_value *v = catalog_value_find(w->catalog, logical);
    assert_non_null(v);
    value_file_ref(v->in);
    *file_out = v->in;
    return STRATA_OK;
}

static bool env_stopping(void *ctx)
{
    return ((struct rewrite_world *)ctx)->stopping;
}

static void world_attach(struct rewrite_world *w)
{
    os_memory_init(&w->memory, (size_t)64 << 20);
    assert_int_equal(cache_new(&w->memory, &w->cache), STRATA_OK);
    assert_int_equal(os_file_cache_new(w->dir, 8, &w->files), STRATA_OK);
    w->env = (struct compact_env){.tables = {w->dir, w->cache, &w->memory, w->files},
                                  .incarnation = 3,
                                  .new_file_number = env_new_file,
                                  .new_run_number = env_new_run,
                                  .install = env_install,
                                  .commit_time = env_commit_time,
                                  .trim = env_trim,
                                  .value_file = env_value_file,
                                  .stopping = env_stopping,
                                  .ctx = w};
}

static void world_detach(struct rewrite_world *w)
{
    catalog_unref(w->catalog);
    os_epoch_drain();
    cache_free(w->cache);
    os_file_cache_free(w->files);
    assert_int_equal(os_memory_used(&w->memory), 0);
}

// Keyspaces 1 and 2, empty.
static void world_fill(struct rewrite_world *w, struct os_machine *machine, const char *path)
{
    assert_int_equal(machine->open_dir(machine, path, true, &w->dir), STRATA_OK);
    w->next_file = 2;
    w->next_run = 1;
    world_attach(w);
    assert_int_equal(catalog_new(&w->catalog), STRATA_OK);
    assert_int_equal(manifest_new(w->dir, 1, w->catalog, &w->manifest), STRATA_OK);
    strata_keyspace_options options;
    assert_int_equal(keyspace_options_resolve(NULL, &options), STRATA_OK);
    // What merges do with values that are shorter.
    options.separate_bytes = w->random.state % 3 == 0 ? 1500 : 64;
    struct edit e = {0};
    assert_int_equal(edit_create_space(&e, 1, "default", &options, 0), STRATA_OK);
    assert_int_equal(edit_create_space(&e, 2, "other", &options, 0), STRATA_OK);
    assert_int_equal(env_install(w, &e), STRATA_OK);
    edit_release(&e);
}

static void world_open(struct rewrite_world *w, uint64_t seed)
{
    *w = (struct rewrite_world){.random = {seed}, .disk = sim_disk_new()};
    sim_machine_init(&w->machine, w->disk, seed);
    world_fill(w, &w->machine.base, "db");
}

static bool count_file(void *ctx, const char *name, bool regular)
{
    enum file_kind kind;
    uint64_t number;
    if (regular && file_name_parse(name, &kind, &number) && kind == FILE_VALUE) {
        ++*(uint32_t *)ctx;
    }
    return true;
}

static uint32_t world_value_files(struct rewrite_world *w)
{
    uint32_t count = 0;
    os_epoch_drain();
    assert_int_equal(os_dir_list(w->dir, count_file, &count), STRATA_OK);
    return count;
}

static void world_close(struct rewrite_world *w)
{
    assert_int_equal(world_value_files(w), w->catalog->value_file_count);
    world_detach(w);
    assert_int_equal(manifest_close(w->manifest), STRATA_OK);
    os_dir_close(w->dir);
    sim_machine_release(&w->machine);
    sim_disk_free(w->disk);
}

// ---- values

static bool large_values; // one of 60 has several chunks

static size_t value_bytes(uint64_t key, uint64_t commit)
{
    uint64_t word = prng_mix(key * 7919 + commit);
    return large_values && word % 60 == 0 ? LARGE_BYTES : 64 + word % 3000;
}

static void value_fill(uint64_t key, uint64_t commit, uint8_t *to, size_t bytes)
{
    uint64_t word = prng_mix(key * 1000003 + commit);
    for (size_t i = 0; i < bytes; i++) {
        to[i] = (uint8_t)(word >> (i % 8 * 8)) ^ (uint8_t)(i >> 8);
    }
}

static uint8_t buffer[LARGE_BYTES], expected[LARGE_BYTES];

// The entry has the value of its key and commit, or its reference leads to it.
static void expect_stored(const struct catalog *c, const struct kv_entry *e)
{
    struct kv_value_ref ref;
    uint64_t key = strtoull((const char *)e->key + 1, NULL, 10);
    size_t bytes = value_bytes(key, e->commit);
    value_fill(key, e->commit, expected, bytes);
    if (e->kind == KV_PUT) {
        assert_int_equal(e->value_bytes, bytes);
        assert_memory_equal(e->value, expected, bytes);
        return;
    }
    assert_int_equal(e->kind, KV_PUT_SEPARATED);
    assert_int_equal(kv_value_ref_decode(kv_value(e), &ref), STRATA_OK);
    assert_int_equal(ref.bytes, bytes);
    const struct catalog_value *v = catalog_value_find(c, ref.file);
    assert_non_null(v);
    assert_int_equal(value_file_read(v->in, &ref, 0, buffer, bytes), STRATA_OK);
    assert_memory_equal(buffer, expected, bytes);
}

struct found {
    uint64_t newest[KEYS]; // commit of the newest live version
    uint64_t entries;
};

static void check_tree(struct rewrite_world *w, const struct tree *t, struct found *found)
{
    for (uint32_t level = 0; level < t->level_count; level++) {
        for (uint32_t i = 0; i < t->levels[level].count; i++) {
            const struct run *r = t->levels[level].runs[i];
            struct kv_cursor *c;
            assert_int_equal(run_cursor_open(w->cache, r->tables, r->count, false, 0, &c),
                             STRATA_OK);
            strata_rc rc = kv_cursor_seek(c, slice_of(NULL, 0), false);
            while (rc == STRATA_OK) {
                uint64_t key = strtoull((const char *)c->at->key + 1, NULL, 10);
                expect_stored(w->catalog, c->at);
                if (c->at->commit > found->newest[key]) {
                    found->newest[key] = c->at->commit;
                }
                found->entries++;
                rc = kv_cursor_next(c);
            }
            assert_int_equal(rc, STRATA_END);
            kv_cursor_close(c);
        }
    }
}

// Every reference of both trees leads to its value, and every key is there.
static void world_check(struct rewrite_world *w)
{
    struct found live = {.entries = 0}, history = {.entries = 0};
    const struct catalog_space *s = catalog_space_find(w->catalog, 1);
    check_tree(w, s->live, &live);
    check_tree(w, s->history, &history);
    assert_memory_equal(live.newest, w->present, sizeof w->present);
}

// ---- flushes and merges

static void install(struct rewrite_world *w, struct edit *e)
{
    assert_int_equal(os_dir_sync(w->dir), STRATA_OK);
    assert_int_equal(env_install(w, e), STRATA_OK);
    edit_release(e);
}

// A run on level 0 with every `step`-th key from `first` on, their values in one new file.
static void flush_keys(struct rewrite_world *w, uint32_t first, uint32_t step)
{
    struct value_env env = {w->dir, w->cache, &w->memory, w->files};
    struct table_options options = {.keyspace = 1,
                                    .keyspace_name = "default",
                                    .incarnation = 3,
                                    .block_bytes = 256,
                                    .compression = STRATA_COMPRESSION_NONE,
                                    .filter_bits = 10};
    struct value_file *values;
    struct table_writer *writer;
    struct table_meta meta;
    struct edit e = {0};
    assert_int_equal(value_file_new(&env, w->next_file++, 1, 3, &values), STRATA_OK);
    assert_int_equal(table_writer_new(w->dir, w->next_file++, &options, &writer), STRATA_OK);
    for (uint32_t k = first; k < KEYS; k += step) {
        char key[16];
        uint8_t raw[KV_VALUE_REF_BYTES_MAX];
        struct value_place place;
        uint64_t commit = ++w->commit;
        size_t bytes = value_bytes(k, commit);
        value_fill(k, commit, buffer, bytes);
        assert_int_equal(
            value_file_append(values, slice_of(buffer, bytes), STRATA_COMPRESSION_NONE, &place),
            STRATA_OK);
        struct kv_entry entry = {.key = (const uint8_t *)key,
                                 .key_bytes = (uint32_t)snprintf(key, sizeof key, "k%04u", k),
                                 .value = raw,
                                 .value_bytes = kv_value_ref_encode(&place.ref, raw),
                                 .commit = commit,
                                 .kind = KV_PUT_SEPARATED};
        assert_int_equal(table_writer_add(writer, &entry, hash_key(kv_key(&entry))), STRATA_OK);
        w->present[k] = commit;
    }
    assert_int_equal(value_file_finish(values), STRATA_OK);
    assert_int_equal(table_writer_finish(writer, &meta), STRATA_OK);
    assert_int_equal(edit_add_value_file(&e, value_file_meta(values), values), STRATA_OK);
    assert_int_equal(edit_add_table(&e, 1, false, 0, w->next_run++, &meta, NULL), STRATA_OK);
    value_file_unref(values);
    table_meta_release(&meta);
    install(w, &e);
}

// A merge of all live runs into one; retention as the world says.
static struct merge *begin_merge(struct rewrite_world *w)
{
    const struct catalog_space *s = catalog_space_find(w->catalog, 1);
    struct shape shape = shape_live(&s->options, 1 << 20);
    shape.table_bytes = 400;
    struct shape_job job = {.to_last = true};
    for (uint32_t level = 0; level < s->live->level_count; level++) {
        for (uint32_t i = 0; i < s->live->levels[level].count; i++) {
            job.inputs[job.input_count] = s->live->levels[level].runs[i];
            job.input_levels[job.input_count++] = level;
        }
    }
    assert_true(job.input_count > 0);
    job.output_level = job.input_levels[job.input_count - 1];
    job.output_run = job.inputs[job.input_count - 1]->number;
    struct merge *merge;
    assert_int_equal(merge_new(&w->env, s, false, s->live, &job, &shape, 300, &merge), STRATA_OK);
    return merge;
}

static void end_merge(struct merge *merge)
{
    bool done = false;
    while (!done) {
        assert_int_equal(merge_step(merge, &done), STRATA_OK);
    }
    merge_free(merge);
}

// ---- rewrites

static struct value_rewrite *begin_rewrite(struct rewrite_world *w, const uint64_t *victims,
                                           size_t count)
{
    struct value_rewrite *r;
    assert_int_equal(value_rewrite_new(&w->env, w->catalog, victims, count, &r), STRATA_OK);
    return r;
}

// To the end, or to the first error.
static strata_rc run_rewrite(struct value_rewrite *r)
{
    bool done = false;
    strata_rc rc = STRATA_OK;
    while (rc == STRATA_OK && !done) {
        rc = value_rewrite_step(r, &done);
    }
    return rc;
}

static void rewrite(struct rewrite_world *w, const uint64_t *victims, size_t count)
{
    struct value_rewrite *r = begin_rewrite(w, victims, count);
    assert_int_equal(run_rewrite(r), STRATA_OK);
    value_rewrite_free(r);
}

// Numbers of all value files of keyspace 1.
static size_t all_files(const struct rewrite_world *w, uint64_t *to, size_t room)
{
    assert_true(w->catalog->value_file_count <= room);
    for (uint32_t i = 0; i < w->catalog->value_file_count; i++) {
        to[i] = value_file_meta(w->catalog->value_files[i])->file;
    }
    return w->catalog->value_file_count;
}

static uint64_t stored_bytes(const struct rewrite_world *w)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < w->catalog->value_count; i++) {
        sum += w->catalog->values[i].stored_bytes;
    }
    return sum;
}

static uint64_t referred_bytes(const struct rewrite_world *w)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < w->catalog->value_count; i++) {
        sum += w->catalog->values[i].live_bytes + w->catalog->values[i].history_bytes;
    }
    return sum;
}

// Three flushes of all keys, of half of them and of a third, merged into one run.
static void three_flushes(struct rewrite_world *w, bool retain_none)
{
    w->retain_none = retain_none;
    flush_keys(w, 0, 1);
    flush_keys(w, 0, 2);
    flush_keys(w, 1, 3);
    end_merge(begin_merge(w));
    world_check(w);
}

static void garbage_leaves_and_every_reference_stays(void **state)
{
    (void)state;
    static struct rewrite_world w;
    large_values = true;
    world_open(&w, 1);
    three_flushes(&w, true);
    uint64_t victims[8];
    size_t count = all_files(&w, victims, 8);
    assert_int_equal(count, 3);
    uint64_t live = referred_bytes(&w);
    assert_true(live < stored_bytes(&w));
    struct value_rewrite *r = begin_rewrite(&w, victims, count);
    assert_int_equal(run_rewrite(r), STRATA_OK);
    const struct compact_progress *p = value_rewrite_progress(r);
    assert_true(p->entries_out >= KEYS && p->bytes_read > live);
    assert_int_equal(p->bytes_written, value_file_meta(w.catalog->value_files[0])->bytes);
    value_rewrite_free(r);
    // One physical file with three logical ones, and nothing in it that is not referred to.
    assert_int_equal(w.catalog->value_file_count, 1);
    assert_int_equal(w.catalog->value_count, 3);
    assert_int_equal(referred_bytes(&w), live);
    assert_int_equal(stored_bytes(&w), live);
    assert_int_equal(world_value_files(&w), 1);
    world_check(&w);
    // Again, of that file: more of it is garbage now.
    flush_keys(&w, 0, 2);
    end_merge(begin_merge(&w));
    count = all_files(&w, victims, 8);
    assert_int_equal(count, 2);
    rewrite(&w, victims, 1);
    assert_int_equal(w.catalog->value_file_count, 2);
    assert_int_equal(stored_bytes(&w), referred_bytes(&w));
    world_check(&w);
    world_close(&w);
    large_values = false;
}

static void history_keeps_what_it_refers_to(void **state)
{
    (void)state;
    static struct rewrite_world w;
    world_open(&w, 2);
    three_flushes(&w, false);
    uint64_t victims[8];
    size_t count = all_files(&w, victims, 8);
    assert_int_equal(referred_bytes(&w), stored_bytes(&w));
    uint64_t before = stored_bytes(&w);
    rewrite(&w, victims, count);
    assert_int_equal(stored_bytes(&w), before);
    assert_true(catalog_space_find(w.catalog, 1)->history->value_bytes > 0);
    world_check(&w);
    world_close(&w);
}

static void a_file_that_nothing_refers_to_just_leaves(void **state)
{
    (void)state;
    static struct rewrite_world w;
    world_open(&w, 3);
    w.retain_none = true;
    flush_keys(&w, 0, 1);
    uint64_t victims[8];
    assert_int_equal(all_files(&w, victims, 8), 1);
    flush_keys(&w, 0, 1);
    end_merge(begin_merge(&w));
    uint64_t next_file = w.next_file;
    rewrite(&w, victims, 1);
    assert_int_equal(w.next_file, next_file);
    assert_int_equal(w.catalog->value_file_count, 1);
    assert_int_equal(world_value_files(&w), 1);
    world_check(&w);
    // Of two victims one is written anew: the other's logical file is gone.
    flush_keys(&w, 0, 2);
    end_merge(begin_merge(&w));
    flush_keys(&w, 0, 1);
    size_t count = all_files(&w, victims, 8);
    assert_int_equal(count, 3);
    end_merge(begin_merge(&w));
    rewrite(&w, victims, count);
    assert_int_equal(w.catalog->value_count, 1);
    world_check(&w);
    world_close(&w);
}

// Rewrites that begin, go on and end between the slices of a merge.
static void a_merge_may_be_half_done(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 150; seed++) {
        static struct rewrite_world w;
        world_open(&w, seed);
        w.retain_none = seed % 2 == 0;
        flush_keys(&w, 0, 1);
        flush_keys(&w, 0, 1 + (uint32_t)prng_below(&w.random, 3));
        struct merge *merge = begin_merge(&w);
        if (seed % 5 == 0) {
            merge_rewrite_values(merge);
        }
        struct value_rewrite *r = NULL;
        bool merged = false;
        uint32_t rewrites = 0;
        while (!merged || r != NULL || rewrites < 2) {
            bool done = false;
            if (!merged && prng_one_in(&w.random, 2)) {
                assert_int_equal(merge_step(merge, &merged), STRATA_OK);
            } else if (r == NULL) {
                uint64_t victims[16];
                size_t count = all_files(&w, victims, 16);
                size_t first = prng_below(&w.random, count);
                r = begin_rewrite(&w, victims + first, 1 + prng_below(&w.random, count - first));
            } else if (prng_one_in(&w.random, 30)) {
                value_rewrite_free(r); // given up in the middle
                r = NULL;
            } else {
                assert_int_equal(value_rewrite_step(r, &done), STRATA_OK);
            }
            if (done) {
                value_rewrite_free(r);
                r = NULL;
                rewrites++;
            }
            if (prng_one_in(&w.random, 10)) {
                world_check(&w);
                if (w.catalog->value_file_count < 10 && prng_one_in(&w.random, 2)) {
                    flush_keys(&w, (uint32_t)prng_below(&w.random, 5), 7);
                }
            }
        }
        merge_free(merge);
        world_check(&w);
        world_close(&w);
    }
}

static void a_keyspace_may_be_dropped_meanwhile(void **state)
{
    (void)state;
    for (uint32_t steps = 0; steps < 12; steps++) {
        static struct rewrite_world w;
        world_open(&w, 5);
        three_flushes(&w, true);
        uint64_t victims[8];
        size_t count = all_files(&w, victims, 8);
        struct value_rewrite *r = begin_rewrite(&w, victims, count);
        bool done = false;
        for (uint32_t i = 0; i < steps && !done; i++) {
            assert_int_equal(value_rewrite_step(r, &done), STRATA_OK);
        }
        struct edit e = {0};
        assert_int_equal(edit_drop_space(&e, 1, ++w.commit), STRATA_OK);
        install(&w, &e);
        if (!done) {
            assert_int_equal(run_rewrite(r), STRATA_OK);
        }
        value_rewrite_free(r);
        assert_int_equal(world_value_files(&w), 0);
        world_close(&w);
    }
}

static void a_rewrite_that_is_stopped_leaves_nothing(void **state)
{
    (void)state;
    static struct rewrite_world w;
    world_open(&w, 6);
    three_flushes(&w, true);
    uint64_t victims[8];
    size_t count = all_files(&w, victims, 8);
    for (uint32_t steps = 0; steps < 8; steps++) {
        struct value_rewrite *r = begin_rewrite(&w, victims, count);
        bool done = false;
        for (uint32_t i = 0; i < steps && !done; i++) {
            assert_int_equal(value_rewrite_step(r, &done), STRATA_OK);
        }
        w.stopping = true;
        assert_int_equal(done ? STRATA_BUSY : value_rewrite_step(r, &done), STRATA_BUSY);
        w.stopping = false;
        value_rewrite_free(r);
        assert_int_equal(world_value_files(&w), w.catalog->value_file_count);
        world_check(&w);
        count = all_files(&w, victims, 8);
    }
    world_close(&w);
}

// NO_SPACE says that nothing of the edit is on disk: the new file goes. After another error it
// stays, for a manifest may name it.
static void the_new_file_goes_only_when_no_manifest_can_name_it(void **state)
{
    (void)state;
    static struct rewrite_world w;
    world_open(&w, 7);
    three_flushes(&w, true);
    uint64_t victims[8];
    size_t count = all_files(&w, victims, 8);
    static const struct {
        strata_rc rc;
        uint32_t left;
    } cases[] = {{STRATA_NO_SPACE, 0}, {STRATA_NO_MEMORY, 0}, {STRATA_IO, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct value_rewrite *r = begin_rewrite(&w, victims, count);
        w.refuse_install = cases[i].rc;
        assert_int_equal(run_rewrite(r), cases[i].rc);
        w.refuse_install = STRATA_OK;
        value_rewrite_free(r);
        assert_int_equal(world_value_files(&w), count + cases[i].left);
        world_check(&w);
    }
    char name[FILE_NAME_BYTES];
    file_name_make(name, FILE_VALUE, w.next_file - 1);
    assert_int_equal(os_dir_unlink(w.dir, name), STRATA_OK);
    rewrite(&w, victims, count);
    world_check(&w);
    world_close(&w);
}

static void victims_are_of_one_keyspace_and_in_the_catalog(void **state)
{
    (void)state;
    static struct rewrite_world w;
    world_open(&w, 8);
    flush_keys(&w, 0, 1);
    struct value_env env = {w.dir, w.cache, &w.memory, w.files};
    struct value_file *other;
    struct value_place place;
    struct edit e = {0};
    uint64_t number = w.next_file++;
    assert_int_equal(value_file_new(&env, number, 2, 3, &other), STRATA_OK);
    assert_int_equal(
        value_file_append(other, slice_of("value", 5), STRATA_COMPRESSION_NONE, &place), STRATA_OK);
    assert_int_equal(value_file_finish(other), STRATA_OK);
    assert_int_equal(edit_add_value_file(&e, value_file_meta(other), other), STRATA_OK);
    value_file_unref(other);
    install(&w, &e);
    uint64_t victims[8];
    size_t count = all_files(&w, victims, 8);
    struct value_rewrite *r;
    assert_int_equal(value_rewrite_new(&w.env, w.catalog, victims, count, &r), STRATA_INVALID);
    victims[0] = 999;
    assert_int_equal(value_rewrite_new(&w.env, w.catalog, victims, 1, &r), STRATA_INVALID);
    world_close(&w);
}

// ---- faults

static void a_damaged_value_ends_the_rewrite_and_changes_nothing(void **state)
{
    (void)state;
    static struct rewrite_world w;
    world_open(&w, 9);
    three_flushes(&w, true);
    uint64_t victims[8];
    size_t count = all_files(&w, victims, 8);
    char name[FILE_NAME_BYTES];
    file_name_make(name, FILE_VALUE, victims[count - 1]); // all of it is referred to
    struct os_file *f;
    uint8_t byte;
    assert_int_equal(os_file_open(w.dir, name, OS_OPEN_WRITE | OS_OPEN_READ, &f), STRATA_OK);
    uint64_t middle = value_file_meta(w.catalog->value_files[count - 1])->bytes / 2;
    assert_int_equal(os_file_read(f, middle, &byte, 1), STRATA_OK);
    byte ^= 1;
    assert_int_equal(os_file_write(f, middle, &byte, 1), STRATA_OK);
    struct value_rewrite *r = begin_rewrite(&w, victims, count);
    assert_int_equal(run_rewrite(r), STRATA_CORRUPT);
    value_rewrite_free(r);
    assert_int_equal(world_value_files(&w), count);
    byte ^= 1;
    assert_int_equal(os_file_write(f, middle, &byte, 1), STRATA_OK);
    assert_int_equal(os_file_close(f), STRATA_OK);
    world_check(&w);
    world_close(&w);
}

// Each call of the disk fails once. Whatever the rewrite then says, every reference holds.
static void an_error_of_the_disk_changes_nothing(void **state)
{
    (void)state;
    uint64_t fired = 1;
    for (uint64_t n = 0; fired != 0; n++) {
        static struct rewrite_world w;
        world_open(&w, 10);
        three_flushes(&w, true);
        uint64_t victims[8];
        size_t count = all_files(&w, victims, 8);
        struct value_rewrite *r = begin_rewrite(&w, victims, count);
        sim_machine_fail(&w.machine,
                         (struct sim_fault){.ops = SIM_OP_ANY & ~SIM_OP_BIT(SIM_OP_CLOSE),
                                            .glob = NULL,
                                            .index = n,
                                            .error = n % 2 == 0 ? EIO : ENOSPC});
        strata_rc rc = run_rewrite(r);
        value_rewrite_free(r);
        os_epoch_drain();
        fired = sim_machine_faults_fired(&w.machine);
        sim_machine_heal(&w.machine);
        assert_true(fired != 0 || rc == STRATA_OK);
        world_check(&w);
        // What a failed unlink left, or a manifest that may name it, is the next open's.
        assert_true(world_value_files(&w) >= w.catalog->value_file_count);
        world_detach(&w);
        strata_rc closed = manifest_close(w.manifest);
        (void)closed;
        os_dir_close(w.dir);
        sim_machine_release(&w.machine);
        sim_disk_free(w.disk);
        assert_true(n < 1000);
    }
}

// In a real directory: the simulated machine cannot do without an allocation.
static void every_allocation_can_fail(void **state)
{
    (void)state;
    static struct rewrite_world w;
    w = (struct rewrite_world){.random = {11}};
    snprintf(w.path, sizeof w.path, "%s/strata_rewrite_XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(w.path));
    world_fill(&w, os_machine_posix(), w.path);
    three_flushes(&w, true);
    uint64_t victims[8];
    size_t count = all_files(&w, victims, 8);
    uint64_t failed = 1;
    for (uint64_t n = 0; failed != 0; n++) {
        struct value_rewrite *r = NULL;
        alloc_fault_arm(n, 1);
        strata_rc rc = value_rewrite_new(&w.env, w.catalog, victims, count, &r);
        if (rc == STRATA_OK) {
            rc = run_rewrite(r);
            value_rewrite_free(r);
        }
        failed = alloc_fault_disarm();
        assert_int_equal(rc, failed != 0 ? STRATA_NO_MEMORY : STRATA_OK);
        world_check(&w);
    }
    assert_int_equal(w.catalog->value_file_count, 1);
    assert_int_equal(world_value_files(&w), 1);
    world_detach(&w);
    assert_int_equal(manifest_close(w.manifest), STRATA_OK);
    os_dir_close(w.dir);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", w.path);
    assert_int_equal(system(command), 0);
}

// ---- crashes

// Opens what survived: every reference holds, before the rewrite or after it.
static void expect_survivor(const struct rewrite_world *w, struct sim_disk *survivor)
{
    static struct rewrite_world y;
    uint64_t number;
    y = (struct rewrite_world){.disk = survivor};
    sim_machine_init(&y.machine, survivor, 1);
    struct os_machine *m = &y.machine.base;
    assert_int_equal(m->open_dir(m, "db", false, &y.dir), STRATA_OK);
    world_attach(&y);
    assert_int_equal(manifest_load(&y.env.tables, &y.catalog, &number), STRATA_OK);
    memcpy(y.present, w->present, sizeof y.present);
    world_check(&y);
    world_detach(&y);
    os_dir_close(y.dir);
    sim_machine_release(&y.machine);
    sim_disk_free(survivor);
}

struct crashes {
    const struct rewrite_world *world;
    uint64_t count;
};

static void crash_here(void *ctx, struct sim_machine *m, const struct sim_event *e)
{
    struct crashes *c = ctx;
    (void)e;
    for (int policy = 0; policy < SIM_SURVIVE_POLICIES; policy++) {
        expect_survivor(c->world, sim_disk_survive(m->disk, (enum sim_survive)policy, c->count));
        c->count++;
    }
}

static void a_crash_at_any_change_leaves_before_or_after(void **state)
{
    (void)state;
    static struct rewrite_world w;
    for (uint64_t seed = 0; seed < 2; seed++) {
        world_open(&w, 12 + seed);
        three_flushes(&w, seed == 0);
        struct crashes c = {&w, 0};
        w.machine.boundary = crash_here;
        w.machine.boundary_ctx = &c;
        uint64_t victims[8];
        size_t count = all_files(&w, victims, 8);
        rewrite(&w, victims, count);
        os_epoch_drain();
        crash_here(&c, &w.machine, NULL);
        w.machine.boundary = NULL;
        assert_true(c.count > 8 * (uint64_t)SIM_SURVIVE_POLICIES);
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(garbage_leaves_and_every_reference_stays),
        cmocka_unit_test(history_keeps_what_it_refers_to),
        cmocka_unit_test(a_file_that_nothing_refers_to_just_leaves),
        cmocka_unit_test(a_merge_may_be_half_done),
        cmocka_unit_test(a_keyspace_may_be_dropped_meanwhile),
        cmocka_unit_test(a_rewrite_that_is_stopped_leaves_nothing),
        cmocka_unit_test(the_new_file_goes_only_when_no_manifest_can_name_it),
        cmocka_unit_test(victims_are_of_one_keyspace_and_in_the_catalog),
        cmocka_unit_test(a_damaged_value_ends_the_rewrite_and_changes_nothing),
        cmocka_unit_test(an_error_of_the_disk_changes_nothing),
        cmocka_unit_test(every_allocation_can_fail),
        cmocka_unit_test(a_crash_at_any_change_leaves_before_or_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
