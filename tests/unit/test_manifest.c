// The manifest file on a simulated disk: what is written comes back, damage is told from a torn
// tail, and every crash leaves the state before or after.
#include "manifest/manifest.h"

#include "base/fail.h"
#undef fail // cmocka has one of its own

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kv/file_name.h"
#include "lib/alloc_fault.h"
#include "manifest/manifest_format.h"
#include "sim/sim_machine.h"
#include "unit/fake_table.h"
#include "unit/fake_value.h"

#define PAGE MANIFEST_PAGE_BYTES

struct fixture {
    struct sim_disk *disk;
    struct sim_machine machine;
    struct os_dir *dir;
    struct table_env env;
};

static void fixture_over(struct fixture *x, struct sim_disk *disk)
{
    *x = (struct fixture){.disk = disk};
    sim_machine_init(&x->machine, x->disk, 1);
    struct os_machine *m = &x->machine.base;
    assert_int_equal(m->open_dir(m, "db", true, &x->dir), STRATA_OK);
    x->env.dir = x->dir;
}

static void fixture_close(struct fixture *x)
{
    os_dir_close(x->dir);
    sim_machine_release(&x->machine);
    sim_disk_free(x->disk);
    assert_int_equal(fake.open, 0);
}

// A file with so many bytes, synced.
static void some_file(struct fixture *x, enum file_kind kind, uint64_t file, size_t count)
{
    char name[FILE_NAME_BYTES];
    file_name_make(name, kind, file);
    struct os_file *f;
    uint8_t bytes[4000] = {0};
    assert_true(count <= sizeof bytes);
    assert_int_equal(os_file_open(x->dir, name, OS_OPEN_WRITE | OS_OPEN_CREATE, &f), STRATA_OK);
    assert_int_equal(os_file_write(f, 0, bytes, count), STRATA_OK);
    assert_int_equal(os_file_sync(f, false), STRATA_OK);
    assert_int_equal(os_file_close(f), STRATA_OK);
    assert_int_equal(os_dir_sync(x->dir), STRATA_OK);
}

// A file of the size that fake_meta gives the table.
static void table_file(struct fixture *x, uint64_t file)
{
    some_file(x, FILE_TABLE, file, 100 + file);
}

static void add(struct edit *e, bool history, uint32_t level, uint64_t run, uint64_t file,
                const char *lower, const char *upper)
{
    struct table_meta meta = fake_meta(file, lower, upper);
    meta.history = history;
    meta.keyspace = 1;
    assert_int_equal(edit_add_table(e, 1, history, level, run, &meta, NULL), STRATA_OK);
}

static void create_default(struct edit *e)
{
    strata_keyspace_options options;
    assert_int_equal(keyspace_options_resolve(NULL, &options), STRATA_OK);
    assert_int_equal(edit_create_space(e, 1, "default", &options, 0), STRATA_OK);
}

// Edit number n of a sequence: n = 0 creates the keyspace, each later one adds table n and takes
// the one before out.
static void sequence_edit(struct edit *e, uint64_t n)
{
    *e = (struct edit){0};
    if (n == 0) {
        create_default(e);
        return;
    }
    add(e, n % 2 == 0, 0, n, n, "a", "m");
    if (n > 1) {
        assert_int_equal(edit_remove_table(e, 1, (n - 1) % 2 == 0, n - 1), STRATA_OK);
    }
    e->flushed_commit = n * 10;
    e->next_file = n + 5;
    struct commit_second second = {n * 10, (int64_t)n * 1000000, (int64_t)n * 1000000 + 77};
    assert_int_equal(edit_add_second(e, &second), STRATA_OK);
}

static void apply(struct fixture *x, struct catalog **c, const struct edit *e)
{
    struct catalog *next;
    assert_int_equal(catalog_apply(*c, e, &x->env, &next), STRATA_OK);
    catalog_unref(*c);
    *c = next;
}

// The catalog after `edits` edits of the sequence.
static struct catalog *sequence_catalog(struct fixture *x, uint64_t edits)
{
    struct catalog *c;
    assert_int_equal(catalog_new(&c), STRATA_OK);
    for (uint64_t n = 0; n < edits; n++) {
        struct edit e;
        sequence_edit(&e, n);
        apply(x, &c, &e);
        edit_release(&e);
    }
    return c;
}

// A manifest 5 with a snapshot of an empty catalog and `edits` edits of the sequence behind it.
static void sequence_manifest(struct fixture *x, uint64_t edits)
{
    struct catalog *c = sequence_catalog(x, 0);
    struct manifest *m;
    assert_int_equal(manifest_new(x->dir, 5, c, &m), STRATA_OK);
    catalog_unref(c);
    for (uint64_t n = 0; n < edits; n++) {
        struct edit e;
        sequence_edit(&e, n);
        if (n > 0) {
            table_file(x, n);
        }
        assert_int_equal(manifest_append(m, &e), STRATA_OK);
        edit_release(&e);
    }
    assert_int_equal(manifest_bytes(m), (edits + 2) * PAGE);
    assert_int_equal(manifest_number(m), 5);
    assert_int_equal(manifest_close(m), STRATA_OK);
}

