// What tables say of separated values and of expiries: counts, ordinals, and blocks passed over.
#include "unit/table_fixture.h"

#include "base/endian.h"
#include "kv/value_ref.h"
#include "lib/alloc_fault.h"
#include "table/footer.h"
#include "table/section.h"

#define ENTRIES 500
#define FILES 3
#define ORDINALS 2000

// An open table whose entries are separated but for every fifth, and expire but for every second.
// (Blocks of plain entries alone come about, too.)
struct subject {
    struct world w;
    struct table *table;
    struct table_meta meta;
    char keys[ENTRIES][12];
    uint8_t refs[ENTRIES][KV_VALUE_REF_BYTES_MAX];
    struct kv_entry entries[ENTRIES];
    uint8_t expected[FILES][ORDINALS]; // which ordinals are referred to
    uint64_t bytes[FILES];
};

static struct table_writer *open_writer(struct subject *s, uint64_t file)
{
    struct table_options o = world_options();
    o.compression = STRATA_COMPRESSION_LZ4;
    struct table_writer *writer;
    assert_int_equal(table_writer_new(s->w.env.dir, file, &o, &writer), STRATA_OK);
    return writer;
}

static void add(struct table_writer *writer, const struct kv_entry *e)
{
    assert_int_equal(table_writer_add(writer, e, hash_key(kv_key(e))), STRATA_OK);
}

static bool is_separated(size_t i)
{
    return i % 5 != 0 && i >= 100;
}

static void subject_init(struct subject *s)
{
    memset(s, 0, sizeof *s);
    world_init(&s->w, (size_t)16 << 20);
    struct table_writer *writer = open_writer(s, 1);
    for (uint32_t i = 0; i < ENTRIES; i++) {
        snprintf(s->keys[i], sizeof s->keys[i], "k%05u", i);
        struct kv_entry *e = &s->entries[i];
        *e = entry_of(text_slice(s->keys[i]), text_slice("beside the key"), 50 + i);
        if (is_separated(i)) {
            uint32_t file = i % FILES;
            struct kv_value_ref ref = {70 + 1000 * file, (ENTRIES - i) * 3,
                                       i % 50 == 1 ? (2u << 20) + 5 : 3000 + i};
            e->value = s->refs[i];
            e->value_bytes = kv_value_ref_encode(&ref, s->refs[i]);
            e->kind = KV_PUT_SEPARATED;
            memset(s->expected[file] + ref.ordinal, 1, kv_value_chunks(ref.bytes));
            s->bytes[file] += ref.bytes;
        }
        e->expiry = i >= 100 && i % 2 == 0 ? 5000000 : 0;
        add(writer, e);
    }
    assert_int_equal(table_writer_finish(writer, &s->meta), STRATA_OK);
    assert_int_equal(table_open(&s->w.env, &s->meta, &s->table), STRATA_OK);
}

static void subject_release(struct subject *s)
{
    table_unref(s->table);
    table_meta_release(&s->meta);
    world_release(&s->w);
}

static strata_rc see(void *ctx, uint32_t ordinal, uint32_t chunks)
{
    uint8_t *seen = ctx;
    assert_true(ordinal + chunks <= ORDINALS);
    for (uint32_t i = ordinal; i < ordinal + chunks; i++) {
        assert_int_equal(seen[i], 0);
        seen[i] = 1;
    }
    return STRATA_OK;
}

static void count_fault(void *ctx, const char *text)
{
    assert_true(text[0] != '\0');
    (*(int *)ctx)++;
}

// Does the table with this meta say what the entries say?
static void expect_uses(struct subject *s, struct table *t, const struct table_meta *meta)
{
    uint64_t sum = 0;
    assert_int_equal(meta->use_count, FILES);
    for (uint32_t i = 0; i < FILES; i++) {
        uint64_t records = 0;
        uint8_t seen[ORDINALS] = {0};
        for (size_t k = 0; k < ORDINALS; k++) {
            records += s->expected[i][k];
        }
        assert_int_equal(meta->uses[i].file, 70 + 1000 * i);
        assert_int_equal(meta->uses[i].records, records);
        assert_int_equal(meta->uses[i].bytes, s->bytes[i]);
        sum += s->bytes[i];
        assert_int_equal(table_value_ordinals(t, 70 + 1000 * i, see, seen), STRATA_OK);
        assert_memory_equal(seen, s->expected[i], ORDINALS);
    }
    assert_int_equal(meta->value_bytes, sum);
    assert_int_equal(meta->expiring, (ENTRIES - 100) / 2);
    uint8_t none[ORDINALS] = {0}, zeros[ORDINALS] = {0};
    assert_int_equal(table_value_ordinals(t, 71, see, none), STRATA_OK);
    assert_memory_equal(none, zeros, ORDINALS);
    int faults = 0;
    uint64_t blocks;
    assert_int_equal(table_verify(t, count_fault, &faults, &blocks), STRATA_OK);
}

