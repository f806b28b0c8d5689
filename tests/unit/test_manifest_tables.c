// The manifest with real tables: what is loaded after a restart can be read, slices share their
// file, and a file goes with its last holder.
#include "manifest/manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/hash.h"
#include "kv/file_name.h"
#include "sim/sim_machine.h"

struct fixture {
    struct sim_disk *disk;
    struct sim_machine machine;
    struct os_dir *dir;
    struct os_memory memory;
    struct table_env env;
    struct catalog *catalog;
    struct manifest *manifest;
};

static void fixture_open(struct fixture *x)
{
    x->disk = sim_disk_new();
    sim_machine_init(&x->machine, x->disk, 1);
    struct os_machine *m = &x->machine.base;
    assert_int_equal(m->open_dir(m, "db", true, &x->dir), STRATA_OK);
    os_memory_init(&x->memory, 64u << 20);
    x->env = (struct table_env){.dir = x->dir, .memory = &x->memory};
    assert_int_equal(cache_new(&x->memory, &x->env.cache), STRATA_OK);
    assert_int_equal(os_file_cache_new(x->dir, 4, &x->env.files), STRATA_OK);
    assert_int_equal(catalog_new(&x->catalog), STRATA_OK);
    assert_int_equal(manifest_new(x->dir, 1, x->catalog, &x->manifest), STRATA_OK);
}

static void fixture_close(struct fixture *x)
{
    catalog_unref(x->catalog);
    assert_int_equal(manifest_close(x->manifest), STRATA_OK);
    cache_free(x->env.cache);
    os_file_cache_free(x->env.files);
    os_dir_close(x->dir);
    sim_machine_release(&x->machine);
    sim_disk_free(x->disk);
}

// Durable, then published; releases the edit.
static void install(struct fixture *x, struct edit *e)
{
    struct catalog *next;
    assert_int_equal(os_dir_sync(x->dir), STRATA_OK);
    assert_int_equal(catalog_apply(x->catalog, e, &x->env, &next), STRATA_OK);
    assert_int_equal(manifest_append(x->manifest, e), STRATA_OK);
    edit_committed(e, x->catalog);
    catalog_unref(x->catalog);
    x->catalog = next;
    edit_release(e);
}

// A live table of keyspace 1 with keys k000 to k(count - 1), each with its own name as value.
static void write_table(struct fixture *x, uint64_t file, uint32_t count,
                        struct table_meta *meta_out)
{
    struct table_options options = {.keyspace = 1,
                                    .keyspace_name = "default",
                                    .incarnation = 1,
                                    .block_bytes = 1024,
                                    .compression = STRATA_COMPRESSION_NONE,
                                    .filter_bits = 10};
    struct table_writer *w;
    assert_int_equal(table_writer_new(x->dir, file, &options, &w), STRATA_OK);
    for (uint32_t i = 0; i < count; i++) {
        char key[16];
        int bytes = snprintf(key, sizeof key, "k%03u", i);
        struct kv_entry e = {.key = (const uint8_t *)key,
                             .value = (const uint8_t *)key,
                             .key_bytes = (uint32_t)bytes,
                             .value_bytes = (uint32_t)bytes,
                             .commit = i + 1,
                             .kind = KV_PUT};
        assert_int_equal(table_writer_add(w, &e, hash_key(kv_key(&e))), STRATA_OK);
    }
    assert_int_equal(table_writer_finish(w, meta_out), STRATA_OK);
}

static void first_table(struct fixture *x)
{
    struct edit e = {0};
    struct table_meta meta;
    strata_keyspace_options options;
    assert_int_equal(keyspace_options_resolve(NULL, &options), STRATA_OK);
    assert_int_equal(edit_create_space(&e, 1, "default", &options, 0), STRATA_OK);
    write_table(x, 10, 200, &meta);
    assert_int_equal(edit_add_table(&e, 1, false, 0, 3, &meta, NULL), STRATA_OK);
    table_meta_release(&meta);
    install(x, &e);
}

static struct slice text(const char *s)
{
    return slice_of(s, strlen(s));
}