// The bytes that the file keeps of a table: all of its meta.
static void expect_same_meta(const struct table_meta *m, const struct table_meta *n)
{
    struct edit one = {0}, other = {0};
    struct buffer a = {0}, b = {0};
    assert_int_equal(edit_add_table(&one, 1, m->history, 0, 1, m, NULL), STRATA_OK);
    assert_int_equal(edit_add_table(&other, 1, n->history, 0, 1, n, NULL), STRATA_OK);
    assert_int_equal(edit_encode(&one, &a), STRATA_OK);
    assert_int_equal(edit_encode(&other, &b), STRATA_OK);
    assert_true(slice_equal(buffer_slice(&a), buffer_slice(&b)));
    buffer_release(&a);
    buffer_release(&b);
    edit_release(&one);
    edit_release(&other);
}

static void expect_same_options(const strata_keyspace_options *o, const strata_keyspace_options *p)
{
    assert_int_equal(o->struct_bytes, p->struct_bytes);
    assert_int_equal(o->shape, p->shape);
    assert_int_equal(o->compression, p->compression);
    assert_int_equal(o->filter_bits, p->filter_bits);
    assert_int_equal(o->filter_off, p->filter_off);
    assert_int_equal(o->block_bytes, p->block_bytes);
    assert_int_equal(o->history_block_bytes, p->history_block_bytes);
    assert_int_equal(o->level0_runs_max, p->level0_runs_max);
    assert_int_equal(o->size_ratio, p->size_ratio);
    assert_int_equal(o->separation, p->separation);
    assert_int_equal(o->separate_bytes, p->separate_bytes);
    assert_int_equal(o->retention, p->retention);
}

static void expect_same_tree(const struct tree *a, const struct tree *b)
{
    assert_int_equal(a->run_count, b->run_count);
    assert_int_equal(a->bytes, b->bytes);
    for (uint32_t level = 0; level < TREE_LEVELS_MAX; level++) {
        assert_int_equal(a->levels[level].count, b->levels[level].count);
        for (uint32_t i = 0; i < a->levels[level].count; i++) {
            const struct run *r = a->levels[level].runs[i], *s = b->levels[level].runs[i];
            assert_int_equal(r->number, s->number);
            assert_int_equal(r->count, s->count);
            for (uint32_t k = 0; k < r->count; k++) {
                expect_same_meta(table_meta(r->tables[k]), table_meta(s->tables[k]));
            }
        }
    }
}

static void expect_same_values(const struct catalog *a, const struct catalog *b)
{
    assert_int_equal(a->value_file_count, b->value_file_count);
    for (uint32_t i = 0; i < a->value_file_count; i++) {
        const struct value_meta *m = value_file_meta(a->value_files[i]);
        const struct value_meta *n = value_file_meta(b->value_files[i]);
        assert_true(m->file == n->file && m->bytes == n->bytes && m->keyspace == n->keyspace);
        assert_int_equal(m->logical_count, n->logical_count);
        assert_memory_equal(m->logicals, n->logicals, m->logical_count * sizeof *m->logicals);
    }
    assert_int_equal(a->value_count, b->value_count);
    for (uint32_t i = 0; i < a->value_count; i++) {
        const struct catalog_value *v = &a->values[i], *w = &b->values[i];
        assert_true(v->file == w->file && v->stored_bytes == w->stored_bytes);
        assert_true(v->live_uses == w->live_uses && v->history_uses == w->history_uses);
        assert_true(v->live_bytes == w->live_bytes && v->history_bytes == w->history_bytes);
    }
}

static void expect_same(const struct catalog *a, const struct catalog *b)
{
    expect_same_values(a, b);
    assert_int_equal(a->edits, b->edits);
    assert_int_equal(a->incarnation, b->incarnation);
    assert_int_equal(a->next_file, b->next_file);
    assert_int_equal(a->next_run, b->next_run);
    assert_int_equal(a->next_keyspace, b->next_keyspace);
    assert_int_equal(a->flushed_commit, b->flushed_commit);
    assert_int_equal(a->log_first_segment, b->log_first_segment);
    assert_int_equal(a->second_count, b->second_count);
    if (a->second_count > 0) {
        assert_memory_equal(a->seconds, b->seconds, a->second_count * sizeof *a->seconds);
    }
    assert_int_equal(a->space_count, b->space_count);
    for (uint32_t i = 0; i < a->space_count; i++) {
        const struct catalog_space *s = &a->spaces[i], *t = &b->spaces[i];
        assert_int_equal(s->number, t->number);
        assert_string_equal(s->name, t->name);
        expect_same_options(&s->options, &t->options);
        assert_int_equal(s->created_commit, t->created_commit);
        assert_int_equal(s->floor, t->floor);
        expect_same_tree(s->live, t->live);
        expect_same_tree(s->history, t->history);
    }
}