static void references_are_counted_and_listed_by_file(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s);
    expect_uses(&s, s.table, &s.meta);
    // A part of the table says what the whole says.
    struct table *part;
    assert_int_equal(table_narrow(s.table, text_slice("k00200"), text_slice("k00300"), &part),
                     STRATA_OK);
    expect_uses(&s, part, table_meta(part));
    table_unref(part);
    subject_release(&s);
}

static void lists_are_read_on_demand_one_by_one(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s);
    uint8_t seen[ORDINALS] = {0};
    uint64_t before = s.w.dir.reads;
    assert_int_equal(table_value_ordinals(s.table, 70, see, seen), STRATA_OK);
    assert_int_equal(s.w.dir.reads, before + 1);
    s.w.dir.reads_until_error = 1;
    assert_int_equal(table_value_ordinals(s.table, 70, see, seen), STRATA_IO);
    subject_release(&s);
}

static void a_lookup_hands_the_reference_out(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s);
    struct slice key = text_slice(s.keys[101]);
    struct kv_lookup lookup = {.key = key, .hash = hash_key(key), .at = UINT64_MAX - 1};
    struct table_stats_delta delta = {0};
    struct cache_block *b;
    uint32_t cold;
    os_epoch_enter();
    assert_int_equal(table_get(s.table, &lookup, &cold, &delta), TABLE_COLD);
    os_epoch_leave();
    assert_int_equal(table_load(s.table, cold, true, &b), STRATA_OK);
    assert_int_equal(table_get_in(s.table, b, &lookup), TABLE_FOUND);
    assert_int_equal(lookup.entry.kind, KV_PUT_SEPARATED);
    assert_true(slice_equal(kv_value(&lookup.entry), kv_value(&s.entries[101])));
    cache_unpin(s.w.cache, b);
    subject_release(&s);
}

// All blocks as they are: references and expiries go with them.
static void blocks_that_are_passed_over_bring_their_references(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s);
    struct table_writer *writer = open_writer(&s, 2);
    struct kv_cursor *c;
    assert_int_equal(run_cursor_open(s.w.cache, &s.table, 1, false, 4096, &c), STRATA_OK);
    strata_rc rc = kv_cursor_seek(c, slice_of(NULL, 0), false);
    uint32_t at = 0, plain = 0;
    while (rc == STRATA_OK) {
        struct run_block b;
        struct table_raw_block raw;
        assert_true(c->at == c->block_first);
        assert_int_equal(run_cursor_block(c, &b), STRATA_OK);
        assert_int_equal(run_cursor_raw_block(c, &raw), STRATA_OK);
        bool expiring = false;
        for (uint32_t i = at; i < at + b.entries; i++) {
            expiring = expiring || s.entries[i].expiry != 0;
        }
        assert_true(b.puts_only);
        assert_int_equal(b.expiring, expiring);
        plain += !expiring;
        assert_int_equal(table_writer_add_block(writer, &raw), STRATA_OK);
        at += b.entries;
        run_cursor_skip_block(c);
        rc = kv_cursor_next(c);
    }
    assert_int_equal(rc, STRATA_END);
    assert_true(plain > 0);
    kv_cursor_close(c);
    struct table_meta meta;
    struct table *t;
    assert_int_equal(table_writer_finish(writer, &meta), STRATA_OK);
    assert_int_equal(table_open(&s.w.env, &meta, &t), STRATA_OK);
    expect_uses(&s, t, &meta);
    table_unref(t);
    table_meta_release(&meta);
    subject_release(&s);
}

