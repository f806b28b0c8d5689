// Damaged table files: every single flipped bit, every length, files under a wrong name. An error
// must be one of the typed ones, and what is answered must be right.
#include "unit/table_fixture.h"

#include "kv/value_ref.h"

#define ENTRIES 60

struct subject {
    struct world w;
    struct table_meta meta;
    struct mem_content *file;
    char keys[ENTRIES][12];
    char values[ENTRIES][20 + KV_VALUE_REF_BYTES_MAX];
    uint32_t value_bytes[ENTRIES];
};

static void subject_init(struct subject *s, strata_compression how)
{
    world_init(&s->w, 16 << 20);
    struct table_options o = world_options();
    o.compression = how;
    o.block_bytes = 300;
    struct table_writer *writer;
    assert_int_equal(table_writer_new(&s->w.dir.base, 4, &o, &writer), STRATA_OK);
    for (uint64_t i = 0; i < ENTRIES; i++) {
        snprintf(s->keys[i], sizeof s->keys[i], "key%05u", (unsigned)i * 7);
        snprintf(s->values[i], sizeof s->values[i], "value%0*u", (int)(i % 10), (unsigned)i);
        s->value_bytes[i] = (uint32_t)strlen(s->values[i]);
        if (i % 4 == 0) {
            struct kv_value_ref ref = {2 + i % 3, (uint32_t)(100 - i), 4000};
            s->value_bytes[i] = kv_value_ref_encode(&ref, (uint8_t *)s->values[i]);
        }
        struct kv_entry e =
            entry_of(text_slice(s->keys[i]), slice_of(s->values[i], s->value_bytes[i]), 50 + i);
        e.kind = i % 4 == 0 ? KV_PUT_SEPARATED : KV_PUT;
        e.expiry = i > 40 ? 9000000 : 0;
        assert_int_equal(table_writer_add(writer, &e, hash_key(kv_key(&e))), STRATA_OK);
    }
    const uint64_t commits[] = {30, 20};
    struct range_fragment f = {text_slice("key1"), text_slice("key9"), commits, 2};
    assert_int_equal(table_writer_add_range(writer, &f), STRATA_OK);
    assert_int_equal(table_writer_finish(writer, &s->meta), STRATA_OK);
    s->file = mem_find(&s->w.dir, "000004.table");
    assert_non_null(s->file);
}

static void subject_release(struct subject *s)
{
    table_meta_release(&s->meta);
    world_release(&s->w);
}

static bool is_typed(strata_rc rc)
{
    return rc == STRATA_CORRUPT || rc == STRATA_VERSION;
}

static strata_rc count_ordinals(void *ctx, uint32_t ordinal, uint32_t chunks)
{
    (void)ordinal;
    *(uint64_t *)ctx += chunks;
    return STRATA_OK;
}

// Opens and reads everything. Returns the first error; everything before it was right.
static strata_rc read_all(struct subject *s, const struct table_meta *meta)
{
    struct table *t;
    struct kv_cursor *c;
    strata_rc rc = table_open(&s->w.env, meta, &t);
    if (rc != STRATA_OK) {
        assert_true(is_typed(rc));
        assert_int_equal(os_memory_used(&s->w.memory), 0);
        return rc;
    }
    assert_int_equal(range_dels_count(table_range_dels(t)), 1);
    assert_int_equal(run_cursor_open(s->w.cache, &t, 1, true, 0, &c), STRATA_OK);
    uint64_t i = 0;
    rc = kv_cursor_seek(c, slice_of(NULL, 0), false);
    while (rc == STRATA_OK) {
        assert_true(slice_equal(kv_key(c->at), text_slice(s->keys[i])));
        assert_true(slice_equal(kv_value(c->at), slice_of(s->values[i], s->value_bytes[i])));
        assert_int_equal(c->at->commit, 50 + i);
        i++;
        rc = kv_cursor_next(c);
    }
    assert_true(rc == STRATA_END ? i == ENTRIES : is_typed(rc));
    kv_cursor_close(c);
    for (i = 0; rc == STRATA_END && i < ENTRIES; i++) {
        struct slice key = text_slice(s->keys[i]);
        struct kv_lookup lookup = {.key = key, .hash = hash_key(key), .at = 1000};
        struct table_stats_delta delta = {0};
        uint32_t cold;
        os_epoch_enter();
        assert_int_equal(table_get(t, &lookup, &cold, &delta), TABLE_FOUND);
        assert_int_equal(lookup.entry.commit, 50 + i);
        os_epoch_leave();
    }
    uint64_t ordinals = 0;
    for (uint32_t k = 0; rc == STRATA_END && k < meta->use_count; k++) {
        strata_rc list_rc = table_value_ordinals(t, meta->uses[k].file, count_ordinals, &ordinals);
        rc = list_rc == STRATA_OK ? rc : list_rc;
        assert_true(rc == STRATA_END || is_typed(rc));
    }
    assert_true(rc != STRATA_END || ordinals == ENTRIES / 4);
    table_unref(t);
    return rc == STRATA_END ? STRATA_OK : rc;
}