static void expect_loads_as(struct fixture *x, uint64_t edits)
{
    struct catalog *loaded, *expected = sequence_catalog(x, edits);
    uint64_t number = 0;
    assert_int_equal(manifest_load(&x->env, &loaded, &number), STRATA_OK);
    assert_int_equal(number, 5);
    expect_same(loaded, expected);
    catalog_unref(loaded);
    catalog_unref(expected);
}

static strata_rc load_rc(struct fixture *x)
{
    struct catalog *loaded;
    uint64_t number;
    strata_rc rc = manifest_load(&x->env, &loaded, &number);
    assert_true((rc == STRATA_OK) == (loaded != NULL));
    catalog_unref(loaded);
    return rc;
}

static void overwrite(struct fixture *x, const char *name, uint64_t offset, const void *bytes,
                      size_t count)
{
    struct os_file *f;
    assert_int_equal(os_file_open(x->dir, name, OS_OPEN_WRITE, &f), STRATA_OK);
    assert_int_equal(os_file_write(f, offset, bytes, count), STRATA_OK);
    assert_int_equal(os_file_close(f), STRATA_OK);
}

static void flip(struct fixture *x, uint64_t offset)
{
    struct os_file *f;
    uint8_t byte;
    assert_int_equal(os_file_open(x->dir, "000005.manifest", OS_OPEN_WRITE, &f), STRATA_OK);
    assert_int_equal(os_file_read(f, offset, &byte, 1), STRATA_OK);
    byte ^= 0x10;
    assert_int_equal(os_file_write(f, offset, &byte, 1), STRATA_OK);
    assert_int_equal(os_file_close(f), STRATA_OK);
}

static void truncate_manifest(struct fixture *x, uint64_t bytes)
{
    struct os_file *f;
    assert_int_equal(os_file_open(x->dir, "000005.manifest", OS_OPEN_WRITE, &f), STRATA_OK);
    assert_int_equal(os_file_truncate(f, bytes), STRATA_OK);
    assert_int_equal(os_file_close(f), STRATA_OK);
}

static void edits_come_back(void **state)
{
    (void)state;
    struct fixture x;
    fixture_over(&x, sim_disk_new());
    sequence_manifest(&x, 6);
    expect_loads_as(&x, 6);
    fixture_close(&x);
}

static void no_current_is_not_found(void **state)
{
    (void)state;
    struct fixture x;
    fixture_over(&x, sim_disk_new());
    assert_int_equal(load_rc(&x), STRATA_NOT_FOUND);
    fixture_close(&x);
}

static void current_that_is_no_number_is_corrupt(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "\n",
        "5",
        "05\n",
        "5 \n",
        "5\n\n",
        "x\n",
        "-5\n",
        "18446744073709551616\n",
        "000000000000000000000000005\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct fixture x;
        fixture_over(&x, sim_disk_new());
        struct os_file *f;
        assert_int_equal(os_file_open(x.dir, "CURRENT", OS_OPEN_WRITE | OS_OPEN_CREATE, &f),
                         STRATA_OK);
        if (texts[i][0] != '\0') {
            assert_int_equal(os_file_write(f, 0, texts[i], strlen(texts[i])), STRATA_OK);
        }
        assert_int_equal(os_file_close(f), STRATA_OK);
        assert_int_equal(load_rc(&x), STRATA_CORRUPT);
        fixture_close(&x);
    }
}

static void a_missing_manifest_is_corrupt(void **state)
{
    (void)state;
    struct fixture x;
    fixture_over(&x, sim_disk_new());
    sequence_manifest(&x, 1);
    assert_int_equal(os_dir_unlink(x.dir, "000005.manifest"), STRATA_OK);
    assert_int_equal(load_rc(&x), STRATA_CORRUPT);
    fixture_close(&x);
}

static void another_version_is_refused(void **state)
{
    (void)state;
    struct fixture x;
    fixture_over(&x, sim_disk_new());
    sequence_manifest(&x, 2);
    uint8_t header[MANIFEST_HEADER_BYTES];
    manifest_header_encode(header, 5, 0);
    store_u32(header + 8, 1);
    overwrite(&x, "000005.manifest", 0, header, sizeof header);
    assert_int_equal(load_rc(&x), STRATA_CORRUPT); // the checksum does not hold: damage
    store_u64(header + 56, checksum64(checksum_seed(5, 0), header, 56));
    overwrite(&x, "000005.manifest", 0, header, sizeof header);
    assert_int_equal(load_rc(&x), STRATA_VERSION);
    fixture_close(&x);
}

static void a_manifest_under_another_name_is_corrupt(void **state)
{
    (void)state;
    struct fixture x;
    fixture_over(&x, sim_disk_new());
    sequence_manifest(&x, 1);
    assert_int_equal(os_dir_rename(x.dir, "000005.manifest", "000006.manifest"), STRATA_OK);
    overwrite(&x, "CURRENT", 0, "6\n", 2);
    assert_int_equal(load_rc(&x), STRATA_CORRUPT);
    fixture_close(&x);
}