static void a_block_with_a_delete_is_not_of_puts_only(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s);
    for (int deletes = 0; deletes < 2; deletes++) {
        struct table_writer *writer = open_writer(&s, 3);
        for (uint32_t i = 101; i < 104; i++) {
            struct kv_entry e = s.entries[i];
            if (deletes == 1 && i == 103) {
                e.kind = KV_DELETE;
                e.value_bytes = 0;
            }
            add(writer, &e);
        }
        struct table_meta meta;
        struct table *t;
        struct kv_cursor *c;
        struct run_block b;
        assert_int_equal(table_writer_finish(writer, &meta), STRATA_OK);
        assert_int_equal(table_open(&s.w.env, &meta, &t), STRATA_OK);
        assert_int_equal(run_cursor_open(s.w.cache, &t, 1, false, 0, &c), STRATA_OK);
        assert_int_equal(kv_cursor_seek(c, slice_of(NULL, 0), false), STRATA_OK);
        assert_int_equal(run_cursor_block(c, &b), STRATA_OK);
        assert_int_equal(b.puts_only, deletes == 0);
        kv_cursor_close(c);
        table_delete_at_close(t);
        table_unref(t);
        table_meta_release(&meta);
    }
    subject_release(&s);
}

static void floors_stand_in_history_only_and_without_a_value(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1 << 20);
    for (int which = 0; which < 3; which++) {
        struct table_options o = world_options();
        o.history = which != 1;
        struct table_writer *writer;
        struct table_meta meta;
        assert_int_equal(table_writer_new(&w.dir.base, 1, &o, &writer), STRATA_OK);
        struct kv_entry e = entry_of(text_slice("key"), slice_of("v", which == 2), 10);
        e.kind = KV_FLOOR;
        e.end = o.history ? 20 : 0;
        assert_int_equal(table_writer_add(writer, &e, 0), which == 0 ? STRATA_OK : STRATA_INTERNAL);
        if (which != 0) {
            table_writer_abandon(writer);
            continue;
        }
        struct table *t;
        struct kv_lookup lookup = {.key = text_slice("key"), .at = 15};
        struct table_stats_delta delta = {0};
        struct cache_block *b;
        uint32_t cold;
        lookup.hash = 0; // as it was added
        assert_int_equal(table_writer_finish(writer, &meta), STRATA_OK);
        assert_int_equal(table_open(&w.env, &meta, &t), STRATA_OK);
        os_epoch_enter();
        assert_int_equal(table_get_interval(t, &lookup, &cold, &delta), TABLE_COLD);
        os_epoch_leave();
        assert_int_equal(table_load(t, cold, false, &b), STRATA_OK);
        assert_int_equal(table_get_interval_in(t, b, &lookup), TABLE_FOUND);
        assert_int_equal(lookup.entry.kind, KV_FLOOR);
        assert_true(lookup.entry.commit == 10 && lookup.entry.end == 20);
        cache_unpin(w.cache, b);
        table_delete_at_close(t);
        table_unref(t);
        table_meta_release(&meta);
    }
    world_release(&w);
}

static void a_malformed_reference_is_refused(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1 << 20);
    struct table_options o = world_options();
    struct table_writer *writer;
    assert_int_equal(table_writer_new(&w.dir.base, 1, &o, &writer), STRATA_OK);
    struct kv_entry e = entry_of(text_slice("key"), text_slice("\x01\x01"), 10);
    e.kind = KV_PUT_SEPARATED;
    assert_int_equal(table_writer_add(writer, &e, 0), STRATA_CORRUPT);
    table_writer_abandon(writer);
    world_release(&w);
}

static void a_meta_that_says_other_uses_is_not_of_this_table(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s);
    for (int which = 0; which < 6; which++) {
        struct table_meta meta;
        struct table *t;
        assert_int_equal(table_meta_copy(&s.meta, &meta), STRATA_OK);
        meta.expiring += which == 0;
        meta.use_count -= which == 1;
        meta.uses[1].file += which == 2;
        meta.uses[2].records += which == 3;
        meta.uses[0].bytes -= which == 4;
        assert_int_equal(table_open(&s.w.env, &meta, &t), which < 5 ? STRATA_CORRUPT : STRATA_OK);
        if (which == 5) {
            table_unref(t);
        }
        table_meta_release(&meta);
    }
    subject_release(&s);
}