// How many keys a scan of the run shows, and whether the run's search finds their table.
static uint32_t count_keys(struct fixture *x, const struct run *r)
{
    struct kv_cursor *c;
    uint32_t count = 0;
    assert_int_equal(run_cursor_open(x->env.cache, r->tables, r->count, true, 0, &c), STRATA_OK);
    for (strata_rc rc = kv_cursor_seek(c, slice_of(NULL, 0), false); rc == STRATA_OK;
         rc = kv_cursor_next(c)) {
        assert_non_null(run_find(r, kv_key(c->at)));
        count++;
    }
    kv_cursor_close(c);
    return count;
}

static bool is_there(struct fixture *x, uint64_t file)
{
    char name[FILE_NAME_BYTES];
    struct os_file *f = NULL;
    file_name_make(name, FILE_TABLE, file);
    strata_rc rc = os_file_open_if_there(x->dir, name, OS_OPEN_READ, &f);
    os_file_close(f);
    return rc == STRATA_OK;
}

static void tables_are_read_after_a_load(void **state)
{
    (void)state;
    struct fixture x;
    struct catalog *loaded;
    uint64_t number;
    fixture_open(&x);
    first_table(&x);
    assert_int_equal(manifest_load(&x.env, &loaded, &number), STRATA_OK);
    assert_int_equal(count_keys(&x, catalog_space_find(loaded, 1)->live->levels[0].runs[0]), 200);
    catalog_unref(loaded);
    fixture_close(&x);
}

static void slices_of_a_file_end_with_it(void **state)
{
    (void)state;
    struct fixture x;
    struct catalog *loaded;
    uint64_t number;
    fixture_open(&x);
    first_table(&x);
    struct table_meta meta =
        *table_meta(catalog_space_find(x.catalog, 1)->live->levels[0].runs[0]->tables[0]);
    meta.lower = text("k150");
    struct edit e = {0};
    assert_int_equal(edit_remove_table(&e, 1, false, 10), STRATA_OK);
    assert_int_equal(edit_add_table(&e, 1, false, 0, 3, &meta, NULL), STRATA_OK);
    install(&x, &e);
    struct tree *reader = catalog_space_find(x.catalog, 1)->live;
    tree_ref(reader);
    assert_int_equal(count_keys(&x, reader->levels[0].runs[0]), 50);
    assert_null(run_find(reader->levels[0].runs[0], text("k149")));
    assert_int_equal(manifest_load(&x.env, &loaded, &number), STRATA_OK);
    assert_int_equal(count_keys(&x, catalog_space_find(loaded, 1)->live->levels[0].runs[0]), 50);
    catalog_unref(loaded);

    assert_int_equal(edit_remove_table(&e, 1, false, 10), STRATA_OK);
    install(&x, &e);
    assert_true(is_there(&x, 10));
    assert_int_equal(count_keys(&x, reader->levels[0].runs[0]), 50);
    tree_unref(reader);
    assert_false(is_there(&x, 10));
    fixture_close(&x);
}

static void a_table_that_is_not_what_the_manifest_says_is_corrupt(void **state)
{
    (void)state;
    struct fixture x;
    struct catalog *loaded;
    uint64_t number;
    fixture_open(&x);
    first_table(&x);
    struct table_meta meta =
        *table_meta(catalog_space_find(x.catalog, 1)->live->levels[0].runs[0]->tables[0]);
    // The manifest alone says that the file holds more keys than it does.
    struct edit e = {0};
    meta.upper = text("z");
    assert_int_equal(edit_remove_table(&e, 1, false, 10), STRATA_OK);
    assert_int_equal(edit_add_table(&e, 1, false, 0, 3, &meta, NULL), STRATA_OK);
    assert_int_equal(manifest_append(x.manifest, &e), STRATA_OK);
    edit_release(&e);
    assert_int_equal(manifest_load(&x.env, &loaded, &number), STRATA_CORRUPT);
    assert_null(loaded);
    fixture_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_read_after_a_load),
        cmocka_unit_test(slices_of_a_file_end_with_it),
        cmocka_unit_test(a_table_that_is_not_what_the_manifest_says_is_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