static void a_damaged_header_is_corrupt(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < MANIFEST_HEADER_BYTES; at++) {
        struct fixture x;
        fixture_over(&x, sim_disk_new());
        sequence_manifest(&x, 1);
        flip(&x, at);
        assert_int_equal(load_rc(&x), STRATA_CORRUPT);
        fixture_close(&x);
    }
}

static void a_damaged_record_before_the_last_is_corrupt(void **state)
{
    (void)state;
    // Every byte of the record heads and the first of the payloads, in snapshot and edits.
    for (uint64_t record = 1; record <= 4; record++) {
        for (uint64_t byte = 0; byte < MANIFEST_RECORD_BYTES + 4; byte++) {
            struct fixture x;
            fixture_over(&x, sim_disk_new());
            sequence_manifest(&x, 4);
            flip(&x, record * PAGE + byte);
            assert_int_equal(load_rc(&x), STRATA_CORRUPT);
            fixture_close(&x);
        }
    }
}

static void a_damaged_last_record_is_left_out(void **state)
{
    (void)state;
    for (uint64_t byte = 0; byte < MANIFEST_RECORD_BYTES + 4; byte++) {
        struct fixture x;
        fixture_over(&x, sim_disk_new());
        sequence_manifest(&x, 4);
        flip(&x, 5 * PAGE + byte);
        expect_loads_as(&x, 3);
        fixture_close(&x);
    }
}

static void a_dropped_middle_is_corrupt(void **state)
{
    (void)state;
    struct fixture x;
    fixture_over(&x, sim_disk_new());
    sequence_manifest(&x, 4);
    uint8_t zeros[PAGE] = {0};
    overwrite(&x, "000005.manifest", 3 * PAGE, zeros, sizeof zeros);
    assert_int_equal(load_rc(&x), STRATA_CORRUPT);
    fixture_close(&x);
}

static void a_record_in_a_wrong_place_is_not_read(void **state)
{
    (void)state;
    struct fixture x;
    fixture_over(&x, sim_disk_new());
    sequence_manifest(&x, 4);
    struct os_file *f;
    uint8_t page[PAGE];
    assert_int_equal(os_file_open(x.dir, "000005.manifest", OS_OPEN_WRITE, &f), STRATA_OK);
    assert_int_equal(os_file_read(f, 4 * PAGE, page, sizeof page), STRATA_OK);
    assert_int_equal(os_file_write(f, 5 * PAGE, page, sizeof page), STRATA_OK);
    assert_int_equal(os_file_close(f), STRATA_OK);
    expect_loads_as(&x, 3);
    fixture_close(&x);
}

static void a_file_cut_anywhere_loads_what_is_whole(void **state)
{
    (void)state;
    static const uint64_t cuts[] = {0, 1, 23, 24, 25, 40, 4095};
    for (uint64_t edits = 0; edits < 3; edits++) {
        for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
            struct fixture x;
            fixture_over(&x, sim_disk_new());
            sequence_manifest(&x, 3);
            truncate_manifest(&x, (edits + 2) * PAGE + cuts[i]);
            // 4095 bytes of the last page hold the whole record and all but one byte of padding.
            expect_loads_as(&x, cuts[i] == 4095 ? edits + 1 : edits);
            fixture_close(&x);
        }
    }
}

static void an_incomplete_snapshot_is_corrupt(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 10, 63, 64, PAGE, PAGE + 24};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct fixture x;
        fixture_over(&x, sim_disk_new());
        sequence_manifest(&x, 0);
        truncate_manifest(&x, sizes[i]);
        assert_int_equal(load_rc(&x), STRATA_CORRUPT);
        fixture_close(&x);
    }
}

static void hostile_lengths_are_bounded(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {0, 0x7fffffff, 0xffffffff, PAGE, 2 * PAGE};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct fixture x;
        fixture_over(&x, sim_disk_new());
        sequence_manifest(&x, 2);
        uint8_t raw[4];
        store_u32(raw, lengths[i]);
        overwrite(&x, "000005.manifest", 3 * PAGE, raw, sizeof raw);
        expect_loads_as(&x, 1);
        fixture_close(&x);
    }
}

static void a_table_that_is_missing_or_of_another_size_is_corrupt(void **state)
{
    (void)state;
    struct fixture x;
    fixture_over(&x, sim_disk_new());
    sequence_manifest(&x, 4);
    overwrite(&x, "000003.table", 103, "x", 1);
    assert_int_equal(load_rc(&x), STRATA_CORRUPT);
    assert_non_null(strstr(fail_text(), "000003.table"));
    assert_int_equal(os_dir_unlink(x.dir, "000003.table"), STRATA_OK);
    assert_int_equal(load_rc(&x), STRATA_CORRUPT);
    assert_non_null(strstr(fail_text(), "000003.table"));
    fixture_close(&x);
}

static void a_table_that_does_not_open_fails_the_load(void **state)
{
    (void)state;
    struct fixture x;
    fixture_over(&x, sim_disk_new());
    sequence_manifest(&x, 4);
    fake.fail_file = 3;
    assert_int_equal(load_rc(&x), STRATA_CORRUPT);
    fake.fail_file = 0;
    expect_loads_as(&x, 4);
    fixture_close(&x);
}