// A list that is sealed right and says what the entries do not.
static void a_list_that_is_not_of_the_entries_is_found_by_verify(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s);
    struct mem_content *file = mem_find(&s.w.dir, "000001.table");
    assert_non_null(file);
    uint64_t offset = load_u64(file->data + file->bytes - FOOTER_BYTES + 72);
    uint8_t *image = file->data + offset;
    uint64_t stored = load_u64(image + 8);
    assert_int_equal(image[28], SECTION_ORDINALS);
    image[SECTION_HEADER_BYTES]--; // the first gap
    int faults = 0;
    uint64_t blocks;
    assert_int_equal(table_verify(s.table, count_fault, &faults, &blocks), STRATA_CORRUPT);
    uint8_t seen[ORDINALS] = {0};
    assert_int_equal(table_value_ordinals(s.table, 70, see, seen), STRATA_CORRUPT);
    section_seal(image, stored, stored, SECTION_ORDINALS, COMPRESS_NONE, checksum_seed(1, offset));
    assert_int_equal(table_value_ordinals(s.table, 70, see, seen), STRATA_OK);
    faults = 0;
    assert_int_equal(table_verify(s.table, count_fault, &faults, &blocks), STRATA_CORRUPT);
    assert_int_equal(faults, 1);
    subject_release(&s);
}

// Writes the entries as table 9, opens it, reads its lists and verifies it.
static strata_rc write_and_read(struct subject *s)
{
    struct table_options o = world_options();
    struct table_writer *writer = NULL;
    struct table_meta meta = {0};
    struct table *t = NULL;
    uint64_t blocks;
    int faults = 0;
    strata_rc rc = table_writer_new(s->w.env.dir, 9, &o, &writer);
    bool is_new = rc == STRATA_OK;
    for (size_t i = 0; rc == STRATA_OK && i < ENTRIES; i++) {
        rc = table_writer_add(writer, &s->entries[i], hash_key(kv_key(&s->entries[i])));
    }
    strata_rc finish_rc = is_new ? table_writer_finish(writer, &meta) : rc;
    rc = rc == STRATA_OK ? finish_rc : rc;
    if (rc == STRATA_OK) {
        rc = table_open(&s->w.env, &meta, &t);
    }
    for (uint32_t i = 0; rc == STRATA_OK && i < meta.use_count; i++) {
        uint8_t seen[ORDINALS] = {0};
        rc = table_value_ordinals(t, meta.uses[i].file, see, seen);
    }
    if (rc == STRATA_OK) {
        rc = table_verify(t, count_fault, &faults, &blocks);
        assert_int_equal(faults, 0);
    }
    if (t != NULL) {
        table_delete_at_close(t);
        table_unref(t);
    } else if (mem_find(&s->w.dir, "000009.table") != NULL) { // finished, but not opened
        assert_int_equal(os_dir_unlink(s->w.env.dir, "000009.table"), STRATA_OK);
    }
    table_meta_release(&meta);
    return rc;
}

static void every_allocation_can_fail(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s);
    uint64_t failed = 1;
    for (uint64_t n = 0; failed != 0; n++) {
        alloc_fault_arm(n, 1);
        strata_rc rc = write_and_read(&s);
        failed = alloc_fault_disarm();
        assert_int_equal(rc, failed != 0 ? STRATA_NO_MEMORY : STRATA_OK);
        assert_true(n < 10000);
    }
    subject_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references_are_counted_and_listed_by_file),
        cmocka_unit_test(lists_are_read_on_demand_one_by_one),
        cmocka_unit_test(a_lookup_hands_the_reference_out),
        cmocka_unit_test(blocks_that_are_passed_over_bring_their_references),
        cmocka_unit_test(a_block_with_a_delete_is_not_of_puts_only),
        cmocka_unit_test(floors_stand_in_history_only_and_without_a_value),
        cmocka_unit_test(a_malformed_reference_is_refused),
        cmocka_unit_test(a_meta_that_says_other_uses_is_not_of_this_table),
        cmocka_unit_test(a_list_that_is_not_of_the_entries_is_found_by_verify),
        cmocka_unit_test(every_allocation_can_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