static void ignore_fault(void *ctx, const char *text)
{
    assert_true(text[0] != '\0');
    (*(uint64_t *)ctx)++;
}

static void every_flipped_bit_is_detected(void **state)
{
    (void)state;
    for (int how = STRATA_COMPRESSION_NONE; how <= STRATA_COMPRESSION_ZSTD; how++) {
        static struct subject s;
        subject_init(&s, (strata_compression)how);
        assert_int_equal(read_all(&s, &s.meta), STRATA_OK);
        for (size_t bit = 0; bit < s.file->bytes * 8;
             bit += how == STRATA_COMPRESSION_LZ4 ? 1 : 7) {
            s.file->data[bit / 8] = (uint8_t)(s.file->data[bit / 8] ^ 1u << (bit % 8));
            // There are no gaps in the file: each bit belongs to something.
            assert_true(is_typed(read_all(&s, &s.meta)));
            s.file->data[bit / 8] = (uint8_t)(s.file->data[bit / 8] ^ 1u << (bit % 8));
        }
        subject_release(&s);
    }
}

static void damage_after_opening_is_found_by_verify(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s, STRATA_COMPRESSION_NONE);
    struct table *t;
    uint64_t blocks;
    uint64_t faults = 0;
    assert_int_equal(table_open(&s.w.env, &s.meta, &t), STRATA_OK);
    assert_int_equal(table_verify(t, ignore_fault, &faults, &blocks), STRATA_OK);
    assert_int_equal(faults, 0);
    for (size_t at = 0; at < s.file->bytes; at++) {
        faults = 0;
        s.file->data[at] ^= 0x10;
        assert_int_equal(table_verify(t, ignore_fault, &faults, &blocks), STRATA_CORRUPT);
        assert_true(faults > 0);
        s.file->data[at] ^= 0x10;
    }
    table_unref(t);
    subject_release(&s);
}

static void every_truncation_is_detected(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s, STRATA_COMPRESSION_LZ4);
    size_t whole = s.file->bytes;
    for (size_t bytes = 0; bytes < whole; bytes++) {
        s.file->bytes = bytes;
        assert_int_equal(read_all(&s, &s.meta), STRATA_CORRUPT);
        struct table_meta agreeing = s.meta; // also when the manifest expects that size
        agreeing.bytes = bytes;
        assert_int_equal(read_all(&s, &agreeing), STRATA_CORRUPT);
    }
    s.file->bytes = whole;
    assert_int_equal(read_all(&s, &s.meta), STRATA_OK);
    subject_release(&s);
}

static void file_that_grew_is_refused(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s, STRATA_COMPRESSION_NONE);
    s.file->data = realloc(s.file->data, s.file->capacity + 1);
    assert_non_null(s.file->data);
    s.file->data[s.file->bytes++] = 0;
    assert_int_equal(read_all(&s, &s.meta), STRATA_CORRUPT);
    subject_release(&s);
}

static void another_table_under_the_name_is_refused(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s, STRATA_COMPRESSION_NONE);
    // The same bytes under another number: the seeds differ.
    snprintf(s.file->name, sizeof s.file->name, "000005.table");
    struct table_meta other = s.meta;
    other.file = 5;
    assert_int_equal(read_all(&s, &other), STRATA_CORRUPT);
    snprintf(s.file->name, sizeof s.file->name, "000004.table");
    // What the manifest says is not what the file holds.
    for (int which = 0; which < 7; which++) {
        struct table_meta wrong = s.meta;
        wrong.keyspace += which == 0;
        wrong.history = which == 1;
        wrong.entries += which == 2;
        wrong.commit_greatest += which == 3;
        wrong.range_fragments -= which == 4;
        wrong.lower = which == 5 ? text_slice("a") : wrong.lower;
        wrong.upper = which == 6 ? text_slice("z") : wrong.upper;
        assert_int_equal(read_all(&s, &wrong), STRATA_CORRUPT);
    }
    assert_int_equal(read_all(&s, &s.meta), STRATA_OK);
    subject_release(&s);
}

static void moved_bytes_are_detected(void **state)
{
    (void)state;
    static struct subject s;
    subject_init(&s, STRATA_COMPRESSION_NONE);
    // The first two pieces of 64 bytes in each other's place.
    uint8_t *copy = malloc(s.file->bytes);
    assert_non_null(copy);
    memcpy(copy, s.file->data, s.file->bytes);
    memcpy(s.file->data, copy + 64, 64);
    memcpy(s.file->data + 64, copy, 64);
    assert_int_equal(read_all(&s, &s.meta), STRATA_CORRUPT);
    free(copy);
    subject_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_flipped_bit_is_detected),
        cmocka_unit_test(damage_after_opening_is_found_by_verify),
        cmocka_unit_test(every_truncation_is_detected),
        cmocka_unit_test(file_that_grew_is_refused),
        cmocka_unit_test(another_table_under_the_name_is_refused),
        cmocka_unit_test(moved_bytes_are_detected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