static void a_snapshot_carries_everything_on(void **state)
{
    (void)state;
    struct fixture x;
    fixture_over(&x, sim_disk_new());
    sequence_manifest(&x, 4);
    struct catalog *before, *after;
    uint64_t number;
    assert_int_equal(manifest_load(&x.env, &before, &number), STRATA_OK);
    struct edit e = {.incarnation = 9, .log_first_segment = 33, .next_run = 50, .next_file = 70};
    apply(&x, &before, &e);
    struct manifest *m;
    assert_int_equal(manifest_new(x.dir, 60, before, &m), STRATA_OK);
    assert_int_equal(manifest_load(&x.env, &after, &number), STRATA_OK);
    assert_int_equal(number, 60);
    assert_int_equal(after->edits, 5);
    expect_same(before, after);
    catalog_unref(after);
    struct edit next = {.flushed_commit = 900};
    assert_int_equal(manifest_append(m, &next), STRATA_OK);
    assert_int_equal(manifest_close(m), STRATA_OK);
    assert_int_equal(manifest_load(&x.env, &after, &number), STRATA_OK);
    assert_int_equal(after->edits, 6);
    assert_int_equal(after->flushed_commit, 900);
    catalog_unref(after);
    catalog_unref(before);
    fixture_close(&x);
}

// Adds a value file of keyspace 1, and puts a file of its size there.
static void add_value_file(struct fixture *x, struct edit *e, uint64_t file, uint64_t first,
                           uint64_t second)
{
    struct value_logical logicals[2];
    struct value_meta meta = fake_value_meta(file, 1, logicals, first, second);
    some_file(x, FILE_VALUE, file, meta.bytes);
    assert_int_equal(edit_add_value_file(e, &meta, NULL), STRATA_OK);
}

// A catalog with value files, of which the tables refer to the first, a floor and changed options,
// and manifest 7 that holds it as edits.
static struct catalog *values_manifest(struct fixture *x, struct manifest **manifest_out)
{
    struct catalog *c;
    struct edit edits[3] = {{0}};
    assert_int_equal(catalog_new(&c), STRATA_OK);
    assert_int_equal(manifest_new(x->dir, 7, c, manifest_out), STRATA_OK);
    create_default(&edits[0]);
    struct table_value_use uses[2] = {{10, 3, 300}, {11, 1, 20}};
    struct table_meta meta = fake_meta(20, "a", "m");
    meta.keyspace = 1;
    meta.expiring = 2;
    meta.uses = uses;
    meta.use_count = 2;
    meta.value_bytes = 320;
    table_file(x, 20);
    add_value_file(x, &edits[1], 10, 10, 0);
    add_value_file(x, &edits[1], 11, 11, 0);
    assert_int_equal(edit_add_table(&edits[1], 1, false, 0, 5, &meta, NULL), STRATA_OK);
    assert_int_equal(edit_remove_value_file(&edits[2], 1, 10), STRATA_OK);
    assert_int_equal(edit_remove_value_file(&edits[2], 1, 11), STRATA_OK);
    add_value_file(x, &edits[2], 30, 10, 11);
    assert_int_equal(edit_set_floor(&edits[2], 1, 44), STRATA_OK);
    strata_keyspace_options options = edits[0].spaces[0].options;
    options.retention = STRATA_RETENTION_AGE;
    assert_int_equal(edit_alter_space(&edits[2], 1, &options), STRATA_OK);
    for (int i = 0; i < 3; i++) {
        apply(x, &c, &edits[i]);
        assert_int_equal(manifest_append(*manifest_out, &edits[i]), STRATA_OK);
        edit_release(&edits[i]);
    }
    assert_int_equal(catalog_value_find(c, 10)->live_bytes, 300);
    assert_int_equal(value_file_meta(catalog_value_find(c, 11)->in)->file, 30);
    return c;
}

static void value_files_floors_and_options_come_back(void **state)
{
    (void)state;
    struct fixture x;
    fixture_over(&x, sim_disk_new());
    struct manifest *m;
    uint64_t number;
    struct catalog *loaded, *c = values_manifest(&x, &m);
    assert_int_equal(manifest_close(m), STRATA_OK);
    for (uint64_t step = 0; step < 2; step++) { // as edits, then as a snapshot
        assert_int_equal(manifest_load(&x.env, &loaded, &number), STRATA_OK);
        assert_int_equal(number, 7 + step);
        expect_same(loaded, c);
        assert_int_equal(catalog_space_find(loaded, 1)->floor, 44);
        catalog_unref(loaded);
        assert_int_equal(manifest_new(x.dir, 8 + step, c, &m), STRATA_OK);
        assert_int_equal(manifest_close(m), STRATA_OK);
    }
    catalog_unref(c);
    assert_int_equal(fake_values.open, 0);
    fixture_close(&x);
}

static void a_value_file_that_is_missing_or_of_another_size_is_corrupt(void **state)
{
    (void)state;
    struct fixture x;
    fixture_over(&x, sim_disk_new());
    struct manifest *m;
    struct catalog *c = values_manifest(&x, &m);
    assert_int_equal(manifest_close(m), STRATA_OK);
    catalog_unref(c);
    fake_values.fail_file = 30;
    assert_int_equal(load_rc(&x), STRATA_CORRUPT);
    fake_values.fail_file = 0;
    assert_int_equal(load_rc(&x), STRATA_OK);
    overwrite(&x, "000030.value", 2030, "x", 1);
    assert_int_equal(load_rc(&x), STRATA_CORRUPT);
    assert_non_null(strstr(fail_text(), "000030.value"));
    assert_int_equal(os_dir_unlink(x.dir, "000030.value"), STRATA_OK);
    assert_int_equal(load_rc(&x), STRATA_CORRUPT);
    assert_non_null(strstr(fail_text(), "000030.value"));
    assert_int_equal(fake_values.open, 0);
    fixture_close(&x);
}

static strata_rc count_edit(void *ctx, const struct edit *e)
{
    (void)e;
    (*(size_t *)ctx)++;
    return STRATA_OK;
}

static void a_large_snapshot_has_several_parts(void **state)
{
    (void)state;
    struct fixture x;
    fixture_over(&x, sim_disk_new());
    struct catalog *c;
    assert_int_equal(catalog_new(&c), STRATA_OK);
    struct edit e = {0};
    create_default(&e);
    for (uint64_t i = 0; i < 5000; i++) {
        char lower[16], upper[16];
        snprintf(lower, sizeof lower, "k%08u", (unsigned)i);
        snprintf(upper, sizeof upper, "k%08u", (unsigned)i + 1);
        struct table_meta meta = fake_meta(i + 1, lower, upper);
        assert_int_equal(edit_add_table(&e, 1, false, 1, 3, &meta, NULL), STRATA_OK);
    }
    apply(&x, &c, &e);
    edit_release(&e);
    struct manifest *m;
    assert_int_equal(manifest_new(x.dir, 7, c, &m), STRATA_OK);
    assert_int_equal(manifest_close(m), STRATA_OK);
    size_t parts = 0;
    struct manifest_facts facts;
    assert_int_equal(manifest_read(x.dir, 7, count_edit, &parts, &facts), STRATA_OK);
    assert_int_equal(parts, 3);
    assert_int_equal(facts.records, 3);
    assert_int_equal(facts.torn_bytes, 0);
    // Without its last part it is no snapshot.
    struct os_file *f;
    assert_int_equal(os_file_open(x.dir, "000007.manifest", OS_OPEN_WRITE, &f), STRATA_OK);
    assert_int_equal(os_file_truncate(f, facts.bytes - 2 * PAGE), STRATA_OK);
    assert_int_equal(os_file_close(f), STRATA_OK);
    parts = 0;
    assert_int_equal(manifest_read(x.dir, 7, count_edit, &parts, &facts), STRATA_CORRUPT);
    assert_int_equal(parts, 2);
    catalog_unref(c);
    fixture_close(&x);
}

static void nothing_follows_a_failed_append(void **state)
{
    (void)state;
    static const struct sim_fault faults[] = {
        {.ops = SIM_OP_BIT(SIM_OP_WRITE), .glob = "*.manifest", .index = 0, .error = EIO},
        {.ops = SIM_OP_BIT(SIM_OP_SYNC), .glob = "*.manifest", .index = 0, .error = ENOSPC},
        {.ops = SIM_OP_BIT(SIM_OP_SYNC), .glob = "*.manifest", .index = 0, .error = EIO},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct fixture x;
        fixture_over(&x, sim_disk_new());
        struct catalog *c = sequence_catalog(&x, 0);
        struct manifest *m;
        assert_int_equal(manifest_new(x.dir, 5, c, &m), STRATA_OK);
        catalog_unref(c);
        struct edit e;
        sequence_edit(&e, 0);
        sim_machine_fail(&x.machine, faults[i]);
        assert_int_equal(manifest_append(m, &e), STRATA_IO);
        sim_machine_heal(&x.machine);
        uint64_t calls = x.machine.calls;
        assert_int_equal(manifest_append(m, &e), STRATA_READ_ONLY);
        assert_int_equal(x.machine.calls, calls);
        edit_release(&e);
        (void)manifest_close(m);
        fixture_close(&x);
    }
}

static void an_append_that_met_a_full_disk_can_be_done_again(void **state)
{
    (void)state;
    struct fixture x;
    fixture_over(&x, sim_disk_new());
    struct catalog *c = sequence_catalog(&x, 0);
    struct manifest *m;
    assert_int_equal(manifest_new(x.dir, 5, c, &m), STRATA_OK);
    catalog_unref(c);
    struct edit e;
    sequence_edit(&e, 0);
    uint64_t bytes = manifest_bytes(m);
    sim_machine_fail(&x.machine, (struct sim_fault){.ops = SIM_OP_BIT(SIM_OP_WRITE),
                                                    .glob = "*.manifest",
                                                    .sticky = true,
                                                    .error = ENOSPC});
    assert_int_equal(manifest_append(m, &e), STRATA_NO_SPACE);
    assert_int_equal(manifest_append(m, &e), STRATA_NO_SPACE);
    assert_int_equal(manifest_bytes(m), bytes);
    sim_machine_heal(&x.machine);
    assert_int_equal(manifest_append(m, &e), STRATA_OK);
    edit_release(&e);
    assert_int_equal(manifest_close(m), STRATA_OK);
    expect_loads_as(&x, 1);
    fixture_close(&x);
}

static void a_leftover_is_replaced_but_never_the_current_one(void **state)
{
    (void)state;
    struct fixture x;
    fixture_over(&x, sim_disk_new());
    sequence_manifest(&x, 2);
    struct catalog *c = sequence_catalog(&x, 2);
    struct manifest *m;
    assert_int_equal(manifest_new(x.dir, 5, c, &m), STRATA_INTERNAL);
    expect_loads_as(&x, 2);
    struct os_file *f;
    assert_int_equal(os_file_open(x.dir, "000006.manifest", OS_OPEN_WRITE | OS_OPEN_CREATE, &f),
                     STRATA_OK);
    assert_int_equal(os_file_close(f), STRATA_OK);
    assert_int_equal(manifest_new(x.dir, 6, c, &m), STRATA_OK);
    assert_int_equal(manifest_close(m), STRATA_OK);
    assert_int_equal(load_rc(&x), STRATA_OK);
    catalog_unref(c);
    fixture_close(&x);
}

// ---- crashes

struct crash_point {
    uint64_t left; // boundaries until the crash
    enum sim_survive policy;
    uint64_t seed;
    struct sim_disk *survivor;
};

static void crash_at(void *ctx, struct sim_machine *m, const struct sim_event *e)
{
    struct crash_point *p = ctx;
    (void)e;
    if (p->survivor == NULL && p->left-- == 0) {
        p->survivor = sim_disk_survive(m->disk, p->policy, p->seed);
    }
}

// Loads the survivor: it must be one of the two catalogs.
static void expect_either(struct sim_disk *survivor, const struct catalog *a,
                          const struct catalog *b)
{
    struct fixture y;
    struct catalog *loaded;
    uint64_t number;
    fixture_over(&y, survivor);
    assert_int_equal(manifest_load(&y.env, &loaded, &number), STRATA_OK);
    expect_same(loaded, loaded->edits == a->edits ? a : b);
    catalog_unref(loaded);
    os_dir_close(y.dir);
    sim_machine_release(&y.machine);
    sim_disk_free(survivor);
}

static void a_crash_in_an_append_leaves_before_or_after(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct fixture x;
        fixture_over(&x, sim_disk_new());
        sequence_manifest(&x, 0);
        struct catalog *c = sequence_catalog(&x, 0);
        struct manifest *m;
        assert_int_equal(manifest_new(x.dir, 8, c, &m), STRATA_OK);
        catalog_unref(c);
        struct prng random = {seed};
        uint64_t before = prng_below(&random, 4);
        struct crash_point p = {.policy = (enum sim_survive)(seed % SIM_SURVIVE_POLICIES),
                                .seed = seed,
                                .left = prng_below(&random, 3)};
        for (uint64_t n = 0; n <= before; n++) {
            struct edit e;
            sequence_edit(&e, n);
            if (n > 0) {
                table_file(&x, n);
            }
            if (n == before) {
                x.machine.boundary = crash_at;
                x.machine.boundary_ctx = &p;
            }
            assert_int_equal(manifest_append(m, &e), STRATA_OK);
            edit_release(&e);
        }
        x.machine.boundary = NULL;
        bool acked = p.survivor == NULL;
        if (acked) {
            p.survivor = sim_disk_survive(x.disk, p.policy, seed);
        }
        struct catalog *old = sequence_catalog(&x, before);
        struct catalog *new = sequence_catalog(&x, before + 1);
        expect_either(p.survivor, acked ? new : old, new);
        catalog_unref(old);
        catalog_unref(new);
        assert_int_equal(manifest_close(m), STRATA_OK);
        fixture_close(&x);
    }
}

static void a_crash_in_a_new_manifest_leaves_before_or_after(void **state)
{
    (void)state;
    uint64_t crashes = 0;
    for (uint64_t seed = 0; seed < 600; seed++) {
        struct fixture x;
        fixture_over(&x, sim_disk_new());
        sequence_manifest(&x, 3);
        struct catalog *old = sequence_catalog(&x, 3);
        struct catalog *new = sequence_catalog(&x, 3);
        struct edit e = {.incarnation = 77};
        apply(&x, &new, &e);
        struct crash_point p = {.policy = (enum sim_survive)(seed % SIM_SURVIVE_POLICIES),
                                .seed = seed,
                                .left = seed / SIM_SURVIVE_POLICIES % 12};
        x.machine.boundary = crash_at;
        x.machine.boundary_ctx = &p;
        struct manifest *m;
        assert_int_equal(manifest_new(x.dir, 9, new, &m), STRATA_OK);
        x.machine.boundary = NULL;
        bool acked = p.survivor == NULL;
        crashes += !acked;
        if (acked) {
            p.survivor = sim_disk_survive(x.disk, p.policy, seed);
        }
        expect_either(p.survivor, acked ? new : old, new);
        catalog_unref(old);
        catalog_unref(new);
        assert_int_equal(manifest_close(m), STRATA_OK);
        fixture_close(&x);
    }
    assert_in_range(crashes, 300, 600);
}

static void every_failed_call_of_a_new_manifest_keeps_the_old_one(void **state)
{
    (void)state;
    uint64_t fired = 1;
    for (uint64_t index = 0; fired > 0; index++) {
        struct fixture x;
        fixture_over(&x, sim_disk_new());
        sequence_manifest(&x, 3);
        struct catalog *old = sequence_catalog(&x, 3);
        struct manifest *m;
        sim_machine_fail(&x.machine,
                         (struct sim_fault){.ops = SIM_OP_ANY & ~SIM_OP_BIT(SIM_OP_CLOSE),
                                            .index = index,
                                            .sticky = true,
                                            .error = EIO});
        strata_rc rc = manifest_new(x.dir, 9, old, &m);
        fired = sim_machine_faults_fired(&x.machine);
        sim_machine_heal(&x.machine);
        assert_int_equal(rc == STRATA_OK, fired == 0);
        assert_int_equal(m == NULL, fired > 0);
        struct catalog *loaded;
        uint64_t number;
        assert_int_equal(manifest_load(&x.env, &loaded, &number), STRATA_OK);
        expect_same(loaded, old);
        catalog_unref(loaded);
        catalog_unref(old);
        assert_int_equal(manifest_close(m), STRATA_OK);
        fixture_close(&x);
    }
}

static void every_failed_allocation_of_an_apply_is_no_memory(void **state)
{
    (void)state;
    struct fixture x;
    fixture_over(&x, sim_disk_new());
    struct catalog *c = sequence_catalog(&x, 4);
    struct edit e;
    sequence_edit(&e, 4);
    strata_keyspace_options options;
    assert_int_equal(keyspace_options_resolve(NULL, &options), STRATA_OK);
    assert_int_equal(edit_create_space(&e, 2, "other", &options, 40), STRATA_OK);
    uint64_t open_before = fake.open, failed = 1;
    for (uint64_t n = 0; failed > 0; n++) {
        struct catalog *next;
        alloc_fault_arm(n, 1);
        strata_rc rc = catalog_apply(c, &e, &x.env, &next);
        failed = alloc_fault_disarm();
        assert_int_equal(rc, failed > 0 ? STRATA_NO_MEMORY : STRATA_OK);
        catalog_unref(next);
        assert_int_equal(fake.open, open_before);
    }
    edit_release(&e);
    catalog_unref(c);
    fixture_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edits_come_back),
        cmocka_unit_test(no_current_is_not_found),
        cmocka_unit_test(current_that_is_no_number_is_corrupt),
        cmocka_unit_test(a_missing_manifest_is_corrupt),
        cmocka_unit_test(another_version_is_refused),
        cmocka_unit_test(a_manifest_under_another_name_is_corrupt),
        cmocka_unit_test(a_damaged_header_is_corrupt),
        cmocka_unit_test(a_damaged_record_before_the_last_is_corrupt),
        cmocka_unit_test(a_damaged_last_record_is_left_out),
        cmocka_unit_test(a_dropped_middle_is_corrupt),
        cmocka_unit_test(a_record_in_a_wrong_place_is_not_read),
        cmocka_unit_test(a_file_cut_anywhere_loads_what_is_whole),
        cmocka_unit_test(an_incomplete_snapshot_is_corrupt),
        cmocka_unit_test(hostile_lengths_are_bounded),
        cmocka_unit_test(a_table_that_is_missing_or_of_another_size_is_corrupt),
        cmocka_unit_test(a_table_that_does_not_open_fails_the_load),
        cmocka_unit_test(a_snapshot_carries_everything_on),
        cmocka_unit_test(a_large_snapshot_has_several_parts),
        cmocka_unit_test(value_files_floors_and_options_come_back),
        cmocka_unit_test(a_value_file_that_is_missing_or_of_another_size_is_corrupt),
        cmocka_unit_test(nothing_follows_a_failed_append),
        cmocka_unit_test(an_append_that_met_a_full_disk_can_be_done_again),
        cmocka_unit_test(a_leftover_is_replaced_but_never_the_current_one),
        cmocka_unit_test(a_crash_in_an_append_leaves_before_or_after),
        cmocka_unit_test(a_crash_in_a_new_manifest_leaves_before_or_after),
        cmocka_unit_test(every_failed_call_of_a_new_manifest_keeps_the_old_one),
        cmocka_unit_test(every_failed_allocation_of_an_apply_is_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
